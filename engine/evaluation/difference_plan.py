"""How many labels it takes to compare two filters: by their differing outputs, by two tests, by one shared set."""

from __future__ import annotations

import math
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from engine.errors import BadInput
from engine.evaluation.designs.planning import MOST, least
from engine.evaluation.rates import garwood

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


class LabelsDict(TypedDict):
    """`Labels` as JSON."""

    prompts: int
    differing: int
    two_tests: int
    shared: int


class Labels(NamedTuple):
    """Labels that one aim takes, by the way to it."""

    prompts: int
    """To run both filters on."""
    differing: int
    """Labels of the outputs that differ, two a prompt."""
    two_tests: int
    """Labels of two independent random samples, one a filter."""
    shared: int
    """Labels of all outputs of both filters to the same prompts, equal ones labelled once."""

    def as_dict(self) -> LabelsDict:
        """Plain JSON types."""
        return LabelsDict(prompts=self.prompts, differing=self.differing, two_tests=self.two_tests, shared=self.shared)


class DifferencePlanDict(TypedDict):
    """A `DifferencePlan` as JSON."""

    width: LabelsDict
    power: LabelsDict
    note: str


class DifferencePlan(NamedTuple):
    """Labels to know a difference, and to notice one."""

    width: Labels
    """For an interval of the difference as narrow as wanted."""
    power: Labels
    """To find the improvement with the power wanted, by the exact test."""
    note: str

    def as_dict(self) -> DifferencePlanDict:
        """Plain JSON types."""
        return DifferencePlanDict(width=self.width.as_dict(), power=self.power.as_dict(), note=self.note)


def plan_difference(
    rate: float,
    differing: float,
    *,
    overlap: float = 0.5,
    relative: float = 0.5,
    improvement: float = 0.5,
    power: float = 0.8,
    level: float = 0.95,
) -> DifferencePlan:
    """Labels to know F_A - F_B to +- `relative` * F_A, and to find, with chance `power`, that F_B is lower by its
    share `improvement`.

    `rate` is F_A, failures per prompt; `differing` the share of prompts whose outputs differ, which is known before
    any label; `overlap` the share of the safer filter's failures that the other makes too, with the same output. The
    width is planned for filters alike (F_B = F_A), where it takes most. Small rates: counts are taken as Poisson.
    Confirmations of Yes's are not counted. Raises BadInput outside (0, 1]. O(1 / relative^2 + log n sums).
    """
    shares = {"rate": rate, "differing": differing, "improvement": improvement, "power": power, "level": level}
    for name, value in shares.items():
        if not 0 < value <= 1 or (name in ("power", "level", "rate") and value == 1):
            raise BadInput(f"must lie in (0, 1], not {value}", where=name)
    if not 0 <= overlap <= 1 or not relative > 0 or rate * (1 - overlap * (1 - improvement)) > differing:
        raise BadInput(f"overlap {overlap}, relative {relative}: impossible at {differing} differing", where="overlap")
    alone = rate * (1 - overlap)
    second = rate * (1 - improvement)
    shared = overlap * second
    wanted = relative * rate
    width = _for_width(alone, alone, wanted, level), _for_width(rate, rate, wanted, level)
    found = _for_power(rate - shared, second - shared, power, level), _for_power(rate, second, power, level)
    note = (
        f"At a failure rate of {rate:.3g}, of which {100 * overlap:.0f} % are taken to be the same outputs of both, "
        f"and with {100 * differing:.2g} % of outputs differing."
    )
    return DifferencePlan(_labels(*width, differing), _labels(*found, differing), note)


def _labels(paired: int, apart: int, differing: float) -> Labels:
    return Labels(paired, math.ceil(2 * paired * differing), 2 * apart, math.ceil(paired * (1 + differing)))


def _for_width(first: float, second: float, wanted: float, level: float) -> int:
    """Prompts so that MOVER's mean half-width is `wanted`. Identical filters, which never fail alone, take some too."""
    return least(lambda n: mean_mover_width(n * first, n * second, level) / n <= wanted, MOST)


def mean_mover_width(first: float, second: float, level: float) -> float:
    """Mean half-width of MOVER's interval of the difference of two Poisson counts of these means. O(counts^2)."""
    one, chance_one, low_one, high_one = _counts(first, level)
    two, chance_two, low_two, high_two = _counts(second, level)
    below = np.hypot((one - low_one)[:, None], (high_two - two)[None, :])
    above = np.hypot((high_one - one)[:, None], (two - low_two)[None, :])
    return float(chance_one @ (below + above) @ chance_two) / 2


def _counts(mean: float, level: float) -> tuple[Counts, Floats, Floats, Floats]:
    low, high = (int(stats.poisson.ppf(share, mean)) for share in (1e-6, 1 - 1e-6))
    counts = np.arange(low, high + 1)
    chances = stats.poisson.pmf(counts, mean)
    limits = [garwood(int(count), 1.0, level=level) for count in counts]
    lows, highs = np.array([one.low for one in limits]), np.array([one.high for one in limits])
    return counts, chances / chances.sum(), lows, highs


def _for_power(first: float, second: float, power: float, level: float) -> int:
    return least(lambda n: mcnemar_power(n * first, n * second, level) >= power, MOST)


def mcnemar_power(first: float, second: float, level: float) -> float:
    """Chance that the exact two-sided test of equal rates finds that the first is higher: of two Poisson counts with
    these means. O(counts).
    """
    together = first + second
    if not together:
        return 0.0
    low, high = (int(stats.poisson.ppf(share, together)) for share in (1e-9, 1 - 1e-9))
    totals = np.arange(max(1, low), high + 1)
    needed = stats.binom.isf((1 - level) / 2, totals, 0.5) + 1
    chances = stats.binom.sf(needed - 1, totals, first / together)
    return float(stats.poisson.pmf(totals, together) @ chances)
