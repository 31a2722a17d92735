"""How far annotators agree: Krippendorff's alpha, observed agreement, agreement per choice, each with an interval.

Nothing here needs an annotators x items matrix: alpha depends only on how often each item got each answer.
"""

from __future__ import annotations

from typing import NamedTuple, TypedDict

import krippendorff
import numpy as np
from numpy.typing import NDArray

from engine.aggregation.votes import VoteTable
from engine.evaluation.bootstrap import resampled_sums

Floats = NDArray[np.float64]
ALPHA = "Krippendorff's alpha, nominal, bootstrap of items"
PAIRS = "pairs of votes, bootstrap of items"
SPECIFIC = "specific agreement, bootstrap of items"


class EstimateDict(TypedDict):
    """An `Estimate` as JSON."""

    estimate: float | None
    low: float | None
    high: float | None
    level: float
    method: str
    n: int


class KappaPairDict(TypedDict):
    """Cohen's kappa of two annotators as JSON; None where kappa is undefined."""

    a: int
    b: int
    items: int
    kappa: float | None
    low: float | None
    high: float | None


class Estimate(NamedTuple):
    """A statistic that is not a rate, its interval, and how many items it rests on. None where it is undefined."""

    estimate: float | None
    low: float | None
    high: float | None
    level: float
    method: str
    n: int

    def as_dict(self) -> EstimateDict:
        """Plain JSON types."""
        return EstimateDict(
            estimate=self.estimate, low=self.low, high=self.high, level=self.level, method=self.method, n=self.n
        )


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
    O(votes + resamples * distinct rows of counts): 59,215 votes on 16,100 items take well under a second.
    """
    counts = table.counts()
    rows = _sums(counts)
    samples = resampled_sums(rows, resamples, np.random.default_rng([seed, 71]))
    whole, pairs, width = rows.sum(axis=0, keepdims=True), rows.shape[0], len(table.choices)
    answered = (rows[:, width:] > 0).sum(axis=0)
    specific = _specific(samples)
    return Agreement(
        alpha=_estimate(
            alpha_from_sums(samples), _package_alpha(counts), level, ALPHA, pairs, spread=_chance_of_differing(whole)
        ),
        percent=_estimate(_observed(samples), float(_observed(whole)[0]), level, PAIRS, pairs),
        per_choice={
            choice: _estimate(specific[:, i], float(_specific(whole)[0, i]), level, SPECIFIC, int(answered[i]))
            for i, choice in enumerate(table.choices)
        },
        items=int((counts.sum(axis=1) > 0).sum()),
        items_with_pairs=pairs,
        items_in_dispute=int(((counts > 0).sum(axis=1) > 1).sum()),
        votes=int(counts.sum()),
        annotators=int(np.unique(table.annotators).size),
        votes_by_choice={choice: int(n) for choice, n in zip(table.choices, counts.sum(axis=0), strict=True)},
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


def _sums(counts: NDArray[np.int64]) -> Floats:
    """What each item that has pairs adds to every statistic here: per choice its matching pairs (each pair weighted
    1 / (votes - 1), as in alpha), then per choice its votes. (items with pairs, 2 * choices)."""
    votes = counts.sum(axis=1)
    kept = counts[votes >= 2].astype(np.float64)
    matching = kept * (kept - 1) / (votes[votes >= 2, None] - 1)
    return np.hstack((matching, kept))


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


def _package_alpha(counts: NDArray[np.int64]) -> float:
    pairable = counts[counts.sum(axis=1) >= 2]
    if (pairable.sum(axis=0) > 0).sum() < 2:
        return float("nan")
    return float(krippendorff.alpha(value_counts=pairable, level_of_measurement="nominal"))


def _chance_of_differing(sums: Floats) -> float:
    """D_e of alpha: how often two votes drawn from all would differ."""
    votes = sums[0, sums.shape[1] // 2 :]
    n = votes.sum()
    return float((n**2 - (votes**2).sum()) / (n * (n - 1))) if n > 1 else 1.0


def _estimate(values: Floats, point: float, level: float, method: str, n: int, *, spread: float = 1.0) -> Estimate:
    """The percentile interval; where all agree (or none), as far as `n` items can tell: the bootstrap cannot."""
    defined = values[np.isfinite(values)]
    if not np.isfinite(point) or not defined.size or not n:
        return Estimate(None, None, None, level, method, n)
    tail = (1 - level) / 2
    low, high = (float(limit) for limit in np.quantile(defined, [tail, 1 - tail]))
    unseen = float((1 - tail ** (1 / n)) / spread) if spread else 1.0
    if point > 1 - 1e-12:
        low = min(low, max(-1.0, 1 - unseen))
    if point < 1e-12:
        high = max(high, min(1.0, unseen))
    return Estimate(point, low, high, level, method, n)
