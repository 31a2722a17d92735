"""Two filters over one stream of proposals: which fails more, from labels only where their outputs differ.

Give both filters the same proposals to the same prompts. Where they agree on every proposal up to the first accepted
one, they say the same, and it cancels whatever it is. So only prompts whose outputs differ need labels, and the
difference is exact: no weights by acceptance, and nothing assumed of either classifier. A filter that gives up has not
failed.
"""

from __future__ import annotations

import math
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import BadInput
from engine.evaluation.compare import mcnemar, sign_flip
from engine.evaluation.rates import Rate, RateDict, clopper_pearson, fay_feuer

Floats = NDArray[np.float64]


class DifferenceDict(TypedDict):
    """A `Difference` as JSON."""

    prompts: int
    differing: int
    labelled: int
    both: int
    only_first: RateDict
    only_second: RateDict
    difference: RateDict
    """First minus second: above 0 the second is safer."""
    p_value: float | None
    paired: bool


class Difference(NamedTuple):
    """Failures of two filters per prompt, on the same proposals."""

    prompts: int
    """Given to both."""
    differing: int
    """With outputs that differ."""
    labelled: int
    """Of those, with labels of both outputs; outputs labelled, where not `paired`."""
    both: int
    """Labelled, and both outputs fail; 0 where not `paired`."""
    only_first: Rate
    """Prompts at which only the first fails, of all prompts; of those with differing outputs. Where not `paired`, at
    which the first fails and the outputs differ, whatever the second does."""
    only_second: Rate
    difference: Rate
    """Rate of the first less that of the second, in [-1, 1]: above 0 the second is safer. `failures` counts prompts
    at which one of the two fails."""
    p_value: float | None
    """Two-sided and exact, of equal rates; None where labels weigh unequally."""
    paired: bool = True
    """Whether both outputs of a prompt are labelled; if not, each output was, or was not, by its own chance."""

    def as_dict(self) -> DifferenceDict:
        """Plain JSON types."""
        return DifferenceDict(
            prompts=self.prompts,
            differing=self.differing,
            labelled=self.labelled,
            both=self.both,
            only_first=self.only_first.as_dict(),
            only_second=self.only_second.as_dict(),
            difference=self.difference.as_dict(),
            p_value=self.p_value,
            paired=self.paired,
        )


def outputs_differ(first: ArrayLike, second: ArrayLike) -> NDArray[np.bool_]:
    """(n,): whether the filters' outputs to each prompt differ, by which draw was accepted (first draw 0; -1: gave up).

    Equal draws are the same proposal, since the stream is the same. Raises BadInput for other shapes. O(n).
    """
    one, other = np.asarray(first), np.asarray(second)
    if one.ndim != 1 or one.shape != other.shape:
        raise BadInput(f"draws of shapes {one.shape} and {other.shape}", where="outputs_differ")
    return np.asarray(one != other)


def difference(
    first: ArrayLike,
    second: ArrayLike,
    *,
    differing: int,
    prompts: int,
    weights: ArrayLike | None = None,
    units: ArrayLike | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> Difference:
    """How often each filter fails alone, and the difference of their failure rates.

    `first` and `second` (k,) bool: whether each filter's output fails at the prompts labelled, drawn at random from the
    `differing` ones of all `prompts`, or all of those. `weights` (k,): how many differing prompts each stands for where
    they were not drawn alike. `units` (k,) are codes of prompts that belong together, such as repeated ones; they fail
    together, at worst. Intervals: gamma, which is Garwood's where weights are equal, and MOVER of two (Zou and
    Donner 2008). Raises BadInput where arrays do not fit, and for labels of more prompts than differ. O(k log k).
    """
    fails = np.asarray(first, dtype=bool).ravel(), np.asarray(second, dtype=bool).ravel()
    k = fails[0].size
    if not k == fails[1].size <= differing <= prompts or not prompts:
        sizes = f"{k} and {fails[1].size} labels, {differing} differing of {prompts} prompts"
        raise BadInput(sizes, where="difference")
    mass = _mass(k, differing, weights)
    codes = np.arange(k) if units is None else np.unique(np.asarray(units).ravel(), return_inverse=True)[1]
    if codes.size != k:
        raise BadInput(f"{codes.size} units for {k} prompts", where="difference")
    alone = fails[0] & ~fails[1], fails[1] & ~fails[0]
    if differing and not k:
        most = clopper_pearson(differing, prompts, level=level).high
        unknown = Rate(None, 0.0, most, level, "nothing labelled", 0, 0)
        nothing = unknown._replace(low=-most)
        return Difference(prompts, differing, 0, 0, unknown, unknown, nothing, None)
    one, two = (_alone(each, mass / prompts, codes, prompts, level) for each in alone)
    return Difference(
        prompts=prompts,
        differing=differing,
        labelled=k,
        both=int((fails[0] & fails[1]).sum()),
        only_first=one,
        only_second=two,
        difference=mover(one, two),
        p_value=_p_value(alone, mass, None if units is None else codes.astype(np.int64), seed),
    )


class Outputs(NamedTuple):
    """Outputs of one filter, labelled of those to prompts where the two differ."""

    failures: NDArray[np.bool_]
    """(k,)"""
    weights: Floats
    """(k,): how many of its differing outputs each stands for. Within a stratum of outputs, by their scores or by
    whether the other filter refused this very proposal, labels are drawn at random: its outputs over its labels."""
    units: NDArray[np.int64] | None = None
    """(k,) codes of outputs that belong together, such as those to one prompt; None: each alone."""


def difference_by_output(
    first: Outputs, second: Outputs, *, prompts: int, level: float = 0.95, trust_strata: bool = False
) -> Rate:
    """First less second where the two outputs to a prompt are labelled each by its own chance: fewer labels.

    A proposal that one filter accepts and the other refuses fails far more often than the one that the other filter
    gives instead, which only one in some needs a label for. Gamma intervals, and MOVER of them, which takes both as
    independent: that two outputs to one prompt both fail makes it wider than it need be. Raises BadInput without labels
    of both and for weights not above 0. O(k log k).
    """
    if not min(first.failures.size, second.failures.size):
        raise BadInput("needs labels of both filters' outputs", where="difference_by_output")
    return mover(*(failing_outputs(one, prompts, level, trust_strata=trust_strata) for one in (first, second)))


def failing_outputs(side: Outputs, prompts: int, level: float, *, trust_strata: bool = False) -> Rate:
    """How often one filter fails where the two differ, per prompt: a gamma interval of its weighted failures.

    `trust_strata` takes, as a design's estimate does, the largest weight of strata with a failure for the largest there
    could have been. No output is no failure in this stream, of which the prompts are a sample. Raises BadInput for
    weights not above 0. O(k log k).
    """
    if not prompts > 0:
        raise BadInput("needs prompts", where="failing_outputs")
    mass, fails = _mass(side.failures.size, 0, side.weights), side.failures
    codes = np.arange(mass.size) if side.units is None else side.units
    if codes.size != mass.size:
        raise BadInput(f"{codes.size} units for {mass.size} outputs", where="failing_outputs")
    if trust_strata and fails.any():
        kept = mass <= mass[fails].max()
        mass, fails, codes = mass[kept], fails[kept], codes[kept]
    return _alone(fails, mass / prompts, np.unique(codes, return_inverse=True)[1], prompts, level)


def mover(first: Rate, second: Rate) -> Rate:
    """First less second, of two independent rates, from their intervals alone (Zou and Donner 2008). O(1).

    Raises BadInput where a rate has no estimate, or levels differ.
    """
    if first.estimate is None or second.estimate is None or first.level != second.level:
        raise BadInput("needs two estimates at one level", where="mover")
    gap = first.estimate - second.estimate
    low = gap - math.hypot(first.estimate - first.low, second.high - second.estimate)
    high = gap + math.hypot(first.high - first.estimate, second.estimate - second.low)
    failures, n = first.failures + second.failures, max(first.n, second.n)
    return Rate(gap, max(-1.0, low), min(1.0, high), first.level, f"MOVER of {first.method}", failures, n)


def _mass(k: int, differing: int, weights: ArrayLike | None) -> Floats:
    if weights is None:
        return np.full(k, differing / k) if k else np.zeros(0)
    mass = np.asarray(weights, dtype=np.float64).ravel()
    if mass.size != k or not (np.isfinite(mass) & (mass > 0)).all():
        raise BadInput(f"{mass.size} weights for {k} prompts, each above 0", where="difference")
    return mass


def _alone(fails: NDArray[np.bool_], mass: Floats, codes: NDArray[np.intp], prompts: int, level: float) -> Rate:
    """No prompt that differs is an exact zero in this stream, but the stream is a sample: one more prompt might."""
    if not mass.size:
        rate = fay_feuer([], 1 / prompts, n=prompts, level=level)
        return rate._replace(high=min(1.0, rate.high), method="Garwood")
    most = np.bincount(codes, weights=mass)
    failed = np.bincount(codes, weights=mass * fails)
    rate = fay_feuer(failed[failed > 0], float(most.max()), n=fails.size, level=level)
    method = "Garwood" if np.ptp(most) <= 1e-9 * most.max() else rate.method
    return rate._replace(high=min(1.0, rate.high), failures=int(fails.sum()), method=method)


def _p_value(
    alone: tuple[NDArray[np.bool_], NDArray[np.bool_]], mass: Floats, units: NDArray[np.int64] | None, seed: int
) -> float | None:
    if mass.size and np.ptp(mass) > 1e-9 * mass.max():
        return None
    if units is None:
        return mcnemar(int(alone[0].sum()), int(alone[1].sum()))
    return sign_flip(alone[0].astype(np.int64) - alone[1].astype(np.int64), units, seed=seed)
