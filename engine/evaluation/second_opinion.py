"""What label savings rest on: how much a second opinion knows that the first does not, and what it cannot see.

Labels are saved where two classifiers err on different texts: where, of texts with one label, their scores hardly
correlate. What looks like a sound text to the second opinion is found no sooner than by chance (methods, D.3).
"""

from __future__ import annotations

import math
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from engine.errors import BadInput
from engine.evaluation.rates import Rate, RateDict, clopper_pearson


class Correlation(NamedTuple):
    """Pearson's, with Fisher's interval."""

    estimate: float | None
    """None where there are fewer than four texts, or one score is the same for all."""
    low: float
    high: float
    n: int


class SecondOpinionDict(TypedDict):
    """A `SecondOpinion` as JSON."""

    among_failures: dict[str, float | int | None]
    among_sound: dict[str, float | int | None]
    unseen: RateDict


class SecondOpinion(NamedTuple):
    """Two classifiers' logits on texts whose label is known."""

    among_failures: Correlation
    among_sound: Correlation
    unseen: Rate
    """Share of failures, at most, that look to the second opinion as sound texts do."""

    def as_dict(self) -> SecondOpinionDict:
        """Plain JSON types."""
        return SecondOpinionDict(
            among_failures=self.among_failures._asdict(),
            among_sound=self.among_sound._asdict(),
            unseen=self.unseen.as_dict(),
        )


def second_opinion(first: ArrayLike, second: ArrayLike, failures: ArrayLike, *, level: float = 0.95) -> SecondOpinion:
    """How two classifiers' logits (n,) go together given the label (n,), and what the second cannot see.

    Raises BadInput for arrays that differ in length or logits that are no numbers. O(n log n).
    """
    one, two = (np.asarray(values, dtype=np.float64).ravel() for values in (first, second))
    fails = np.asarray(failures, dtype=bool).ravel()
    if not one.size == two.size == fails.size or not (np.isfinite(one).all() and np.isfinite(two).all()):
        raise BadInput("needs finite logits of both and a label each", where="second_opinion")
    failing, sound = (_correlation(one[chosen], two[chosen], level) for chosen in (fails, ~fails))
    return SecondOpinion(failing, sound, unseen_share(two, fails, level=level))


def unseen_share(second: ArrayLike, failures: ArrayLike, *, level: float = 0.95) -> Rate:
    """Twice the share of failures that score below the sound texts' median: half of what looks sound falls there.

    It is an upper estimate, since some of what the second opinion does see falls there too; at most 1. O(n log n).
    """
    scores, fails = np.asarray(second, dtype=np.float64).ravel(), np.asarray(failures, dtype=bool).ravel()
    sound = scores[~fails]
    if not sound.size:
        return Rate(None, 0.0, 1.0, level, "no sound texts", 0, 0)
    below = int((scores[fails] < np.median(sound)).sum())
    rate = clopper_pearson(below, int(fails.sum()), level=level)
    twice = None if rate.estimate is None else min(1.0, 2 * rate.estimate)
    method = "twice the Clopper-Pearson limits of the share below the sound texts' median"
    return rate._replace(estimate=twice, low=min(1.0, 2 * rate.low), high=min(1.0, 2 * rate.high), method=method)


def _correlation(one: NDArray[np.float64], two: NDArray[np.float64], level: float) -> Correlation:
    n = int(one.size)
    if n < 4 or not np.ptp(one) or not np.ptp(two):
        return Correlation(None, -1.0, 1.0, n)
    found = min(1.0, max(-1.0, float(np.corrcoef(one, two)[0, 1])))
    if abs(found) >= 1 - 1e-12:
        return Correlation(found, found, found, n)
    half = float(stats.norm.ppf((1 + level) / 2)) / math.sqrt(n - 3)
    middle = math.atanh(found)
    return Correlation(found, math.tanh(middle - half), math.tanh(middle + half), n)
