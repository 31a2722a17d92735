"""Two classifiers on the same labelled snippets: which of them misses what, and is the difference chance."""

from __future__ import annotations

import math
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from engine.errors import BadInput
from engine.evaluation.curves import Scored
from engine.evaluation.rates import Rate, RateDict


class ComparisonDict(TypedDict):
    """A `Comparison` as JSON."""

    both: int
    only_before: int
    only_after: int
    neither: int
    n: int
    difference: RateDict
    p_value: float
    p_value_clusters: float | None


class Comparison(NamedTuple):
    """Misses of two classifiers, before and after, on the same positives."""

    both: int
    """Positives that both accept."""
    only_before: int
    only_after: int
    neither: int
    n: int
    difference: Rate
    """FNR after - FNR before, in [-1, 1]; below zero is better. `failures` counts the snippets they differ on."""
    p_value: float
    """Exact McNemar, two-sided: snippets taken as independent."""
    p_value_clusters: float | None
    """Sign-flip test over clusters, two-sided; None without clusters."""

    def as_dict(self) -> ComparisonDict:
        """Plain JSON types."""
        return ComparisonDict(
            both=self.both,
            only_before=self.only_before,
            only_after=self.only_after,
            neither=self.neither,
            n=self.n,
            difference=self.difference.as_dict(),
            p_value=self.p_value,
            p_value_clusters=self.p_value_clusters,
        )


def compare(
    before: Scored, at_before: float, after: Scored, at_after: float, *, level: float = 0.95, seed: int = 0
) -> Comparison:
    """Paired comparison of false negatives on the positives of one labelled set, each at its own logit threshold.

    Interval of the difference: Tango's score interval (1998), which stays open where the two never differ. Where
    snippets share clusters, counts are first divided by the design effect of the difference. Raises BadInput where the
    two sets are not the same snippets. O(n log n).
    """
    if before.positives.shape != after.positives.shape or (before.positives != after.positives).any():
        raise BadInput("both classifiers must be scored on the same labelled snippets", where="compare")
    kept = before.positives
    return paired(
        before.logits[kept] < np.float32(at_before),
        after.logits[kept] < np.float32(at_after),
        None if before.clusters is None else before.clusters[kept],
        level=level,
        seed=seed,
    )


def paired(
    first: NDArray[np.bool_],
    second: NDArray[np.bool_],
    clusters: NDArray[np.int64] | None = None,
    *,
    level: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """`compare` of any two outcomes (n,) on the same things; `clusters` (n,) are codes of those that belong together.

    The difference is the share of `second` minus that of `first`. O(n log n).
    """
    n, b, c = first.size, int((first & ~second).sum()), int((~first & second).sum())
    changes = second.astype(np.int64) - first.astype(np.int64)
    effect = 1.0 if clusters is None or not n else design_effect(changes, clusters)
    low, high = tango(c / effect, b / effect, n / effect, level=level)
    method = "Tango score, paired" + (f", design effect {effect:.2f}" if effect > 1 else "")
    return Comparison(
        both=int((first & second).sum()),
        only_before=b,
        only_after=c,
        neither=int((~first & ~second).sum()),
        n=n,
        difference=Rate((c - b) / n if n else None, low, high, level, method, b + c, n),
        p_value=mcnemar(b, c),
        p_value_clusters=None if clusters is None else sign_flip(changes, clusters, seed=seed),
    )


def mcnemar(only_before: int, only_after: int) -> float:
    """Exact two-sided p of equal error rates: a fair coin over the snippets on which the two differ; 1 if none."""
    differing = only_before + only_after
    return float(stats.binomtest(only_before, differing).pvalue) if differing else 1.0


def tango(only_first: float, only_second: float, n: float, *, level: float = 0.95) -> tuple[float, float]:
    """Score interval of (only_first - only_second) / n, a difference of paired proportions (Tango 1998).

    Counts need not be whole, so that they may be divided by a design effect. [-1, 1] for `n` = 0. With no differing
    pairs the limits are +- z^2 / (n + z^2). O(1).
    """
    if min(only_first, only_second) < 0 or only_first + only_second > n * (1 + 1e-9):
        raise BadInput(f"{only_first} + {only_second} differing pairs of {n} are impossible", where="tango")
    if not n:
        return -1.0, 1.0
    z = float(stats.norm.ppf((1 + level) / 2))
    estimate = (only_first - only_second) / n

    def score(delta: float) -> float:
        a = 2 * n
        b = -only_first - only_second + (2 * n - only_first + only_second) * delta
        c = -only_second * delta * (1 - delta)
        second = (math.sqrt(max(b * b - 4 * a * c, 0)) - b) / (2 * a)
        variance = n * (2 * second + delta * (1 - delta))
        gap = only_first - only_second - n * delta
        return gap / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, gap) if gap else 0.0

    def solve(target: float, end: float) -> float:
        if abs(score(end)) <= abs(target):
            return end
        inside = min(max(estimate, -1 + 1e-12), 1 - 1e-12)
        left, right = sorted((inside, end))
        return float(optimize.brentq(lambda delta: max(min(score(delta), 1e6), -1e6) - target, left, right))

    return solve(z, -1.0), solve(-z, 1.0)


def design_effect(changes: NDArray[np.int64], clusters: NDArray[np.int64]) -> float:
    """How much clustering inflates the variance of the mean of `changes` (n,); at least 1.

    Where nothing changes it cannot be estimated, and each cluster counts as one snippet. O(n log n).
    """
    codes = np.unique(clusters, return_inverse=True)[1]
    sizes = np.bincount(codes).astype(np.float64)
    n, groups = changes.size, sizes.size
    residuals = changes - changes.mean()
    alone = float((residuals**2).sum())
    if alone == 0 or groups == 1:
        return float((sizes**2).sum()) / n
    together = float((np.bincount(codes, weights=residuals) ** 2).sum()) * groups / (groups - 1)
    return max(1.0, together / (alone * n / (n - 1)))


def sign_flip(changes: NDArray[np.int64], clusters: NDArray[np.int64], *, seed: int = 0, flips: int = 20_000) -> float:
    """Two-sided p of no difference when whole clusters may swap sides: exact up to 14 clusters that differ, else drawn.

    With clusters of one this is the exact McNemar test. O(flips * clusters).
    """
    codes = np.unique(clusters, return_inverse=True)[1]
    sums = np.bincount(codes, weights=changes)
    sums = sums[sums != 0]
    if not sums.size:
        return 1.0
    if sums.size <= 14:
        signs = 1 - 2 * ((np.arange(2**sums.size)[:, None] >> np.arange(sums.size)) & 1)
        return float((np.abs(signs @ sums) >= abs(sums.sum()) - 1e-9).mean())
    rng = np.random.default_rng([seed, 37])
    extreme = np.abs((1 - 2 * rng.integers(0, 2, (flips, sums.size))) @ sums) >= abs(sums.sum()) - 1e-9
    return float((extreme.sum() + 1) / (flips + 1))
