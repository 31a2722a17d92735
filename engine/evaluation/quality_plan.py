"""How sure a final check of quality will be, and what it takes, before anybody is asked."""

from __future__ import annotations

import math
from typing import NamedTuple, TypedDict

from scipy import stats

from engine.errors import BadInput

ASSUMED = (
    "Assumed: every comparison is decided, for either side as often, as after a threshold that costs nothing; ties make"
    " the interval narrower. Prompts without a completion are losses."
)


class QualityPlanDict(TypedDict):
    """A `QualityPlan` as JSON."""

    prompts: int
    asked: int
    without: int
    labels: int
    money: float | None
    hours: float | None
    wanted: float
    reached: float
    reachable: bool
    prompts_wanted: int
    note: str


class QualityPlan(NamedTuple):
    """What the check will take and how wide its interval will be."""

    prompts: int
    asked: int
    """Prompts that people must compare."""
    without: int
    """Prompts without a filtered completion."""
    labels: int
    money: float | None
    """USD; None where a label's price is not known."""
    hours: float | None
    wanted: float
    """Half-width of the interval of quality, in [0, 1]."""
    reached: float
    """Half-width that these prompts give."""
    prompts_wanted: int
    """Prompts that the wanted half-width takes, if as large a share of them is asked and is without completion."""

    @property
    def reachable(self) -> bool:
        """Whether these prompts are enough."""
        return self.prompts >= self.prompts_wanted

    def as_dict(self) -> QualityPlanDict:
        """Plain JSON types."""
        return QualityPlanDict(
            prompts=self.prompts,
            asked=self.asked,
            without=self.without,
            labels=self.labels,
            money=self.money,
            hours=self.hours,
            wanted=self.wanted,
            reached=self.reached,
            reachable=self.reachable,
            prompts_wanted=self.prompts_wanted,
            note=ASSUMED,
        )


def plan_quality(
    prompts: int,
    asked: int,
    without: int,
    *,
    half_width: float,
    level: float = 0.95,
    labels_each: int = 1,
    price: float | None = None,
    seconds: float | None = None,
) -> QualityPlan:
    """The half-width z / 2 * sqrt((a + s - s^2) / n) of (1 + wins - losses) / 2, by the normal approximation.

    a is the share of prompts asked, s that of prompts without completion; see ASSUMED. Never below one prompt's worth
    of variance: where nobody need be asked the interval is not nothing. Raises BadInput for counts
    that do not fit. O(1).
    """
    if prompts < 1 or min(asked, without) < 0 or asked + without > prompts:
        raise BadInput(f"{asked} asked and {without} without completion of {prompts} prompts", where="quality_plan")
    share = without / prompts
    variance = max(asked / prompts + share - share**2, 1 / prompts)
    z = float(stats.norm.ppf((1 + level) / 2))
    labels = asked * labels_each
    return QualityPlan(
        prompts=prompts,
        asked=asked,
        without=without,
        labels=labels,
        money=None if price is None else labels * price,
        hours=None if seconds is None else labels * seconds / 3600,
        wanted=half_width,
        reached=z / 2 * math.sqrt(variance / prompts),
        prompts_wanted=math.ceil(z**2 * variance / (4 * half_width**2)),
    )
