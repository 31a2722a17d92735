import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import expit

from engine.errors import BadInput
from engine.evaluation.bootstrap import mean_limits
from engine.evaluation.quality import accepted_of_prompts, compared, quality_curve, quality_of_prompts
from engine.evaluation.quality_check import check_quality, worth_asking
from engine.evaluation.quality_choice import quality_at, score_grid, threshold_at_quality
from engine.evaluation.quality_pairs import accept_shares, pairs_wanted
from engine.evaluation.threshold import prompt_weights

THREE = [("P1", 0.1, 0.5, 1), ("P1", 0.3, 0.2, 0.5), ("P2", 0.4, 0.05, 0), ("P2", 0.6, 0.7, 1), ("P3", 0.8, 0.9, 0)]
"""Methods B.5: prompt, scores of the two completions, what the first won."""


def brute_quality(pairs, at):
    """Q at one threshold, as its definition reads."""
    credit = {}
    for prompt, first, second, win in pairs:
        found = credit.setdefault(prompt, [])
        found += [w for score, w in ((first, win), (second, 1 - win)) if np.float32(score) < np.float32(at)]
    return sum(sum(found) / len(found) if found else 0 for found in credit.values()) / len(credit)


def random_pairs(seed, prompts=40, pairs=6, lift=0.0):
    """`lift`: how much quality falls with the score."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(prompts), pairs)
    first, second = rng.normal(0, 1.5, (2, codes.size)).astype(np.float32)
    better = rng.random(codes.size) < expit(lift * (second - first))
    return codes, first, second, np.where(rng.random(codes.size) < 0.2, 0.5, better)


@pytest.mark.parametrize(
    ("above", "expected"),
    [
        (0.05, 1 / 3), (0.1, 2 / 3), (0.2, 7 / 12), (0.3, 5 / 9), (0.4, 7 / 18),
        (0.5, 1 / 3), (0.6, 7 / 18), (0.7, 1 / 3), (0.8, 1 / 3), (0.9, 1 / 2),
    ],
)  # fmt: skip
def test_q_just_above_each_score_is_the_hand_computed_one(above, expected):
    curve = quality_curve(compared(*zip(*THREE, strict=True)))
    assert curve.at(np.nextafter(np.float32(above), np.float32(1))) == pytest.approx(expected, abs=1e-12)


def test_a_score_is_rejected_at_itself_and_prompts_count_by_themselves():
    data = compared(*zip(*THREE, strict=True))
    curve = quality_curve(data)
    assert (curve.at(0.05), curve.quality[0], curve.at(np.inf)) == (0, 0, 0.5)
    assert quality_of_prompts(data, [0.05, 0.25]).tolist() == [[0, 0.75], [0, 1], [0, 0]]
    assert accepted_of_prompts(data, 0.25).tolist() == [2, 1, 0]
    assert quality_at(data, 0.25).failures == 1


PAIRS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(-5, 5), st.integers(-5, 5), st.sampled_from([0, 0.5, 1])), min_size=1
)


@settings(deadline=None, max_examples=100)
@given(PAIRS)
def test_the_sweep_is_brute_force_with_ties_and_one_half_at_the_end(pairs):
    data = compared(*zip(*pairs, strict=True))
    curve = quality_curve(data)
    assert curve.quality[-1] == 0.5
    assert (np.diff(curve.logit) > 0).all()
    at = np.arange(-6, 7)
    expected = [brute_quality(pairs, x) for x in at]
    assert curve.at(at) == pytest.approx(expected, abs=1e-12)
    assert quality_of_prompts(data, at).mean(axis=0) == pytest.approx(expected, abs=1e-12)


def test_a_good_filter_is_above_one_half_so_the_sign_is_right():
    curve = quality_curve(compared(*random_pairs(1, prompts=300, pairs=40, lift=1.0)))
    assert curve.at(-1.0) > 0.6
    assert quality_curve(compared(*random_pairs(1, prompts=300, pairs=40, lift=-1.0))).at(-1.0) < 0.4


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([], [], [], []), "no pair"),
        (([1], [0.0], [1.0], [float("nan")]), "outside"),
        (([1], [0.0], [1.0], [1.5]), "outside"),
        (([1], [float("nan")], [1.0], [1]), "not finite"),
        (([1, 2], [0.0], [1.0], [1]), "2 prompts, 1 and 1 logits, 1 wins"),
    ],
)
def test_pairs_that_say_nothing_are_refused(columns, message):
    with pytest.raises(BadInput, match=message):
        compared(*columns)


@pytest.mark.parametrize("n", [12, 120])
def test_few_prompts_have_the_bca_interval_of_scipy(n):
    values = np.random.default_rng(n).beta(4, 0.7, n)
    found = mean_limits(values[:, None], prompt_weights(n, 20_000, 0), 0.95)
    peer = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="BCa", random_state=1).confidence_interval
    assert found.method == f"BCa bootstrap of {n} prompts"
    assert (found.low[0], found.high[0]) == pytest.approx(tuple(peer), abs=0.1 * (peer.high - peer.low))
    plain = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", random_state=1)
    assert found.low[0] < plain.confidence_interval.low


def test_many_prompts_have_the_percentile_interval_of_scipy():
    values = np.random.default_rng(0).beta(4, 0.7, 400)
    found = mean_limits(values[:, None], prompt_weights(400, 5000, 0), 0.95)
    peer = stats.bootstrap((values,), np.mean, method="percentile", random_state=1).confidence_interval
    assert found.method == "bootstrap of 400 prompts"
    assert (found.low[0], found.high[0]) == pytest.approx(tuple(peer), abs=0.0015)


def test_rows_that_are_alike_have_no_spread_and_one_row_no_interval():
    alike = mean_limits(np.full((20, 1), 0.1), prompt_weights(20, 100, 0), 0.95)
    assert (alike.low[0], alike.high[0]) == (0.1, 0.1)
    with pytest.raises(BadInput, match="at least 2 prompts, not 1"):
        mean_limits([[0.5]], prompt_weights(1, 10, 0), 0.95)


def test_the_choice_is_the_last_in_an_unbroken_run_from_the_lenient_end():
    data = compared(*random_pairs(3, prompts=400, pairs=8, lift=0.8))
    choice = threshold_at_quality(data, resamples=400)
    tried = np.array(choice.curve)
    place = int(np.flatnonzero(tried[:, 0] == choice.logit)[0])
    assert (tried[place:, 2] > 0.48).all()
    assert tried[place - 1, 2] <= 0.48
    assert choice.quality[:3] == tuple(tried[place, 1:])
    assert tried[-1, 1:].tolist() == [0.5, 0.5, 0.5]
    assert tried[:, 1] == pytest.approx(quality_curve(data).at(tried[:, 0]), abs=1e-9)
    assert (choice.prompts, choice.comparisons, choice.quality.n) == (400, 3200, 400)
    assert choice.quality.failures == (accepted_of_prompts(data, choice.logit) == 0).sum() > 0
    assert choice.threshold == pytest.approx(expit(choice.logit))
    assert choice == threshold_at_quality(data, resamples=400)
    assert json.loads(json.dumps(choice.as_dict()))["quality"]["method"] == "bootstrap of 400 prompts"


def test_a_later_rise_does_not_bring_back_what_failed():
    """Prompts whose best completion scores lowest: Q is high there, and low in between."""
    n = 500
    codes = np.repeat(np.arange(n), 2)
    first, second = np.tile([-3.0, 0.0], n), np.tile([0.0, 3.0], n)
    wins = np.tile([1.0, 0.0], n)  # -3 beats 0, and another 0 loses to 3
    data = compared(codes, first, second, wins)
    choice = threshold_at_quality(data, grid=[-2.0, 1.0])
    assert [point.quality for point in choice.curve] == pytest.approx([1.0, 1 / 3, 0.5])
    assert choice.logit > 3


def test_a_filter_that_costs_nothing_may_be_as_strict_as_is_tried():
    codes = np.repeat(np.arange(50), 4)
    first = np.full(200, 1.0)
    choice = threshold_at_quality(compared(codes, first, first, np.ones(200)), grid=[1.5, 2.0])
    assert (choice.logit, choice.quality.estimate) == (1.5, 0.5)


def test_where_no_prompt_accepts_quality_is_zero_and_one_prompt_is_too_few():
    data = compared(*zip(*THREE, strict=True))
    none = quality_at(data, -1.0)
    assert (none.estimate, none.high, none.failures, none.n) == (0, 0, 3, 3)
    alone = compared([1, 1], [0.1, 0.2], [0.3, 0.4], [1, 0])
    for call in (lambda: threshold_at_quality(alone), lambda: quality_at(alone, 0.2)):
        with pytest.raises(BadInput, match="at least 2 prompts"):
            call()
    with pytest.raises(BadInput, match="half"):
        threshold_at_quality(data, floor=0.5)
    with pytest.raises(BadInput, match="grid"):
        threshold_at_quality(data, grid=[float("nan")])


def test_the_choice_errs_no_more_often_than_one_test():
    """Quality is 0.45 wherever anything is rejected: each choice but the last is a mistake."""
    wrong = 0
    for seed in range(200):
        rng = np.random.default_rng([seed, 1])
        codes, n = np.repeat(np.arange(320), 4), 1280
        first, second = rng.uniform(-3, 0, n), np.full(n, 1.0)  # every first completion is accepted below 0
        choice = threshold_at_quality(
            compared(codes, first, second, rng.random(n) < 0.48), grid=[0.5, 2.0], resamples=200, seed=seed
        )
        wrong += choice.logit == 0.5
    assert wrong / 200 <= 0.06


def test_the_grid_is_between_scores_and_ends_above_all():
    data = compared(*random_pairs(5, prompts=30, pairs=10))
    grid = score_grid(data, 50)
    shares = (data.logits[:, None] < grid).mean(axis=0)
    assert shares == pytest.approx(np.linspace(0, 1, 51)[1:], abs=1e-9)
    assert not np.isin(grid, data.logits).any()
    assert score_grid(compared([1, 2], [0, 0], [0, 0], [1, 1])).tolist() == [np.float32(0), np.nextafter(
        np.float32(0), np.float32(1))]  # fmt: skip


def test_shares_by_inverse_sampling_are_hand_computed():
    logits = [[-1, 1, -1, 1, -1, -1], [1, 1, 1], [-1, 1, 1], [-1, -1, 1]]
    assert accept_shares(logits, 0.0, accepted=3).tolist() == pytest.approx([2 / 4, 0, 1 / 3, 2 / 3])
    assert accept_shares(logits, 0.0, accepted=2).tolist() == pytest.approx([1 / 2, 0, 1 / 3, 1.0])
    assert accept_shares([[0.0]], 0.0).tolist() == [0.0], "a score at the threshold is rejected"
    with pytest.raises(BadInput, match="not finite"):
        accept_shares([[float("nan")]], 0.0)
    with pytest.raises(BadInput, match="at least 2"):
        accept_shares([[1.0]], 0.0, accepted=1)


def test_shares_by_inverse_sampling_are_unbiased():
    drawn = np.where(np.random.default_rng(0).random((20_000, 300)) < 0.2, -1.0, 1.0)
    assert accept_shares(drawn, 0.0).mean() == pytest.approx(0.2, abs=0.002)


def test_pairs_wanted_follow_the_rule():
    """log(0.1) / log(1 - r): 2.30 / 0.105 = 21.9 at 0.1, 44.9 at 0.05, 459 at 0.005, 1.4 at 0.8."""
    assert pairs_wanted([0, 0.005, 0.05, 0.1, 0.8, 1]).tolist() == [100, 100, 45, 22, 4, 4]
    assert pairs_wanted([0, 0.1], most=16).tolist() == [16, 16]
    assert pairs_wanted(1 - 0.1 ** (1 / 6)) == 6
    for shares, kwargs in (([1.5], {}), ([float("nan")], {}), ([0.5], {"chance": 1}), ([0.5], {"least": 9, "most": 3})):
        with pytest.raises(BadInput):
            pairs_wanted(shares, **kwargs)


def test_the_check_counts_empty_as_loss_and_both_accepted_as_tie():
    filtered = [-2, -2, -2, np.nan, -1, -1]
    unfiltered = [1, 1, 1, 1, -3, 0]
    assert worth_asking(filtered, unfiltered, 0.0).tolist() == [True, True, True, False, False, True]
    found = check_quality(filtered, unfiltered, [1, 0, 0.5, np.nan, np.nan, 1], 0.0)
    assert (found.wins, found.losses, found.ties, found.both_accepted, found.asked) == (2, 2, 2, 1, 4)
    assert found.without_completion == (3,)
    assert (found.quality.estimate, found.quality.failures, found.quality.n) == (0.5, 2, 6)
    assert found.quality.low + found.quality.high == pytest.approx(1)
    assert 0.15 < found.quality.low < 0.3
    assert json.loads(json.dumps(found.as_dict()))["without_completion"] == [3]


def test_the_checks_interval_is_open_where_all_are_ties_and_covers():
    n = 50
    ties = check_quality(np.full(n, -1.0), np.full(n, -1.0), np.full(n, np.nan), 0.0).quality
    z2 = stats.norm.ppf(0.975) ** 2
    assert (ties.estimate, ties.low, ties.high) == pytest.approx(
        (0.5, 0.5 - z2 / (n + z2) / 2, 0.5 + z2 / (n + z2) / 2)
    )
    rng, covered = np.random.default_rng(0), 0
    for _ in range(400):
        wins = rng.choice([1, 0.5, 0], 80, p=[0.2, 0.6, 0.2])
        found = check_quality(np.full(80, -1.0), np.full(80, 1.0), wins, 0.0).quality
        covered += found.low <= 0.5 <= found.high
    assert covered / 400 >= 0.93


@pytest.mark.parametrize(
    ("filtered", "unfiltered", "wins", "message"),
    [
        ([], [], [], "0 filtered"),
        ([-1], [np.nan], [1], "not a number"),
        ([0], [1], [1], "not accepted"),
        ([-1], [1], [np.nan], "for prompts 0"),
        ([-1], [1], [2], "for prompts 0"),
        ([-1], [1], [1, 1], "2 answers for 1 prompts"),
    ],
)
def test_a_check_without_its_answers_is_refused(filtered, unfiltered, wins, message):
    with pytest.raises(BadInput, match=message):
        check_quality(filtered, unfiltered, wins, 0.0)
