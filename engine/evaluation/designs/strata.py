"""Strata of like sampling score, Neyman's allocation of labels to them, and how wide an interval that gives.

Strata have equal sums of the square root of the score, so that each matters alike. A stratum gets labels by its share
of the pool times that root; a share, the defence, is spread over the pool evenly (defensive mixing, Owen and Zhou
2000), which bounds what a score that is wrong can cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from engine.evaluation.designs.base import Floats, Stratum, Wanted

STRATA = 40
DRAWS = 200
"""Runs that a mean width is taken over."""


class Layers(NamedTuple):
    """Strata before labels are given out, (strata,) each, ascending in the score."""

    lows: Floats
    sizes: NDArray[np.int64]
    expected: Floats
    """Failures expected in each of its outputs."""
    shares: Floats
    """Of the labels, before any stratum is used up; they sum to 1."""

    def with_labels(self, labels: NDArray[np.int64]) -> tuple[Stratum, ...]:
        """What a plan says of them."""
        lows, highs = self.lows.tolist(), [*self.lows[1:].tolist(), 1.0]
        return tuple(map(Stratum, self.sizes.tolist(), labels.tolist(), lows, highs))


def layers_of(score: Floats, rate: float, *, defence: float, unseen: float) -> Layers:
    """At most STRATA strata of `score` (n,) in (0, 1); equal scores share one. O(n log n).

    Failures are expected in proportion to the score, so that the mean is `rate`; a share `unseen` of them anywhere.
    """
    ascending = np.sort(score)
    sums = np.cumsum(np.sqrt(ascending))
    cuts = np.searchsorted(sums, sums[-1] * np.arange(1, STRATA) / STRATA)
    lows = np.unique(np.concatenate(([0.0], ascending[cuts])))
    sizes = np.bincount(codes_of(score, lows), minlength=lows.size)
    lows = np.concatenate(([0.0], lows[sizes > 0][1:]))
    codes, sizes = codes_of(score, lows), sizes[sizes > 0]
    means = np.bincount(codes, weights=score) / sizes
    mass = sizes / score.size
    expected = np.minimum(1.0, rate * ((1 - unseen) * means / float(mass @ means) + unseen))
    roots = mass * np.sqrt(means)
    shares = defence * mass + (1 - defence) * roots / roots.sum()
    return Layers(lows, sizes.astype(np.int64), expected, shares)


def codes_of(score: Floats, lows: Floats) -> NDArray[np.int64]:
    """(n,) the stratum of each output: the last whose low it reaches. O(n log strata)."""
    return (np.searchsorted(lows, score, side="right") - 1).astype(np.int64)


def allocated(layers: Layers, n: int) -> NDArray[np.int64]:
    """(strata,): each one's share of `n` labels, at least 1 and at most its size; so their sum may differ from n."""
    return np.clip(np.rint(n * layers.shares), 1, layers.sizes).astype(np.int64)


def in_turn(codes: NDArray[np.int64], labels: Sequence[int], rng: np.random.Generator) -> NDArray[np.int64]:
    """(sum of labels,) indices of `codes`: strata in turn by their labels, each at random, so that what is broken off
    is balanced. O(n strata).
    """
    taken, turns = [], []
    for code, wanted in enumerate(labels):
        taken.append(rng.permutation(np.flatnonzero(codes == code))[:wanted])
        turns.append((np.arange(taken[-1].size) + rng.random()) / wanted)
    return np.concatenate(taken)[np.argsort(np.concatenate(turns), kind="stable")].astype(np.int64)


def chance(layers: Layers, rng: np.random.Generator) -> Floats:
    """(DRAWS, strata) uniform, spread evenly in each stratum: the chance that all allocations are compared by."""
    order = rng.permuted(np.tile(np.arange(DRAWS), (layers.sizes.size, 1)), axis=1).T
    return np.asarray((order + rng.random(order.shape)) / DRAWS, dtype=np.float64)


def mean_half_width(layers: Layers, labels: NDArray[np.int64], wanted: Wanted, uniform: Floats) -> float:
    """Mean half-width over the rate of the gamma interval, if failures come as expected. O(DRAWS * strata)."""
    mass = layers.sizes / layers.sizes.sum()
    weights = mass / labels
    counts = stats.poisson.ppf(uniform, labels * layers.expected)
    total, squares = counts @ weights, counts @ weights**2
    top = np.full(total.size, weights.max())
    if wanted.interval == "estimate":
        seen = np.where(counts > 0, weights, 0.0).max(axis=1)
        top = np.where(seen > 0, seen, top)
    low, high = gamma_limits(total, squares, top, wanted.level)
    return float((np.minimum(high, 1.0) - low).mean()) / 2 / float(mass @ layers.expected)


def gamma_limits(total: Floats, squares: Floats, top: Floats, level: float) -> tuple[Floats, Floats]:
    """`rates.fay_feuer` of many samples at once, (n,) each: sums of weights and of their squares, largest possible."""
    tail = (1 - level) / 2
    high = _gamma_quantile(1 - tail, total + top, squares + top**2)
    low = np.where(total > 0, _gamma_quantile(tail, np.maximum(total, 1e-99), np.maximum(squares, 1e-198)), 0.0)
    return low, high


def _gamma_quantile(share: float, mean: Floats, variance: Floats) -> Floats:
    return np.asarray(stats.gamma.ppf(share, mean**2 / variance, scale=variance / mean), dtype=np.float64)
