"""A failure rate certified from the one before: F_B <= U_A + U, where U limits how much worse B is than A.

The first filter is certified at full price. Each later one only needs labels where its outputs differ from its
predecessor's on the same proposals. Whatever the dependence between the two statements, they are both true but for the
sum of their chances to be wrong; so the chance that the certificate may be wrong is split among them beforehand.
"""

from __future__ import annotations

from typing import NamedTuple, TypedDict

from engine.errors import BadInput
from engine.evaluation.difference import Difference
from engine.evaluation.rates import Rate


class ChainedDict(TypedDict):
    """A `Chained` as JSON."""

    upper: float
    wrong: float
    first: float
    steps: list[float]
    note: str


class Chained(NamedTuple):
    """An upper limit of the last filter's failures per prompt."""

    upper: float
    wrong: float
    """Chance, at most, that the rate lies above, whatever it is."""
    first: float
    """Upper limit of the first filter."""
    steps: tuple[float, ...]
    """By how much each later one may be worse than the one before; below 0, is better at least by that."""
    note: str

    def as_dict(self) -> ChainedDict:
        """Plain JSON types."""
        return ChainedDict(upper=self.upper, wrong=self.wrong, first=self.first, steps=list(self.steps), note=self.note)


def split_level(level: float, statements: int) -> float:
    """Level of each of so many two-sided intervals whose upper limits together may be wrong (1 - level) / 2. O(1)."""
    if not 0 < level < 1 or statements < 1:
        raise BadInput(f"level {level}, {statements} statements", where="split_level")
    return 1 - (1 - level) / statements


def chained(first: Rate, steps: list[Difference], *, level: float = 0.95) -> Chained:
    """Adds the upper limits: of the first filter's failures per prompt, and of each difference to the next filter.

    Every interval must have been made at `split_level(level, 1 + len(steps))` or above: then the sum is as sure as the
    upper limit of one interval at `level`. Raises BadInput where one was not. The limit is never below that of what the
    last filter fails alone. O(steps).
    """
    wrong = (1 - first.level) / 2 + sum((1 - one.difference.level) / 2 for one in steps)
    if wrong > (1 - level) / 2 * (1 + 1e-9):
        needed = split_level(level, 1 + len(steps))
        raise BadInput(f"intervals may be wrong {wrong:.3g} together; make each at {needed:.6g}", where="chained")
    worse = tuple(-one.difference.low for one in steps)
    upper = first.high + sum(worse)
    if steps:
        upper = max(upper, steps[-1].only_second.high)
    terms = " + ".join(f"{value:.3g}" for value in (first.high, *worse))
    note = (
        f"{upper:.3g} = {terms}: the first filter's upper limit, and how much worse each next one may be. "
        f"All {1 + len(steps)} limits hold at once but for a chance of {100 * wrong:.3g} %, split beforehand."
    )
    return Chained(min(1.0, upper), wrong, first.high, worse, note)
