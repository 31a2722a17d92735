import json
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import expit

from engine.errors import BadInput
from engine.evaluation.threshold import completions_of, kl_at, kl_curve, kl_from_counts, thin, threshold_at_kl


def harmonic(n):
    return sum(1 / j for j in range(1, n + 1))


def brute_kl(rows, logit):
    """Mean over prompts of H_K - H_k, one threshold at a time."""
    return np.mean([harmonic(len(row)) - harmonic(sum(score < logit for score in row)) for row in rows])


def random_logits(seed, prompts=50, k=20):
    rng = np.random.default_rng(seed)
    return (rng.normal(0, 2, (prompts, 1)) + rng.normal(0, 1, (prompts, k))).astype(np.float32)


def test_kl_from_counts_is_a_difference_of_harmonic_numbers():
    assert kl_from_counts([0, 1, 50, 100], [100] * 4) == pytest.approx(
        [harmonic(100) - harmonic(k) for k in (0, 1, 50, 100)]
    )
    assert kl_from_counts([0], [100])[0] == pytest.approx(5.187, abs=1e-3)


@pytest.mark.parametrize(("p", "expected"), [(0.5, 0.69304), (0.1, 2.3028), (0.03, 3.494)])
def test_kl_from_counts_is_nearly_unbiased(p, expected):
    """Monte Carlo values and truths (-log p) of methods A.4; at p = 0.03 truncation at K = 100 shows."""
    k = np.random.default_rng(0).binomial(100, p, 400_000)
    found = kl_from_counts(k, np.full(k.size, 100)).mean()
    assert found == pytest.approx(expected, abs=0.004)
    assert found == pytest.approx(-np.log(p), abs=0.02)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.integers(-6, 6), min_size=1, max_size=9), min_size=1, max_size=8))
def test_the_curve_is_brute_force_with_ties_and_ragged_prompts(rows):
    curve = kl_curve([np.array(row, dtype=np.float32) for row in rows])
    assert (np.diff(curve.logit) > 0).all()
    assert (np.diff(curve.kl) <= 1e-12).all()
    for logit, kl in zip(curve.logit, curve.kl, strict=True):
        assert kl == pytest.approx(brute_kl(rows, logit), abs=1e-12)


def test_the_curve_of_an_array_is_that_of_its_rows():
    logits = random_logits(1)
    assert (kl_curve(logits).kl == kl_curve(list(logits)).kl).all()


@pytest.mark.parametrize("target", [0.1, 0.5, 1.0, 2.5])
def test_the_threshold_is_the_lowest_that_costs_no_more(target):
    logits = random_logits(2)
    choice = threshold_at_kl(logits, target, resamples=50)
    assert brute_kl(logits, choice.logit) <= target
    below = logits[logits < choice.logit].max()
    assert brute_kl(logits, below) > target
    assert choice.threshold == pytest.approx(expit(choice.logit))
    assert np.float32(choice.logit) == choice.logit


def test_a_choice_tells_what_it_costs():
    logits = random_logits(3, prompts=80, k=30)
    logits[:2] += 100
    choice = threshold_at_kl(logits, 0.5, resamples=400)
    accepted = (logits < choice.logit).sum(axis=1)
    per_prompt = np.array([harmonic(30) - harmonic(k) for k in accepted])
    assert choice.kl.estimate == pytest.approx(per_prompt.mean())
    assert choice.median_kl == pytest.approx(np.median(per_prompt))
    assert choice.accept_rate.estimate == pytest.approx((accepted / 30).mean())
    assert choice.none_accepted == int((accepted == 0).sum()) >= 2
    assert (choice.prompts, choice.completions) == (80, 2400)
    assert choice.kl.low < choice.kl.estimate < choice.kl.high
    assert choice.logit_low < choice.logit < choice.logit_high
    standard_error = per_prompt.std() / np.sqrt(80)
    assert choice.kl.high - choice.kl.low == pytest.approx(2 * 1.96 * standard_error, rel=0.2)
    assert json.loads(json.dumps(choice.as_dict()))["prompts"] == 80


def test_the_interval_of_the_threshold_is_where_resamples_choose():
    logits = random_logits(4, prompts=40, k=10)
    choice = threshold_at_kl(logits, 0.5, resamples=300, seed=9)
    rng = np.random.default_rng(10)
    chosen = [threshold_at_kl(logits[rng.integers(0, 40, 40)], 0.5, resamples=2).logit for _ in range(300)]
    low, high = np.quantile(chosen, [0.025, 0.975])
    assert (choice.logit_low, choice.logit_high) == pytest.approx((low, high), abs=0.5)
    assert choice == threshold_at_kl(logits, 0.5, resamples=300, seed=9)


def test_equal_prompts_give_the_known_share():
    """With one accept probability for all, KL 0.5 means accepting exp(-0.5) = 0.607."""
    logits = np.random.default_rng(5).normal(0, 1, (2000, 32)).astype(np.float32)
    assert threshold_at_kl(logits, 0.5, resamples=20).accept_rate.estimate == pytest.approx(0.607, abs=0.01)


def test_the_interval_at_any_threshold_is_that_of_the_mean_over_prompts():
    logits = random_logits(8, prompts=60, k=12)
    logits[0] += 100
    found = kl_at(logits, -0.5, resamples=4000)
    per_prompt = np.array([harmonic(12) - harmonic(k) for k in (logits < -0.5).sum(axis=1)])
    peer = stats.bootstrap((per_prompt,), np.mean, method="percentile", random_state=1).confidence_interval
    assert found.estimate == pytest.approx(per_prompt.mean())
    assert (found.low, found.high) == pytest.approx(tuple(peer), abs=0.02)
    assert (found.failures, found.n) == (((logits < -0.5).sum(axis=1) == 0).sum(), 60)
    chosen = threshold_at_kl(logits, 0.5, seed=3)
    assert kl_at(logits, chosen.logit, seed=3) == chosen.kl
    assert kl_at([[1.0, 2.0]], 0.0).estimate == 1.5
    with pytest.raises(BadInput, match="not a number"):
        kl_at(logits, float("nan"))


def test_one_completion_that_cannot_be_rejected_at_that_price_is_accepted():
    choice = threshold_at_kl([[1.5]], 0.5, resamples=2)
    assert choice.accept_rate.estimate == 1
    assert choice.kl.estimate == 0
    assert choice.logit > 1.5


@pytest.mark.parametrize(
    ("logits", "target", "message"),
    [
        ([], 0.5, "there must be a prompt"),
        ([[1.0], []], 0.5, "at least one completion"),
        ([[1.0, float("nan")]], 0.5, "not finite"),
        ([[1.0]], 0, "positive number of nats"),
        ([[1.0, 2.0]], 1.5, "rejecting everything costs only 1.500 nats"),
    ],
)
def test_bad_input_says_what_is_wrong(logits, target, message):
    with pytest.raises(BadInput, match=message):
        threshold_at_kl(logits, target)


def test_completions_count_strictly_below():
    data = completions_of([[0.0, 1.0, 2.0], [1.0]])
    assert data.accepted(1.0).tolist() == [1, 0]
    assert data.prompts.tolist() == [0, 0, 0, 1]


def test_thinning_keeps_the_ends():
    curve = kl_curve(random_logits(6, prompts=100, k=50))
    points = thin(curve, 60)
    assert len(points) <= 60
    assert points[0] == (curve.logit[0], curve.kl[0])
    assert points[-1] == (curve.logit[-1], curve.kl[-1])


def test_two_hundred_thousand_scores_take_a_moment():
    logits = random_logits(7, prompts=2000, k=100)
    start = time.process_time()
    kl_curve(logits)
    assert time.process_time() - start < 1
    threshold_at_kl(logits)
    assert time.process_time() - start < 4
