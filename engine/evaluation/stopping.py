"""Intervals that stay true when labels are bought until enough is known.

An interval of a fixed number of labels fails where people look, and stop when they like what they see. Three that do
not: stop at a number of failures (`inverse_binomial`), look whenever one likes (`anytime`), and the same with weights
(`betting`). To look at any time costs 2.1 to 2.4 times the labels of a rule fixed beforehand.
"""

from __future__ import annotations

import math
from bisect import bisect_left

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats
from scipy.special import betaln, logsumexp

from engine.errors import BadInput
from engine.evaluation.rates import Rate

Floats = NDArray[np.float64]
STAKES = np.logspace(-3, math.log10(0.99), 60)
"""Bets that the rate is lower, as shares of the most that cannot lose all."""
LOWER_STAKES = np.logspace(-3, 6, 90)
"""Bets that it is higher, per largest weight; such a bet may be as large as 1 over the rate."""


def inverse_binomial(failures: float, n: float, *, level: float = 0.95) -> Rate:
    """Rate where labels were bought until the `failures`-th failure, which was the `n`-th label (Haldane 1945).

    The estimate (failures - 1) / (n - 1) is unbiased; the limits are exact for the negative binomial and cover at
    least `level`. At small rates they are chi-squared quantiles of 2 * `failures` degrees of freedom over 2 n. Counts
    need not be whole, so that a design effect may divide them. One failure has no unbiased estimate: it is then 1 / n.
    Raises BadInput for no failures or more than `n`. O(1).
    """
    _check(level)
    if not 1 <= failures <= n:
        raise BadInput(f"cannot stop at failure {failures} of {n} labels", where="inverse_binomial")
    tail = (1 - level) / 2
    low = float(stats.beta.ppf(tail, failures, n - failures + 1))
    high = float(stats.beta.ppf(1 - tail, failures, n - failures)) if n > failures else 1.0
    estimate = (failures - 1) / (n - 1) if failures > 1 else 1 / n
    return Rate(estimate, low, high, level, f"inverse binomial, stopped at {failures:g} failures", failures, n)


def failures_to_stop(relative: float, *, level: float = 0.95) -> int:
    """Failures at which to stop for a mean half-width of `relative` times the rate, whatever the rate: 18 for +-50 %.

    The mean at small rates, where it is largest. Raises BadInput for a `relative` that is not positive.
    O(log(1 / relative)).
    """
    _check(level)
    if not relative > 0:
        raise BadInput(f"must be positive, not {relative}", where="relative")
    tail = (1 - level) / 2
    z = float(stats.norm.ppf(1 - tail))
    most = math.ceil(4 * (z / relative) ** 2 + 4 * z / relative + 10)

    def enough(count: int) -> bool:
        width = stats.chi2.ppf(1 - tail, 2 * count) - stats.chi2.ppf(tail, 2 * count)
        return bool(width / (4 * (count - 1)) <= relative)

    return 2 + bisect_left(range(2, most + 1), True, key=enough)


def anytime(failures: float, n: float, *, level: float = 0.95, guess: float = 1e-3, prior: float = 2.0) -> Rate:
    """Confidence sequence of a rate: covers at every look at once, however often one looks (Robbins 1970).

    The rates that a bettor with a Beta(`prior`, `prior` / `guess`) mixture has not won 1 / (1 - level) against. It is
    narrowest near `guess` and true whatever `guess` is. Nothing seen gives [0, 1]. Counts need not be whole. Raises
    BadInput for impossible counts, and for a guess outside (0, 1). O(1).
    """
    _check(level)
    if not 0 <= failures <= n or not 0 < guess < 1 or not prior > 0:
        raise BadInput(f"{failures} failures of {n}, guess {guess}, prior {prior}", where="anytime")
    won = float(betaln(failures + prior, n - failures + prior / guess) - betaln(prior, prior / guess))
    need = -math.log(1 - level)

    def excess(rate: float) -> float:
        losses = (failures * math.log(rate) if failures else 0.0) + ((n - failures) * math.log1p(-rate) if n else 0.0)
        return won - losses - need

    best = failures / n if n else 0.5
    tiny, most = 1e-300, 1 - 1e-16
    inside = min(max(best, tiny), most)
    low = optimize.brentq(excess, tiny, inside, xtol=1e-300, rtol=1e-12) if failures and excess(tiny) > 0 else 0.0
    high = optimize.brentq(excess, inside, most, xtol=1e-300, rtol=1e-12) if failures < n and excess(most) > 0 else 1.0
    method = f"anytime-valid beta mixture, guess {guess:.3g}"
    return Rate(failures / n if n else None, float(low), float(high), level, method, failures, n)


def betting(weights: ArrayLike, n: int, most: float, *, level: float = 0.95) -> Rate:
    """Confidence sequence of the mean of a stream in [0, `most`], nearly all of it zero (Waudby-Smith and Ramdas 2024).

    `weights` (k,) are what failures weighed, `n` all draws, zeros too: independent, or each with the same mean given
    those before it. Each limit is what a bettor who splits a stake over a fixed grid of bets has not won
    2 / (1 - level) against, so that it holds at every look. Wealth needs the number of zeros only. Raises BadInput for
    weights outside (0, most] and more of them than draws. O(k * bets * log(precision)).
    """
    _check(level)
    won = np.asarray(weights, dtype=np.float64).ravel()
    if not 0 < most < math.inf or (won <= 0).any() or (won > most * (1 + 1e-9)).any() or won.size > n:
        raise BadInput(f"{won.size} weights of {n} draws must lie in (0, {most}]", where="betting")
    scaled, zeros, need = won / most, n - won.size, math.log(2 / (1 - level))

    def too_low(mean: float) -> float:
        return _wealth(-np.minimum(LOWER_STAKES, 0.999 / mean), scaled, zeros, mean) - need

    def too_high(mean: float) -> float:
        return _wealth(STAKES, scaled, zeros, mean) - need

    inside = float(scaled.sum()) / n if n else 0.0
    low = optimize.brentq(too_low, 1e-18, inside, xtol=1e-300, rtol=1e-10) if won.size and too_low(inside) < 0 else 0.0
    high = optimize.brentq(too_high, inside, 1.0, xtol=1e-300, rtol=1e-10) if too_high(1.0) > 0 else 1.0
    estimate = inside * most if n else None
    return Rate(estimate, low * most, high * most, level, "anytime-valid betting", won.size, n)


def _wealth(bets: Floats, values: Floats, zeros: int, mean: float) -> float:
    """Log wealth of a stake split evenly over `bets`: each is multiplied by 1 + bet * (mean - value) a draw."""
    each = np.log1p(bets[:, None] * (mean - values)).sum(axis=1) + zeros * np.log1p(bets * mean)
    return float(logsumexp(each) - math.log(bets.size))


def _check(level: float) -> None:
    if not 0 < level < 1:
        raise BadInput(f"must lie between 0 and 1, not {level}", where="level")
