"""Strata of two filters' differing outputs, how labels are spread over both, and how wide a difference that gives."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from engine.evaluation.designs.base import Floats, Wanted
from engine.evaluation.designs.strata import Layers, gamma_limits

Interval = Literal["estimate", "certificate"]


class TwoPools(NamedTuple):
    """The strata of both filters' outputs, the evaluated one's first; either may have none."""

    layers: Layers
    """Of both, one after the other, each ascending in the score; `shares` sum to 1 over both."""
    later: NDArray[np.bool_]
    """(strata,): those of the evaluated filter."""
    prompts: int

    def weights(self, labels: NDArray[np.int64]) -> Floats:
        """(strata,): failures per prompt that a failure stands for."""
        return np.asarray(self.layers.sizes / self.prompts / labels, dtype=np.float64)


class Gap(NamedTuple):
    """Of many samples, (n,) each: the evaluated filter's rate less the other's, per prompt, with its limits."""

    estimate: Floats
    low: Floats
    high: Floats


def two_pools(later: Layers | None, other: Layers | None, *, prompts: int, defence: float) -> TwoPools:
    """Neyman's allocation over both: a stratum's outputs times the root of what is expected to fail there; a share
    `defence` is spread over all outputs evenly. Raises ValueError without strata. O(strata).
    """
    found = [one for one in (later, other) if one is not None]
    joint = Layers(*(np.concatenate(column) for column in zip(*found, strict=True)))
    mass = joint.sizes / joint.sizes.sum()
    roots = mass * np.sqrt(joint.expected)
    shares = defence * mass + (1 - defence) * roots / roots.sum()
    sides = np.repeat([True, False], [0 if one is None else one.sizes.size for one in (later, other)])
    return TwoPools(joint._replace(shares=shares), sides, prompts)


def gaps(of: TwoPools, labels: NDArray[np.int64], counts: Floats, *, level: float, interval: Interval) -> Gap:
    """What samples with these `counts` of failures, (n, strata), say: gamma limits of each filter, MOVER of both.

    As `difference_by_output` has them; a filter without outputs has not failed. O(n * strata).
    """
    weights = of.weights(labels)
    one, two = (_rates(counts[:, side], weights[side], of.prompts, level, interval) for side in (of.later, ~of.later))
    gap = one.estimate - two.estimate
    low = gap - np.hypot(one.estimate - one.low, two.high - two.estimate)
    high = gap + np.hypot(one.high - one.estimate, two.estimate - two.low)
    return Gap(gap, low, high)


def _rates(counts: Floats, weights: Floats, prompts: int, level: float, interval: Interval) -> Gap:
    top = np.full(len(counts), weights.max() if weights.size else 1 / prompts)
    if interval == "estimate" and weights.size:
        seen = np.where(counts > 0, weights, 0.0).max(axis=1)
        top = np.where(seen > 0, seen, top)
    total = counts @ weights
    return Gap(total, *gamma_limits(total, counts @ weights**2, top, level))


def failures_met(uniform: Floats, labels: NDArray[np.int64], expected: Floats) -> Floats:
    """(n, strata) failures among so many labels a stratum, Poisson, by `uniform` (n, strata) chance. O(n * strata)."""
    return np.asarray(stats.poisson.ppf(uniform, labels * expected), dtype=np.float64)


def half_width(of: TwoPools, labels: NDArray[np.int64], wanted: Wanted, counts: Floats) -> float:
    """Mean half-width of the difference over these `counts` (n, strata), in failures per prompt. O(n * strata)."""
    found = gaps(of, labels, counts, level=wanted.level, interval=wanted.interval)
    return float((found.high - found.low).mean()) / 2
