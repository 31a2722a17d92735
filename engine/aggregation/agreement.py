"""How far annotators agree: Krippendorff's alpha, Fleiss' kappa, Gwet's AC1 and AC2, observed agreement, agreement per
choice, each with an interval.

Nothing here needs an annotators x items matrix: all depend only on how often each item got each answer, so items with
the same counts are handled as one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from engine.aggregation.chance import Beyond, chance_rows, fleiss_kappa, gwet_ac1, gwet_ac2
from engine.aggregation.estimate import Estimate as Estimate
from engine.aggregation.estimate import EstimateDict as EstimateDict
from engine.aggregation.estimate import estimate
from engine.aggregation.votes import VoteTable
from engine.evaluation.bootstrap import resampled_sums

Floats = NDArray[np.float64]
ALPHA = "Krippendorff's alpha, nominal, bootstrap of items"
PAIRS = "pairs of votes, bootstrap of items"
FLEISS = "Fleiss' kappa, items weighted alike, bootstrap of items"
AC1 = "Gwet's AC1, bootstrap of items"
AC2 = "Gwet's AC2, ordinal weights by severity, bootstrap of items"
SPECIFIC = "specific agreement, bootstrap of items"


class KappaPairDict(TypedDict):
    """Cohen's kappa of two annotators as JSON; None where kappa is undefined."""

    a: int
    b: int
    items: int
    kappa: float | None
    low: float | None
    high: float | None


class Disagreement(NamedTuple):
    """An item whose annotators differ."""

    item: int
    counts: tuple[int, ...]
    """Votes per choice, in the order of the choices."""
    disagreeing: float
    """Share of its pairs of votes that differ, in [0, 1]."""


class AgreementDict(TypedDict):
    """An `Agreement` as JSON."""

    alpha: EstimateDict
    fleiss: EstimateDict
    ac1: EstimateDict
    ac2: EstimateDict
    percent: EstimateDict
    per_choice: dict[str, EstimateDict]
    items: int
    items_with_pairs: int
    items_in_dispute: int
    votes: int
    annotators: int
    votes_by_choice: dict[str, int]


class Agreement(NamedTuple):
    """Agreement over all items that at least two annotators judged."""

    alpha: Estimate
    """Krippendorff's alpha, nominal: 1 is perfect, 0 is chance."""
    fleiss: Estimate
    """Fleiss' kappa, Gwet's generalisation for varying numbers of votes. Like alpha, low where a choice is rare."""
    ac1: Estimate
    """Gwet's AC1: agreement beyond chance that a rare choice does not deflate."""
    ac2: Estimate
    """Gwet's AC2: the same, where choices next to each other in severity agree in part."""
    percent: Estimate
    """Observed agreement of pairs of votes, 1 - D_o of alpha: each vote counts the same, each item by its votes."""
    per_choice: dict[str, Estimate]
    """Specific agreement: given one annotator's answer, how likely another gives the same. Tells more than alpha where
    a choice is rare."""
    items: int
    items_with_pairs: int
    items_in_dispute: int
    votes: int
    annotators: int
    votes_by_choice: dict[str, int]

    def as_dict(self) -> AgreementDict:
        """Plain JSON types."""
        return AgreementDict(
            alpha=self.alpha.as_dict(),
            fleiss=self.fleiss.as_dict(),
            ac1=self.ac1.as_dict(),
            ac2=self.ac2.as_dict(),
            percent=self.percent.as_dict(),
            per_choice={choice: value.as_dict() for choice, value in self.per_choice.items()},
            items=self.items,
            items_with_pairs=self.items_with_pairs,
            items_in_dispute=self.items_in_dispute,
            votes=self.votes,
            annotators=self.annotators,
            votes_by_choice=dict(self.votes_by_choice),
        )


def agreement(table: VoteTable, *, level: float = 0.95, seed: int = 0, resamples: int = 2000) -> Agreement:
    """Agreement of all annotators over `table`, intervals by bootstrap of items (not of votes).

    Statistics that are undefined (nothing judged twice; alpha where only one answer was ever given) are None.
    O(votes + resamples * distinct rows of counts): a million votes take well under a second. Fleiss' kappa and Gwet's
    coefficients also learn from items with a single vote how common the choices are, so their bootstrap has those too.
    """
    annotators = int(np.unique(table.annotators).size)
    return _of_counts(table.counts(), table.choices, annotators, level, seed, resamples)


def agreement_by(
    table: VoteTable,
    parts: NDArray[np.int64],
    n_parts: int,
    *,
    level: float = 0.95,
    seed: int = 0,
    resamples: int = 1000,
) -> list[Agreement]:
    """Agreement within each part of the votes; `parts` (votes,) holds codes in [0, n_parts), one for each vote.

    An item with votes in several parts counts in each, with the votes there. O(votes log votes + parts).
    """
    cells, places = np.unique(parts * table.n_items + table.items, return_inverse=True)
    width = len(table.choices)
    counts = np.bincount(places * width + table.answers, minlength=cells.size * width).reshape(-1, width)
    span = int(table.annotators.max(initial=0)) + 1
    present = np.unique(parts * span + table.annotators) // span
    starts = np.searchsorted(cells // max(1, table.n_items), np.arange(n_parts + 1))
    annotators = np.bincount(present, minlength=n_parts)
    return [
        _of_counts(counts[starts[part] : starts[part + 1]], table.choices, int(who), level, seed, resamples)
        for part, who in enumerate(annotators)
    ]


def _of_counts(
    counts: NDArray[np.int64], choices: tuple[str, ...], annotators: int, level: float, seed: int, resamples: int
) -> Agreement:
    """Agreement where items (items, choices) got these counts of votes."""
    patterns, times = _patterns(counts)
    paired = patterns.sum(axis=1) >= 2
    rows, repeats, width = _sums(patterns[paired]), times[paired], len(choices)
    samples = resampled_sums(rows, resamples, np.random.default_rng([seed, 71]), times=repeats)
    whole, pairs = (repeats @ rows)[None], int(repeats.sum())
    beyond = chance_rows(patterns)
    drawn = resampled_sums(beyond, resamples, np.random.default_rng([seed, 72]), times=times)
    beyond = (times @ beyond)[None]
    answered = repeats @ (rows[:, width:] > 0)
    specific = _specific(samples)

    def coefficient(of: Callable[[Floats], Beyond], method: str) -> Estimate:
        point = of(beyond)
        return estimate(of(drawn).value, float(point.value[0]), level, method, pairs, spread=float(point.spread[0]))

    return Agreement(
        alpha=estimate(
            alpha_from_sums(samples),
            float(alpha_from_sums(whole)[0]),
            level,
            ALPHA,
            pairs,
            spread=_chance_of_differing(whole),
        ),
        fleiss=coefficient(fleiss_kappa, FLEISS),
        ac1=coefficient(gwet_ac1, AC1),
        ac2=coefficient(gwet_ac2, AC2),
        percent=estimate(_observed(samples), float(_observed(whole)[0]), level, PAIRS, pairs),
        per_choice={
            choice: estimate(specific[:, i], float(_specific(whole)[0, i]), level, SPECIFIC, int(answered[i]))
            for i, choice in enumerate(choices)
        },
        items=int((counts.sum(axis=1) > 0).sum()),
        items_with_pairs=pairs,
        items_in_dispute=int(((counts > 0).sum(axis=1) > 1).sum()),
        votes=int(counts.sum()),
        annotators=annotators,
        votes_by_choice={choice: int(n) for choice, n in zip(choices, counts.sum(axis=0), strict=True)},
    )


def disagreements(table: VoteTable, *, limit: int = 100) -> list[Disagreement]:
    """The items in dispute, those with the largest share of differing pairs first, then those with most votes.

    O(votes + items log items).
    """
    counts = table.counts()
    votes = counts.sum(axis=1)
    differing = votes**2 - (counts**2).sum(axis=1)
    share = differing / np.maximum(votes * (votes - 1), 1)
    order = np.lexsort((np.arange(votes.size), -votes, -share))
    order = order[differing[order] > 0][:limit]
    return [Disagreement(int(i), tuple(map(int, counts[i])), float(share[i])) for i in order]


def alpha_from_sums(sums: Floats) -> Floats:
    """Nominal alpha of each row of column sums as `_sums` makes them, (rows,); NaN where it is undefined."""
    choices = sums.shape[1] // 2
    matching, votes = sums[:, :choices].sum(axis=1), sums[:, choices:]
    n = votes.sum(axis=1)
    expected = n**2 - (votes**2).sum(axis=1)
    observed = (n - matching) * (n - 1)
    ratio: Floats = np.divide(observed, expected, out=np.full(n.size, np.nan), where=expected > 0)
    return 1 - ratio


class _Patterns(NamedTuple):
    counts: NDArray[np.int64]
    times: NDArray[np.int64]


def _patterns(counts: NDArray[np.int64]) -> _Patterns:
    """The distinct rows of `counts` that have a vote, and how many items have each. O(items log items)."""
    counts = counts[counts.any(axis=1)]
    if not counts.size:
        return _Patterns(counts, np.zeros(0, dtype=np.int64))
    bases = [int(most) + 1 for most in counts.max(axis=0)]
    if math.prod(bases) >= 2**62:  # rows as one number each would not fit
        distinct, times = np.unique(counts, axis=0, return_counts=True)
        return _Patterns(distinct, times)
    keys = np.ravel_multi_index(tuple(counts.T), tuple(bases))
    found, times = np.unique(keys, return_counts=True)
    return _Patterns(np.column_stack(np.unravel_index(found, tuple(bases))).astype(np.int64), times)


def _sums(counts: NDArray[np.int64]) -> Floats:
    """What each item adds to alpha and to observed and specific agreement: per choice its matching pairs (each pair
    weighted 1 / (votes - 1), as in alpha), then per choice its votes. (items, 2 * choices), from items with pairs."""
    kept = counts.astype(np.float64)
    return np.hstack((kept * (kept - 1) / (kept.sum(axis=1, keepdims=True) - 1), kept))


def _observed(sums: Floats) -> Floats:
    choices = sums.shape[1] // 2
    n = sums[:, choices:].sum(axis=1)
    share: Floats = np.divide(sums[:, :choices].sum(axis=1), n, out=np.full(n.size, np.nan), where=n > 0)
    return share


def _specific(sums: Floats) -> Floats:
    choices = sums.shape[1] // 2
    votes = sums[:, choices:]
    share: Floats = np.divide(sums[:, :choices], votes, out=np.full(votes.shape, np.nan), where=votes > 0)
    return share


def _chance_of_differing(sums: Floats) -> float:
    """D_e of alpha: how often two votes drawn from all would differ."""
    votes = sums[0, sums.shape[1] // 2 :]
    n = votes.sum()
    return float((n**2 - (votes**2).sum()) / (n * (n - 1))) if n > 1 else 1.0
