"""Intervals for rates: exact for counts, gamma for weighted counts, effective-sample-size for clusters.

A rate never comes without its interval and its counts, and no failures never read as a rate of zero: the interval
then runs from 0 to an upper limit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from engine.errors import BadInput

Floats = NDArray[np.float64]


class RateDict(TypedDict):
    """A `Rate` as JSON."""

    estimate: float | None
    low: float
    high: float
    level: float
    method: str
    failures: float
    n: float


class Rate(NamedTuple):
    """A rate, its interval and the counts behind it. Proportions lie in [0, 1]."""

    estimate: float | None
    """None where nothing was observed; the interval is then [0, 1], all a proportion can be."""
    low: float
    high: float
    level: float
    """Coverage the interval aims at, two-sided, e.g. 0.95."""
    method: str
    failures: float
    """Raw count of what the rate counts (not weighted)."""
    n: float
    """Raw count of what was looked at, or the exposure."""

    def as_dict(self) -> RateDict:
        """Plain JSON types."""
        return RateDict(
            estimate=self.estimate,
            low=self.low,
            high=self.high,
            level=self.level,
            method=self.method,
            failures=self.failures,
            n=self.n,
        )


def clopper_pearson(failures: int, n: int, *, level: float = 0.95) -> Rate:
    """Exact binomial interval; covers at least `level` whatever the truth (Clopper and Pearson 1934).

    Nothing observed (`n` = 0) gives no estimate and [0, 1]. Raises BadInput for impossible counts. O(1).
    """
    return clopper_pearson_each([failures], [n], level=level)[0]


def clopper_pearson_each(failures: Sequence[int], n: Sequence[int], *, level: float = 0.95) -> list[Rate]:
    """`clopper_pearson` of many pairs of counts, in order, with one call of scipy's. O(pairs)."""
    for count, of in zip(failures, n, strict=True):
        _check_counts(count, of, level)
    low, high = _beta_limits(failures, n, level)
    return [
        Rate(count / of if of else None, lowest, highest, level, "Clopper-Pearson", count, of)
        for count, of, lowest, highest in zip(failures, n, low.tolist(), high.tolist(), strict=True)
    ]


def beta_credible(failures: int, n: int, *, level: float = 0.95) -> Rate:
    """Central credible interval under a uniform prior, Beta(1 + failures, 1 + n - failures) (paper, figure 5).

    The estimate is the observed share, as the paper plots it, and None for `n` = 0. O(1).
    """
    _check_counts(failures, n, level)
    tail = (1 - level) / 2
    posterior = stats.beta(1 + failures, 1 + n - failures)
    low, high = float(posterior.ppf(tail)), float(posterior.ppf(1 - tail))
    return Rate(failures / n if n else None, low, high, level, "Beta(1,1) credible", failures, n)


def garwood(failures: int, exposure: float, *, level: float = 0.95) -> Rate:
    """Exact Poisson interval of a rate per unit of exposure; covers at least `level` (Garwood 1936).

    Raises BadInput for an exposure that is not positive: such a rate has no upper limit. O(1).
    """
    _check_level(level)
    if failures < 0 or not exposure > 0:
        raise BadInput(f"needs failures >= 0 and exposure > 0, not {failures} and {exposure}", where="garwood")
    tail = (1 - level) / 2
    low = stats.gamma.ppf(tail, failures) / exposure if failures else 0.0
    high = stats.gamma.ppf(1 - tail, failures + 1) / exposure
    return Rate(failures / exposure, float(low), float(high), level, "Garwood", failures, exposure)


def clustered_garwood(events: ArrayLike, exposure: ArrayLike, most: ArrayLike, *, level: float = 0.95) -> Rate:
    """Garwood's interval of events per unit of exposure where events come in clusters: counts over a design effect.

    Arrays (k,), one entry a cluster: its events, its exposure, and how many events it could have had. The design
    effect is the linearised between-cluster variance of the ratio over the Poisson variance, never below 1, with
    fewer degrees of freedom for few clusters, as `clustered` has it for proportions (Korn and Graubard 1998). Where
    nothing happened it cannot be estimated, and each cluster is taken as one event repeated. Raises BadInput for an
    exposure that does not sum to more than 0, and for events above `most`. O(k).
    """
    _check_level(level)
    count, of, top = (np.asarray(values, dtype=np.float64).ravel() for values in (events, exposure, most))
    if not count.size == of.size == top.size or (count < 0).any() or (of < 0).any() or (count > top).any():
        raise BadInput("needs events, exposure and most alike in length, 0 <= events <= most", where="clustered")
    total = float(count.sum())
    exposed = float(of.sum())
    if not 0 < exposed < math.inf:
        raise BadInput(f"needs an exposure above 0, not {exposed}", where="clustered_garwood")
    effect = _overdispersion(count, of, top, level)
    tail = (1 - level) / 2
    low = stats.gamma.ppf(tail, total / effect) * effect / exposed if total else 0.0
    high = stats.gamma.ppf(1 - tail, total / effect + 1) * effect / exposed
    method = "Garwood" + (f", design effect {effect:.2f} ({count.size} clusters)" if effect > 1 else "")
    return Rate(total / exposed, float(low), float(high), level, method, total, exposed)


def _overdispersion(events: Floats, exposure: Floats, most: Floats, level: float) -> float:
    clusters, total = events.size, float(events.sum())
    if not total or clusters == 1:
        return max(1.0, float((most**2).sum()) / max(1.0, float(most.sum())))
    residuals = events - exposure * (total / float(exposure.sum()))
    tail = (1 + level) / 2
    freedom = float(stats.t.ppf(tail, clusters - 1) / stats.norm.ppf(tail)) ** 2
    return max(1.0, clusters / (clusters - 1) * float((residuals**2).sum()) / total * freedom)


def fay_feuer(
    failure_weights: ArrayLike, max_weight: float, *, n: int, level: float = 0.95, mid_p: bool = False
) -> Rate:
    """Gamma interval of a weighted sum of Poisson counts (Fay and Feuer 1997; mid-p: Fay and Kim 2017).

    `failure_weights` (k,) holds the weight of each failure, scaled so that they sum to the estimate; `max_weight` is
    the largest weight that a failure could have had, failures or not. Equal weights give Garwood's interval. It is
    conservative; mid-p is narrower and may fall a little under `level`. The limits are not cut at 1. Raises BadInput
    for weights that are not positive or lie above `max_weight`. O(k).
    """
    _check_level(level)
    weights = np.asarray(failure_weights, dtype=np.float64).ravel()
    top = float(weights.max(initial=0.0))
    if not 0 < max_weight < math.inf or (weights <= 0).any() or top > max_weight * (1 + 1e-9):
        raise BadInput(f"weights must lie in (0, {max_weight}]", where="fay_feuer")
    total, squares = float(weights.sum()), float((weights**2).sum())
    tail = (1 - level) / 2
    upper = _gamma(total + max_weight, squares + max_weight**2)
    lower = _gamma(total, squares) if total else None
    if mid_p:
        low, high = _mixture_quantile(lower, upper, tail), _mixture_quantile(lower, upper, 1 - tail)
    else:
        low, high = lower.ppf(tail) if lower else 0.0, upper.ppf(1 - tail)
    method = "Fay-Feuer gamma, mid-p" if mid_p else "Fay-Feuer gamma"
    return Rate(total, float(low), float(high), level, method, weights.size, n)


def clustered(hits: ArrayLike, clusters: ArrayLike | None, *, level: float = 0.95) -> Rate:
    """Clopper-Pearson on the effective sample size of clustered trials (Korn and Graubard 1998).

    `hits` (n,) bool, `clusters` (n,) labels of any kind, e.g. prompts; None means every trial is its own cluster. The
    design effect comes from the linearised between-cluster variance and is never taken below 1. Where all trials
    agree it cannot be estimated, and each cluster is taken as one trial repeated. Clusters of one give exactly
    `clopper_pearson`. O(n log n).
    """
    trials = np.asarray(hits, dtype=bool).ravel()
    n, failures = trials.size, int(trials.sum())
    if clusters is None or n == 0:
        return clopper_pearson(failures, n, level=level)
    _check_level(level)
    sizes, sums = _cluster_sums(trials, clusters)
    if sizes.size == n:
        return clopper_pearson(failures, n, level=level)
    effective = _effective_n(sizes, sums)
    low, high = _beta_limits(failures * effective / n, effective, level)
    method = f"Clopper-Pearson on effective n {effective:.1f} (Korn-Graubard, {sizes.size} clusters)"
    return Rate(failures / n, float(low), float(high), level, method, failures, n)


def effective_n(hits: ArrayLike, clusters: ArrayLike) -> float:
    """Independent trials that clustered ones (n,) are worth, by `clustered`; n for clusters of one. O(n log n)."""
    trials = np.asarray(hits, dtype=bool).ravel()
    sizes, sums = _cluster_sums(trials, clusters)
    return float(trials.size) if sizes.size == trials.size else _effective_n(sizes, sums)


def _cluster_sums(trials: NDArray[np.bool_], clusters: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    labels = np.asarray(clusters).ravel()
    if labels.size != trials.size:
        raise BadInput(f"{labels.size} cluster labels for {trials.size} trials", where="clusters")
    codes = np.unique(labels, return_inverse=True)[1]
    sums = np.bincount(codes, weights=trials.astype(np.float64))
    return np.bincount(codes).astype(np.float64), np.asarray(sums, dtype=np.float64)


def _effective_n(sizes: NDArray[np.float64], sums: NDArray[np.float64]) -> float:
    n, groups = float(sizes.sum()), sizes.size
    p = float(sums.sum()) / n
    as_single_trials = n**2 / float((sizes**2).sum())
    if p in (0.0, 1.0) or groups == 1:
        return as_single_trials
    between = float(((sums - p * sizes) ** 2).sum()) / n**2 * groups / (groups - 1)
    design_effect = max(1.0, between / (p * (1 - p) / (n - 1)))
    # Fewer clusters than trials leave fewer degrees of freedom to estimate that variance from.
    freedom = float(stats.t.ppf(0.975, n - 1) / stats.t.ppf(0.975, groups - 1)) ** 2
    return max(1.0, n / design_effect * freedom)


def _beta_limits(failures: ArrayLike, n: ArrayLike, level: float) -> tuple[Floats, Floats]:
    """Scipy has no number where a parameter is 0: there the interval ends at 0 or 1."""
    count, of, tail = np.asarray(failures, np.float64), np.asarray(n, np.float64), (1 - level) / 2
    low = np.where(count > 0, stats.beta.ppf(tail, count, of - count + 1), 0.0)
    high = np.where(count < of, stats.beta.ppf(1 - tail, count + 1, of - count), 1.0)
    return low, high


class _Gamma(NamedTuple):
    shape: float
    scale: float

    def ppf(self, q: float) -> float:
        return float(stats.gamma.ppf(q, self.shape, scale=self.scale))

    def cdf(self, x: float) -> float:
        return float(stats.gamma.cdf(x, self.shape, scale=self.scale))


def _gamma(mean: float, variance: float) -> _Gamma:
    return _Gamma(mean**2 / variance, variance / mean)


def _mixture_quantile(lower: _Gamma | None, upper: _Gamma, q: float) -> float:
    """Quantile of the half-half mixture of the two; no `lower` is a point mass at zero."""
    if lower is None and q <= 0.5:
        return 0.0

    def excess(x: float) -> float:
        return ((lower.cdf(x) if lower else 1.0) + upper.cdf(x)) / 2 - q

    right = max(upper.ppf(q), lower.ppf(q) if lower else 0.0)
    return float(optimize.brentq(excess, 0.0, right, xtol=1e-15, rtol=1e-12))


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise BadInput(f"must lie between 0 and 1, not {level}", where="level")


def _check_counts(failures: int, n: int, level: float) -> None:
    _check_level(level)
    if not 0 <= failures <= n:
        raise BadInput(f"{failures} failures of {n} are impossible", where="failures")
