"""The lowest threshold at which filtering does not hurt quality, and Q with its interval at any threshold."""

from __future__ import annotations

from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from engine.errors import BadInput
from engine.evaluation.bootstrap import mean_limits
from engine.evaluation.quality import Compared, accepted_of_prompts, quality_of_prompts
from engine.evaluation.rates import Rate, RateDict
from engine.evaluation.threshold import prompt_weights

FLOOR = 0.48
"""Quality that the lower limit must stay above; one half is none lost (paper, A.7)."""
GRID = 200
"""Thresholds tried."""


class QualityPoint(NamedTuple):
    """Q at one threshold."""

    logit: float
    quality: float
    low: float
    high: float


class QualityDict(TypedDict):
    """A `QualityChoice` as JSON."""

    threshold: float
    logit: float
    floor: float
    quality: RateDict
    prompts: int
    comparisons: int
    curve: list[tuple[float, float, float, float]]


class QualityChoice(NamedTuple):
    """The lowest threshold that keeps quality. A completion is accepted iff its logit is below `logit`."""

    threshold: float
    """Score, sigmoid(logit), in [0, 1]."""
    logit: float
    """Exact in float32."""
    floor: float
    """What the lower limit of Q stays above, here and at every higher threshold tried."""
    quality: Rate
    """Q at the threshold; `failures` is the prompts with nothing accepted there, which count 0, `n` the prompts."""
    prompts: int
    comparisons: int
    curve: tuple[QualityPoint, ...]
    """Every threshold tried, ascending."""

    def as_dict(self) -> QualityDict:
        """Plain JSON types."""
        return QualityDict(
            threshold=self.threshold,
            logit=self.logit,
            floor=self.floor,
            quality=self.quality.as_dict(),
            prompts=self.prompts,
            comparisons=self.comparisons,
            curve=[(point.logit, point.quality, point.low, point.high) for point in self.curve],
        )


def threshold_at_quality(
    data: Compared,
    *,
    floor: float = FLOOR,
    level: float = 0.95,
    seed: int = 0,
    resamples: int = 1000,
    grid: ArrayLike | None = None,
) -> QualityChoice:
    """The lowest threshold whose quality stays above `floor`, and the curve with its band (paper, A.7).

    Q is not monotone, so thresholds are tested in a fixed sequence, from the most lenient, which accepts everything, to
    the strictest; the first whose lower limit is not above `floor` ends it, and the one before is taken. Then the
    chance of a choice whose true Q is at or below `floor` is that of one test, however many are tried (Learn then Test,
    2110.01052). The lower limit is that of the two-sided interval at `level`, as in the paper: at 0.95 a test errs with
    0.025. Intervals resample prompts. `grid` (t,) are logits fixed beforehand; by default GRID quantiles of the scores,
    which know nothing of the answers.

    Raises BadInput for fewer than two prompts, a floor outside (0, 0.5), or a grid with NaN. O(m log m + resamples *
    prompts * t).
    """
    if not 0 < floor < 0.5:
        raise BadInput(f"must lie between 0 and a half, not {floor}", where="floor")
    tried = score_grid(data) if grid is None else _checked(grid, data)
    by_prompt = quality_of_prompts(data, tried)
    found = mean_limits(by_prompt, prompt_weights(data.sizes.size, resamples, seed), level)
    fails = np.flatnonzero(found.low <= floor)
    chosen = int(fails[-1]) + 1 if fails.size else 0
    means = by_prompt.mean(axis=0)
    curve = [QualityPoint(*map(float, point)) for point in zip(tried, means, found.low, found.high, strict=True)]
    logit = float(tried[chosen])
    none = int((accepted_of_prompts(data, logit) == 0).sum())
    _, quality, low, high = curve[chosen]
    return QualityChoice(
        threshold=float(expit(logit)),
        logit=logit,
        floor=floor,
        quality=Rate(quality, low, high, level, found.method, none, data.sizes.size),
        prompts=data.sizes.size,
        comparisons=data.logits.size // 2,
        curve=tuple(curve),
    )


def quality_at(data: Compared, logit: float, *, level: float = 0.95, seed: int = 0, resamples: int = 1000) -> Rate:
    """Q at one threshold with its interval over prompts; counts as in `QualityChoice.quality`.

    Raises BadInput for fewer than two prompts or a logit that is NaN. O(m + resamples * prompts).
    """
    if np.isnan(logit):
        raise BadInput("is not a number", where="logit")
    by_prompt = quality_of_prompts(data, [logit])
    found = mean_limits(by_prompt, prompt_weights(data.sizes.size, resamples, seed), level)
    none = int((accepted_of_prompts(data, logit) == 0).sum())
    mean, low, high = float(by_prompt.mean()), float(found.low[0]), float(found.high[0])
    return Rate(mean, low, high, level, found.method, none, data.sizes.size)


def score_grid(data: Compared, points: int = GRID) -> NDArray[np.float32]:
    """At most `points` thresholds between scores, ascending and evenly spaced among the completions; the last accepts
    all. O(m log m).
    """
    ascending = np.sort(data.logits)
    picks = np.linspace(0, ascending.size, points + 1)[1:-1].astype(np.int64)
    below, above = ascending[picks - 1], ascending[picks]
    middle = (below.astype(np.float64) / 2 + above.astype(np.float64) / 2).astype(np.float32)
    between = np.where((below < middle) & (middle <= above), middle, above)
    return np.unique(np.append(between, np.nextafter(ascending[-1], np.float32(np.inf))))


def _checked(grid: ArrayLike, data: Compared) -> NDArray[np.float32]:
    tried = np.unique(np.asarray(grid, dtype=np.float32))
    if not tried.size or np.isnan(tried).any():
        raise BadInput("needs thresholds that are numbers", where="grid")
    # Without a start whose quality is known the first test could fail and nothing be chosen.
    top = np.nextafter(data.logits.max(), np.float32(np.inf))
    return tried if tried[-1] >= top else np.append(tried, top)
