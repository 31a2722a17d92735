import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.rates import confint_poisson

from engine.errors import BadInput
from engine.evaluation.rates import beta_credible, clopper_pearson, clopper_pearson_each, clustered, fay_feuer, garwood

COUNTS = [(0, 1), (1, 1), (2, 2447), (3, 2447), (0, 1000), (12, 140), (140, 140), (500, 1000)]


@pytest.mark.parametrize(("failures", "n"), COUNTS)
@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_clopper_pearson_is_scipys_and_statsmodels(failures, n, level):
    rate = clopper_pearson(failures, n, level=level)
    exact = stats.binomtest(failures, n).proportion_ci(level)
    assert (rate.low, rate.high) == pytest.approx((exact.low, exact.high), rel=1e-9)
    assert (rate.low, rate.high) == pytest.approx(proportion_confint(failures, n, 1 - level, "beta"), rel=1e-9)
    assert rate.estimate == failures / n


def test_clopper_pearson_of_many_is_that_of_each_by_scipy():
    failures, n = zip(*COUNTS, (0, 0), strict=True)
    found = clopper_pearson_each(failures, n)
    exact = [stats.binomtest(k, of).proportion_ci(0.95) for k, of in COUNTS]
    assert [rate[1:3] for rate in found[:-1]] == [pytest.approx((one.low, one.high), rel=1e-9) for one in exact]
    assert found[-1] == clopper_pearson(0, 0)
    assert [(rate.failures, rate.n) for rate in found] == [*COUNTS, (0, 0)]
    assert json.loads(json.dumps([rate.as_dict() for rate in found]))[0]["high"] == 0.975
    assert clopper_pearson_each([], []) == []
    with pytest.raises(BadInput, match="3 failures of 2"):
        clopper_pearson_each([1, 3], [2, 2])
    with pytest.raises(ValueError, match="shorter"):
        clopper_pearson_each([1, 1], [2])


def test_clopper_pearson_by_published_values():
    assert clopper_pearson(2, 2447)[1:3] == pytest.approx((9.9e-5, 2.95e-3), rel=5e-3)
    assert clopper_pearson(3, 2447)[1:3] == pytest.approx((2.5e-4, 3.58e-3), rel=2e-2)
    assert clopper_pearson(0, 1000)[1:3] == (0, pytest.approx(3.68e-3, rel=2e-3))


def test_credible_interval_by_published_values():
    assert beta_credible(2, 2447)[1:3] == pytest.approx((2.5e-4, 2.95e-3), rel=2e-2)
    assert beta_credible(3, 2447)[1:3] == pytest.approx((4.5e-4, 3.58e-3), rel=2e-2)
    assert beta_credible(0, 1000)[1:3] == pytest.approx((2.5e-5, 3.68e-3), rel=2e-2)


def test_one_trial_has_the_closed_form():
    assert clopper_pearson(0, 1).high == pytest.approx(1 - 0.025)
    assert beta_credible(0, 0)[:3] == (None, pytest.approx(0.025), pytest.approx(0.975))


@pytest.mark.parametrize("n", [1, 10, 10_000])
def test_no_failures_is_an_upper_limit_never_a_rate_of_zero(n):
    assert clopper_pearson(0, n)[:3] == (0, 0, pytest.approx(1 - 0.025 ** (1 / n)))
    assert beta_credible(0, n).high == pytest.approx(1 - 0.025 ** (1 / (n + 1)))


def test_nothing_observed_says_nothing():
    rate = clopper_pearson(0, 0)
    assert rate[:3] == (None, 0.0, 1.0)
    assert json.loads(json.dumps(rate.as_dict()))["estimate"] is None


@pytest.mark.parametrize("failures", [0, 1, 2, 5, 40])
def test_garwood_is_the_exact_poisson_interval(failures):
    rate = garwood(failures, 1000.0)
    low, high = confint_poisson(failures, 1000.0, method="exact-c") if failures else (0.0, None)
    assert rate.low == pytest.approx(low)
    if failures:
        assert rate.high == pytest.approx(high)
    assert rate.high == pytest.approx(stats.chi2.ppf(0.975, 2 * failures + 2) / 2000)


def test_garwood_needs_exposure():
    with pytest.raises(BadInput, match="exposure > 0"):
        garwood(0, 0.0)


@pytest.mark.parametrize("failures", [0, 1, 2, 7, 30])
def test_equal_weights_make_fay_feuer_garwoods_interval(failures):
    weighted = fay_feuer(np.full(failures, 1 / 500), 1 / 500, n=500)
    plain = garwood(failures, 500)
    assert weighted[:3] == pytest.approx(plain[:3])
    assert (weighted.failures, weighted.n) == (failures, 500)


def test_fay_feuer_by_its_formula_in_chi_squared():
    """The formula as printed in the paper, on the Down's syndrome counts of its Table II."""
    cases = np.array([0, 8, 63, 112, 262, 295])
    births = np.array([327, 30666, 123419, 149919, 104088, 34392])
    standard = np.array([319933, 931318, 786511, 488235, 237863, 61313])
    w = standard / standard.sum() / births
    y, v, top = (w * cases).sum(), (w**2 * cases).sum(), w.max()
    low = v / (2 * y) * stats.chi2.ppf(0.025, 2 * y**2 / v)
    high = (v + top**2) / (2 * (y + top)) * stats.chi2.ppf(0.975, 2 * (y + top) ** 2 / (v + top**2))
    rate = fay_feuer(np.repeat(w, cases), top, n=int(births.sum()))
    assert rate[:3] == pytest.approx((y, low, high), rel=1e-12)
    assert rate.failures == 740


def test_fay_feuer_without_failures_is_a_limit_by_the_largest_weight():
    assert fay_feuer([], 0.01, n=100)[:3] == (0.0, 0.0, pytest.approx(0.01 * -math.log(0.025)))


def test_mid_p_is_the_mixture_of_both_gammas_and_narrower():
    weights = np.array([0.001, 0.004, 0.002])
    y, v, top = weights.sum(), (weights**2).sum(), 0.005
    rng = np.random.default_rng(0)
    lower = rng.gamma(y**2 / v, v / y, 400_000)
    upper = rng.gamma((y + top) ** 2 / (v + top**2), (v + top**2) / (y + top), 400_000)
    drawn = np.quantile(np.where(rng.random(400_000) < 0.5, lower, upper), [0.025, 0.975])
    rate, full = fay_feuer(weights, top, n=9, mid_p=True), fay_feuer(weights, top, n=9)
    assert (rate.low, rate.high) == pytest.approx(tuple(drawn), rel=0.02)
    assert full.low < rate.low < rate.high < full.high
    assert fay_feuer([], 1.0, n=1, mid_p=True)[:3] == (0.0, 0.0, pytest.approx(-math.log(0.05)))


def test_fay_feuer_covers_where_weights_differ():
    """Seeded: strata of very different weight, one expected failure; 95 % intervals hold the truth in over 95 %."""
    rng = np.random.default_rng(1)
    w = np.geomspace(0.0001, 0.01, 12)
    means = np.full(12, 1 / 12)
    truth = (w * means).sum()
    hits = 0
    for _ in range(1500):
        counts = rng.poisson(means)
        rate = fay_feuer(np.repeat(w, counts), float(w.max()), n=1000)
        hits += rate.low <= truth <= rate.high
    assert hits / 1500 >= 0.95


@pytest.mark.parametrize("weights", [[0.2], [-0.1], [0.0]])
def test_fay_feuer_refuses_weights_out_of_range(weights):
    with pytest.raises(BadInput, match="weights must lie in"):
        fay_feuer(weights, 0.1, n=1)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 60), st.data())
def test_clusters_of_one_are_clopper_pearson(n, data):
    hits = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    assert clustered(hits, np.arange(n)) == clopper_pearson(int(hits.sum()), n)
    assert clustered(hits, None) == clopper_pearson(int(hits.sum()), n)


def test_trials_that_only_repeat_their_cluster_count_once():
    hits = np.repeat([True, False, False, True, False, False, False, True], 5)
    rate = clustered(hits, np.repeat(np.arange(8), 5))
    assert rate.estimate == 3 / 8
    assert (rate.failures, rate.n) == (15, 40)
    once = clopper_pearson(3, 8)
    assert rate.low <= once.low * 1.05
    assert rate.high >= once.high * 0.95


def test_no_failure_in_clusters_counts_each_cluster_as_one_trial():
    rate = clustered(np.zeros(40, bool), np.repeat(np.arange(8), 5))
    assert rate.high == pytest.approx(clopper_pearson(0, 8).high)


def test_clustered_covers_where_prompts_differ():
    """Seeded: 60 prompts of 6 completions, failure share per prompt Beta(0.5, 2.5). The plain interval does not."""
    rng = np.random.default_rng(2)
    hits = {"clustered": 0, "plain": 0}
    for _ in range(600):
        share = rng.beta(0.5, 2.5, 60)
        trials = rng.random((60, 6)) < share[:, None]
        for name, rate in (
            ("clustered", clustered(trials.ravel(), np.repeat(np.arange(60), 6))),
            ("plain", clopper_pearson(int(trials.sum()), 360)),
        ):
            hits[name] += rate.low <= 0.5 / 3 <= rate.high
    assert hits["clustered"] / 600 >= 0.93
    assert hits["plain"] / 600 < 0.9


def test_clusters_must_fit():
    with pytest.raises(BadInput, match="clusters: 2 cluster labels for 3 trials"):
        clustered([True, False, False], ["a", "b"])


@pytest.mark.parametrize(("failures", "n"), [(3, 2), (-1, 2)])
def test_impossible_counts_are_refused(failures, n):
    with pytest.raises(BadInput, match="impossible"):
        clopper_pearson(failures, n)


@pytest.mark.parametrize("level", [0, 1, 95])
def test_a_level_is_a_probability(level):
    with pytest.raises(BadInput, match="level: must lie between 0 and 1"):
        clopper_pearson(1, 2, level=level)
