import math

import numpy as np
import pytest
from scipy import integrate, stats

from engine.errors import BadInput
from engine.evaluation.stopping import anytime, betting, failures_to_stop, inverse_binomial


def test_inverse_binomial_stops_at_published_failures():
    assert [failures_to_stop(relative) for relative in (0.5, 0.25, 5.0)] == [18, 64, 2]
    widths = stats.chi2.ppf(0.975, 36) - stats.chi2.ppf(0.025, 36)
    assert widths / (4 * 17) == pytest.approx(0.488, abs=0.002)
    rate = inverse_binomial(18, 636_000)
    assert rate.estimate == 17 / 635_999
    assert (rate.low, rate.high) == pytest.approx(stats.chi2.ppf([0.025, 0.975], 36) / (2 * 636_000), rel=1e-4)


def test_inverse_binomial_limits_are_the_negative_binomials():
    rate = inverse_binomial(3, 20)
    assert stats.nbinom.cdf(17, 3, rate.low) == pytest.approx(0.025)  # the third failure by label 20 at the latest
    assert stats.nbinom.sf(16, 3, rate.high) == pytest.approx(0.025)  # and at label 20 at the earliest
    assert inverse_binomial(1, 1)[:3] == pytest.approx((1, 0.025, 1))
    assert inverse_binomial(1, 10).estimate == 0.1


def test_inverse_binomial_is_unbiased_and_covers():
    n = np.arange(5, 400)
    chances = stats.nbinom.pmf(n - 5, 5, 0.1)
    found = [inverse_binomial(5, int(stop)) for stop in n]
    assert chances @ [rate.estimate for rate in found] == pytest.approx(0.1, rel=1e-4)
    assert chances @ [rate.low <= 0.1 <= rate.high for rate in found] >= 0.95


def test_anytime_has_the_published_interval():
    rate = anytime(18, 636_000, guess=2.74e-5)
    assert [rate.low * 636_000, rate.high * 636_000] == pytest.approx([8.3, 33.2], abs=0.05)
    assert "beta mixture" in rate.method


@pytest.mark.parametrize(("k", "n", "guess"), [(0, 30, 0.05), (3, 30, 0.05), (30, 30, 0.5), (7, 20, 0.01)])
def test_at_anytimes_limits_the_mixture_has_won_what_it_must(k, n, guess):
    """The bettor's wealth by numerical integration over his Beta prior."""
    prior = stats.beta(2, 2 / guess)

    def wealth(rate):
        gain = integrate.quad(lambda p: prior.pdf(p) * p**k * (1 - p) ** (n - k), 0, 1, epsabs=0, limit=200)[0]
        return gain / (rate**k * (1 - rate) ** (n - k))

    found = anytime(k, n, guess=guess)
    if k:
        assert wealth(found.low) == pytest.approx(20, rel=1e-5)
    if k < n:
        assert wealth(found.high) == pytest.approx(20, rel=1e-5)
    assert (found.low == 0, found.high == 1) == (k == 0, k == n)


def test_nothing_seen_says_nothing():
    for rate in (anytime(0, 0), betting([], 0, 2.0)):
        assert rate.estimate is None
        assert rate.low == 0
    assert anytime(0, 0).high == 1
    assert betting([], 0, 2.0).high == 2


def test_bettings_upper_limit_without_failures_is_by_hand():
    """Each bet b of the most wins (1 + b m)^n; the even split must reach 40."""
    stakes = np.logspace(-3, math.log10(0.99), 60)
    high = betting([], 1000, 2.0).high / 2
    assert np.mean((1 + stakes * high) ** 1000) == pytest.approx(40, rel=1e-6)


def test_bettings_limits_do_not_change_with_the_unit_and_hold_the_mean():
    one, two = betting([0.5, 1, 0.25], 500, 1.0), betting([5, 10, 2.5], 500, 10.0)
    assert [10 * one.low, 10 * one.high] == pytest.approx([two.low, two.high])
    assert 0 < one.low < one.estimate == 1.75 / 500 < one.high < 0.05


def test_they_hold_at_every_look():
    """120 streams looked at after each of 1,000 draws: the wrong ones are at most 5 %, and some of a plain interval."""
    rng = np.random.default_rng(4)
    rate, wrong, wrong_bets, plain = 0.02, 0, 0, 0
    for _ in range(120):
        at = np.flatnonzero(rng.random(1000) < rate)
        looks = np.unique(np.concatenate((at + 1, at[1:], [1000])))  # where limits are furthest out
        counts = [(int((at < look).sum()), int(look)) for look in looks]
        ranges = [anytime(k, n, guess=0.02) for k, n in counts]
        bets = [betting(np.ones(k), n, 1.0) for k, n in counts[:: max(1, len(counts) // 8)]]
        wrong += any(not one.low <= rate <= one.high for one in ranges)
        wrong_bets += any(not one.low <= rate <= one.high for one in bets)
        plain += any(k and stats.beta.ppf(0.025, k, n - k + 1) > rate for k, n in counts)
    assert wrong <= 6
    assert wrong_bets <= 6
    assert plain > 6


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: inverse_binomial(0, 10),
        lambda: inverse_binomial(11, 10),
        lambda: anytime(3, 2),
        lambda: anytime(1, 2, guess=0),
        lambda: betting([2.0], 10, 1.0),
        lambda: betting([0.0], 10, 1.0),
        lambda: betting([1.0, 1.0], 1, 1.0),
        lambda: failures_to_stop(0),
        lambda: anytime(1, 2, level=1),
    ],
)
def test_impossible_counts_are_refused(wrong):
    with pytest.raises(BadInput):
        wrong()
