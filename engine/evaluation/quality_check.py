"""The final check of a threshold: the filtered generator against the unfiltered one on fresh prompts (paper, A.7)."""

from __future__ import annotations

from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import BadInput
from engine.evaluation.compare import tango
from engine.evaluation.rates import Rate, RateDict


class QualityCheckDict(TypedDict):
    """A `QualityCheck` as JSON."""

    quality: RateDict
    wins: int
    losses: int
    ties: int
    both_accepted: int
    without_completion: list[int]
    asked: int


class QualityCheck(NamedTuple):
    """How the filtered completions did, one comparison a prompt."""

    quality: Rate
    """Wins and half the ties over prompts, in [0, 1]; `failures` counts the losses."""
    wins: int
    losses: int
    """Prompts without a filtered completion among them."""
    ties: int
    both_accepted: int
    """Ties because the unfiltered completion is accepted too: both come from the same distribution."""
    without_completion: tuple[int, ...]
    """Prompts, by place, of which no try was accepted."""
    asked: int
    """Prompts that somebody compared."""

    def as_dict(self) -> QualityCheckDict:
        """Plain JSON types."""
        return QualityCheckDict(
            quality=self.quality.as_dict(),
            wins=self.wins,
            losses=self.losses,
            ties=self.ties,
            both_accepted=self.both_accepted,
            without_completion=list(self.without_completion),
            asked=self.asked,
        )


def worth_asking(filtered: ArrayLike, unfiltered: ArrayLike, logit: float) -> NDArray[np.bool_]:
    """Which prompts (n,) people must compare: those with a filtered completion whose unfiltered one is rejected.

    `filtered` (n,) are logits of the first accepted completion, NaN where no try was accepted (`Sampled.logit`);
    `unfiltered` (n,) those of one completion each, drawn independently. Raises BadInput for no prompts, lengths that
    differ, an unfiltered logit that is NaN, or a filtered one that is not below `logit`. O(n).
    """
    kept, free = (np.asarray(x, dtype=np.float32).ravel() for x in (filtered, unfiltered))
    if not kept.size or kept.size != free.size:
        raise BadInput(f"{kept.size} filtered and {free.size} unfiltered completions", where="quality_check")
    if np.isnan(free).any():
        raise BadInput("an unfiltered logit is not a number", where="quality_check")
    spoken = ~np.isnan(kept)
    if (kept[spoken] >= np.float32(logit)).any():
        raise BadInput("a filtered completion is not accepted", where="quality_check")
    return np.asarray(spoken & (free >= np.float32(logit)), dtype=np.bool_)


def check_quality(
    filtered: ArrayLike, unfiltered: ArrayLike, wins: ArrayLike, logit: float, *, level: float = 0.95
) -> QualityCheck:
    """Filtered against unfiltered at the threshold `logit`, with the interval of (1 + wins - losses) / 2.

    Arrays as for `worth_asking`; `wins` (n,) is 1 where the filtered completion is better, 0 where the other is, 0.5
    where neither, NaN where nobody was asked; of several answers their mean, which counts for the side it leans to. No
    filtered completion is a loss, and an unfiltered one that is accepted too a tie, whatever was answered. Interval:
    Tango's for a difference of paired proportions, which stays open where all are ties. Raises BadInput as
    `worth_asking` does, and where an answer is wanted and missing. O(n).
    """
    ask = worth_asking(filtered, unfiltered, logit)
    won = np.asarray(wins, dtype=np.float64).ravel()
    if won.size != ask.size:
        raise BadInput(f"{won.size} answers for {ask.size} prompts", where="wins")
    if not ((won[ask] >= 0) & (won[ask] <= 1)).all():
        missing = np.flatnonzero(ask)[~((won[ask] >= 0) & (won[ask] <= 1))]
        raise BadInput(f"no answer in [0, 1] for prompts {', '.join(map(str, missing[:10]))}", where="wins")
    silent = np.isnan(np.asarray(filtered, dtype=np.float32).ravel())
    n, better, worse = ask.size, int((won[ask] > 0.5).sum()), int((won[ask] < 0.5).sum() + silent.sum())
    low, high = tango(better, worse, n, level=level)
    return QualityCheck(
        quality=Rate(
            (1 + (better - worse) / n) / 2, (1 + low) / 2, (1 + high) / 2, level, "Tango score, paired", worse, n
        ),
        wins=better,
        losses=worse,
        ties=n - better - worse,
        both_accepted=int((~ask & ~silent).sum()),
        without_completion=tuple(np.flatnonzero(silent).tolist()),
        asked=int(ask.sum()),
    )
