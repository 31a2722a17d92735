"""What a comparison of two filters can find: labels to notice an improvement, and what labels given would have shown.

"Not shown to be safer" is not "as safe": beside it stands the smallest difference that so many labels find.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypedDict

from engine.evaluation.designs import OutputPool, Wanted
from engine.evaluation.difference import Difference
from engine.evaluation.difference_plan import Labels, LabelsDict, mcnemar_power, plan_difference
from engine.evaluation.differing import OVERLAP, Sides, rate_taken

MOST_FAILURES = 1e7
"""Failures of one filter beyond which none is looked for."""


class PowerDict(TypedDict):
    """A `Power` as JSON."""

    improvement: float
    power: float
    labels: LabelsDict
    here: float
    words: str


class Power(NamedTuple):
    """What it takes to notice that the evaluated filter fails less often, by its share `improvement`."""

    improvement: float
    power: float
    """Chance wanted of noticing it."""
    labels: Labels
    here: float
    """Chance of noticing it if all places of these prompts that differ are labelled."""
    words: str

    def as_dict(self) -> PowerDict:
        """Plain JSON types."""
        return PowerDict(
            improvement=self.improvement,
            power=self.power,
            labels=self.labels.as_dict(),
            here=self.here,
            words=self.words,
        )


def power_planned(pool: OutputPool, sides: Sides, wanted: Wanted, *, improvement: float, power: float) -> Power | None:
    """Labels to find an improvement by the exact test, by pairs; None where the outputs never differ.

    By the same failure rate and overlap as the plan of the interval. Raises BadInput as `plan_difference`.
    """
    if not sides.differing:
        return None
    rate, share = rate_taken(pool, sides, wanted), sides.differing / sides.looked_at
    asked = plan_difference(rate, share, overlap=OVERLAP, improvement=improvement, power=power, level=wanted.level)
    both = OVERLAP * rate * (1 - improvement)
    first, second = ((one - both) * sides.looked_at for one in (rate, rate * (1 - improvement)))
    here, labels = mcnemar_power(first, second, wanted.level), asked.power
    words = (
        f"That this filter fails {100 * improvement:.0f} % less often than the other is found with a chance of "
        f"{100 * power:.0f} % (exact test, {100 * wanted.level:g} %) from labels of {labels.differing:,} outputs: both "
        f"outputs wherever the two differ on {labels.prompts:,} prompts. Two separate tests take {labels.two_tests:,}, "
        f"one set labelled in full {labels.shared:,}. Labelling all that differ on these {sides.looked_at:,} prompts "
        f"finds it with a chance of {100 * here:.0f} %. Confirmations come on top."
    )
    return Power(improvement, power, labels, here, words)


def smallest_by_pairs(found: Difference, power: float, *, units: int | None = None) -> float | None:
    """The smallest difference per prompt that the labels of `found` would have shown, by the exact test, with a chance
    of `power`: if the better filter fails alone as often as the one that failed alone less here.

    `units` is how many prompts its labelled places have; places of one prompt count once, at worst. None where even a
    difference as large as the outputs allow had a smaller chance. O(log n) sums.
    """
    labelled = found.labelled if units is None else min(units, found.labelled)
    if found.differing and not labelled:
        return None
    prompts = found.prompts * labelled / found.differing if found.differing else float(found.prompts)
    level = found.difference.level
    less = min(found.only_first.failures, found.only_second.failures) * (labelled / found.labelled if labelled else 1)

    def finds(more: float) -> bool:
        return mcnemar_power(more, less, level) >= power

    most = labelled if found.differing else MOST_FAILURES
    gap = least_mean(finds, less, most)
    return None if gap is None else gap / prompts


def least_mean(finds: Callable[[float], bool], less: float, most: float) -> float | None:
    """By how much a mean must lie above `less` so that `finds` it, if that only ever begins; None beyond `most`."""
    high = 1.0
    while not finds(less + high):
        high *= 2
        if less + high > 2 * most:
            return None
    low = high / 2 if high > 1 else 0.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if finds(less + middle) else (middle, high)
    return high if less + high <= most else None
