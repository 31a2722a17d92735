import json

import numpy as np
import pytest
from scipy import stats

from engine.errors import BadInput
from engine.evaluation.failure_rate import deployment_weights, failure_rate, paper_weights
from engine.evaluation.rates import garwood


@pytest.mark.parametrize("p", [0.001, 0.01, 0.03, 0.2, 0.9])
def test_deployment_weights_are_exactly_unbiased(p):
    """The whole binomial distribution summed, not a simulation: E[w] = (1 - (1 - p)^K) / p."""
    k = np.arange(101)
    chance = stats.binom.pmf(k, 100, p)
    truth = (1 - (1 - p) ** 100) / p
    assert (chance * deployment_weights(k, np.full(101, 100))).sum() == pytest.approx(truth, rel=1e-9)


@pytest.mark.parametrize(("p", "ours", "papers"), [(0.03, 31.75, 45.8), (0.01, 63.4, 85.4)])
def test_the_papers_weights_are_too_large(p, ours, papers):
    k = np.arange(101)
    chance = stats.binom.pmf(k, 100, p)
    assert (chance * deployment_weights(k, np.full(101, 100))).sum() == pytest.approx(ours, rel=1e-3)
    # Methods C.1's figures give no completion among 100 the weight 1 / (1 / K) too, as here.
    assert (chance * paper_weights(k, np.full(101, 100))).sum() == pytest.approx(papers, rel=0.01)


def test_the_estimate_by_hand():
    logits = [-3.0, -1.0, 2.0, -2.0]
    failures = [True, False, True, False]
    alternates = [[-1, -1, 5], [5, 5, 5], [-1, -1, -1], [-1, -1, -1]]
    rate = failure_rate(logits, failures, alternates, 0.0)
    weights = [4 / 3, 3.0, 0.0, 1.0]
    assert rate.per_output.estimate == pytest.approx(weights[0] / sum(weights))
    assert rate.per_prompt.estimate == pytest.approx(weights[0] / 4)
    assert rate.as_in_paper.estimate == pytest.approx(1.5 / (1.5 + 3 + 1))
    assert (rate.failures, rate.accepted, rate.pairs, rate.prompts) == (1, 3, 4, 4)
    assert rate.max_weight == 3.0
    assert rate.effective_n == pytest.approx(sum(weights) ** 2 / sum(w**2 for w in weights))
    assert (rate.per_output.failures, rate.per_output.n, rate.per_prompt.n) == (1, 3, 4)
    assert json.loads(json.dumps(rate.as_dict()))["pairs"] == 4


def test_equal_weights_make_it_a_poisson_rate():
    n = 400
    failures = np.arange(n) < 3
    rate = failure_rate(np.full(n, -1.0), failures, np.full((n, 20), -1.0), 0.0)
    assert rate.per_output[:3] == pytest.approx(garwood(3, n)[:3])
    assert rate.per_output == rate.per_prompt._replace(n=n)


def test_no_failure_is_an_upper_limit_while_the_papers_interval_is_zero():
    rate = failure_rate(np.full(100, -1.0), np.zeros(100, bool), np.full((100, 5), -1.0), 0.0)
    assert rate.per_output[:3] == (0.0, 0.0, pytest.approx(3.689 / 100, rel=1e-3))
    assert rate.as_in_paper[:3] == (0.0, 0.0, 0.0)
    assert "as in the paper" in rate.as_in_paper.method


def test_nothing_accepted_says_nothing():
    rate = failure_rate([1.0, 2.0], [True, False], [[1.0], [1.0]], 0.0)
    assert rate.per_output[:3] == (None, 0.0, 1.0)
    assert rate.as_in_paper[:3] == (None, 0.0, 1.0)
    assert rate.effective_n == 0


def test_pairs_of_one_prompt_widen_the_interval():
    n = 200
    failures = np.arange(n) < 4
    alone = failure_rate(np.full(n, -1.0), failures, np.full((n, 4), -1.0), 0.0)
    together = failure_rate(np.full(n, -1.0), failures, np.full((n, 4), -1.0), 0.0, prompts=np.arange(n) // 4)
    assert together.per_output.estimate == alone.per_output.estimate
    assert together.per_output.low < alone.per_output.low
    assert together.per_output.high > alone.per_output.high
    assert together.prompts == 50


def test_prompts_may_have_different_numbers_of_alternates():
    rate = failure_rate([-1.0, -1.0], [True, False], [[-1.0, 1.0], [-1.0]], 0.0)
    assert rate.per_output.estimate == pytest.approx((3 / 2) / (3 / 2 + 1))


def test_sizes_must_fit():
    with pytest.raises(BadInput, match="2 logits, 1 labels, 2 alternates, 2 prompts"):
        failure_rate([0.0, 1.0], [True], [[0.0], [0.0]], 0.0)


def simulate(rng, n, k=100):
    """Prompts that rarely yield an accepted completion fail more often: the case the weights are for."""
    p = rng.beta(1.2, 0.9, n).clip(0.004)
    risk = 0.012 * (1 - p) ** 2
    accepted = rng.random(n) < p
    failed = accepted & (rng.random(n) < risk)
    drawn = rng.binomial(k, p)
    alternates = np.where(np.arange(k) < drawn[:, None], -1.0, 1.0)
    return np.where(accepted, -1.0, 1.0), failed, alternates


def true_rate(k=100):
    rng = np.random.default_rng(99)
    p = rng.beta(1.2, 0.9, 2_000_000).clip(0.004)
    gives = 1 - (1 - p) ** k
    return float((0.012 * (1 - p) ** 2 * gives).mean() / gives.mean())


def test_intervals_cover_at_few_failures_where_the_papers_do_not():
    """Seeded: 250 test sets of 2,000 pairs with some two failures each."""
    truth = true_rate()
    ours = papers = total = 0
    estimates = []
    for seed in range(250):
        logits, failed, alternates = simulate(np.random.default_rng([seed]), 2000)
        rate = failure_rate(logits, failed, alternates, 0.0, seed=seed, resamples=200)
        ours += rate.per_output.low <= truth <= rate.per_output.high
        papers += rate.as_in_paper.low <= truth <= rate.as_in_paper.high
        total += rate.failures
        estimates.append(rate.per_output.estimate)
    assert 1 < total / 250 < 3
    assert ours / 250 >= 0.93
    assert papers / 250 < 0.9
    assert np.mean(estimates) == pytest.approx(truth, rel=0.15)
