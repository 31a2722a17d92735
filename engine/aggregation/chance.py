"""Agreement beyond chance from counts alone: Fleiss' kappa, Gwet's AC1 and AC2.

All three are (p_a - p_e) / (1 - p_e). p_a is the mean over items with two votes or more of the share of pairs of votes
that agree. p_e follows from how common the choices are: the mean over all items with votes of each item's shares, so
that every item counts the same however many votes it has. With the same number of votes on each item this is Fleiss'
own kappa; for varying numbers it is Gwet's generalisation (Handbook of Inter-Rater Reliability, 4th ed. 2014,
chapters 2 and 3), as in R's irrCAC. Krippendorff's alpha weights an item by its votes instead.

AC1 takes the chance of agreeing to be small where one choice is rare, so that a kappa near 0 among people who
agree on 98 % of harmless texts does not mislead; AC2 counts neighbours in the order of severity as partly agreeing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Beyond(NamedTuple):
    """A coefficient of each row of sums, (rows,), NaN where undefined; and its 1 - p_e, which it divides by."""

    value: Floats
    spread: Floats


def chance_rows(counts: NDArray[np.int64]) -> Floats:
    """What each item adds to the sums: 1, 1 if it has pairs, its pairs' agreement, the same weighted by severity, its
    shares of votes. (items, 4 + choices) from counts (items, choices), every item with a vote or more."""
    votes = counts.sum(axis=1)
    paired = votes >= 2
    pairs = np.maximum(votes * (votes - 1), 1)
    agreeing = (counts * (counts - 1)).sum(axis=1) / pairs
    weighted = (counts * (counts @ ordinal_weights(counts.shape[1]) - 1)).sum(axis=1) / pairs
    shares = counts / np.maximum(votes, 1)[:, None]
    return np.column_stack((votes > 0, paired, agreeing * paired, weighted * paired, shares)).astype(np.float64)


def ordinal_weights(choices: int) -> Floats:
    """Gwet's ordinal weights, (choices, choices): 1 where equal, 0 between the ends, else by how many pairs of choices
    lie from one to the other."""
    distance = np.abs(np.subtract.outer(np.arange(choices), np.arange(choices)))
    pairs = distance * (distance + 1) / 2
    return np.asarray(1 - pairs / max(pairs.max(initial=0), 1), dtype=np.float64)


def fleiss_kappa(sums: Floats) -> Beyond:
    """1 is perfect, 0 is chance; undefined where only one choice was ever given. `sums` (rows, 4 + choices)."""
    return _beyond(_share(sums[:, 2], sums[:, 1]), (_prevalence(sums) ** 2).sum(axis=1))


def gwet_ac1(sums: Floats) -> Beyond:
    """AC1, nominal; undefined for a single choice. `sums` (rows, 4 + choices)."""
    return _gwet(sums, _share(sums[:, 2], sums[:, 1]), float(sums.shape[1] - 4))


def gwet_ac2(sums: Floats) -> Beyond:
    """AC2 with ordinal weights; of two choices it is AC1. `sums` (rows, 4 + choices)."""
    weights = ordinal_weights(sums.shape[1] - 4)
    return _gwet(sums, _share(sums[:, 3], sums[:, 1]), float(weights.sum()))


def _gwet(sums: Floats, agreed: Floats, weight: float) -> Beyond:
    choices = sums.shape[1] - 4
    if choices < 2:
        return Beyond(np.full(len(sums), np.nan), np.ones(len(sums)))
    prevalence = _prevalence(sums)
    return _beyond(agreed, weight / (choices * (choices - 1)) * (prevalence * (1 - prevalence)).sum(axis=1))


def _prevalence(sums: Floats) -> Floats:
    return np.asarray(sums[:, 4:] / np.maximum(sums[:, :1], 1), dtype=np.float64)


def _beyond(agreed: Floats, chance: Floats) -> Beyond:
    spread = 1 - chance
    return Beyond(_share(agreed - chance, np.where(spread > 1e-12, spread, 0.0)), spread)


def _share(part: Floats, whole: Floats) -> Floats:
    share: Floats = np.divide(part, whole, out=np.full(part.size, np.nan), where=whole > 0)
    return share
