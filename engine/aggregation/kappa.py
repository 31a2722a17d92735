"""Cohen's kappa of every pair of annotators who judged enough of the same items."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from engine.aggregation.agreement import KappaPairDict as KappaPairDict
from engine.aggregation.votes import VoteTable

Floats = NDArray[np.float64]


class Kappas(NamedTuple):
    """Pairwise kappas as square matrices, row and column in the order of `annotators`."""

    annotators: NDArray[np.int64]
    """(a,), the codes of the table's annotators, in the order asked for; else those with most votes first."""
    items: NDArray[np.int64]
    """(a, a), how many items both judged."""
    kappa: Floats
    """(a, a); NaN on the diagonal, below the least overlap, and where both always gave one same answer."""
    low: Floats
    high: Floats

    def pairs(self) -> list[KappaPairDict]:
        """The pairs with enough overlap, once each, as plain JSON types."""
        rows, columns = np.nonzero(np.triu(~np.isnan(self.low) | ~np.isnan(self.kappa), 1))
        return [
            KappaPairDict(
                a=int(self.annotators[i]),
                b=int(self.annotators[j]),
                items=int(self.items[i, j]),
                kappa=_number(self.kappa[i, j]),
                low=_number(self.low[i, j]),
                high=_number(self.high[i, j]),
            )
            for i, j in zip(rows, columns, strict=True)
        ]


def pairwise_kappas(
    table: VoteTable,
    *,
    min_overlap: int = 20,
    most: int = 50,
    whom: NDArray[np.int64] | None = None,
    level: float = 0.95,
    seed: int = 0,
    resamples: int = 1000,
) -> Kappas:
    """Cohen's kappa (unweighted) between the annotators `whom`, or the `most` busiest, where two share `min_overlap`
    items or more.

    An annotator's first vote on an item counts. Intervals by bootstrap of the shared items. Confusion counts come from
    sparse products, so cost grows with votes and with choices squared, not with annotators x items.
    """
    busiest = _busiest(table.annotators, most) if whom is None else whom
    confusion = _confusions(table, busiest)
    items = confusion.sum(axis=(2, 3)).astype(np.int64)
    kappa, low, high = (np.full(items.shape, np.nan) for _ in range(3))
    for i, j in zip(*np.nonzero(np.triu(items >= min_overlap, 1)), strict=True):
        sums = _resampled_confusions(confusion[i, j], resamples, np.random.default_rng([seed, int(i), int(j)]))
        values = cohen_kappa(sums)
        kappa[i, j] = kappa[j, i] = cohen_kappa(confusion[i, j][None])[0]
        values = values[np.isfinite(values)]
        if values.size and np.ptp(values) > 0:  # resamples that are all alike know nothing of the spread
            limits = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
            low[i, j] = low[j, i] = limits[0]
            high[i, j] = high[j, i] = limits[1]
    return Kappas(busiest.astype(np.int64), items, kappa, low, high)


def sharing_most(table: VoteTable, most: int, *, at_least: int = 1, among: int = 1000) -> NDArray[np.int64]:
    """Codes of up to `most` annotators who share many items among themselves: the pair who share most, then again and
    again who shares most with those there (where nobody shares any, the next pair).

    Two who share fewer than `at_least` share nothing here. Looked for among the `among` with most votes on items that
    were judged twice. O(votes + sum of squared votes per item) by a sparse product, and O(most * among).
    """
    paired = np.bincount(table.items, minlength=table.n_items)[table.items] >= 2
    items, annotators = table.items[paired], table.annotators[paired]
    busiest = _busiest(annotators, among)
    rows = _positions(annotators, busiest)
    kept = rows >= 0
    shape = (busiest.size, table.n_items)
    judged = sparse.csr_array((np.ones(int(kept.sum())), (rows[kept], items[kept])), shape=shape)
    judged.data[:] = 1  # an annotator's second vote on an item shares no second item
    shared = (judged @ judged.T).toarray()
    np.fill_diagonal(shared, 0)
    shared[shared < at_least] = 0
    chosen: list[int] = []
    with_chosen = np.zeros(busiest.size)
    while len(chosen) < most and shared.any():
        following = int(with_chosen.argmax()) if with_chosen.any() else int(shared.max(axis=1).argmax())
        chosen.append(following)
        with_chosen += shared[following]
        shared[:, following] = 0  # nobody is chosen twice
        with_chosen[chosen] = 0
    return busiest[chosen]


def cohen_kappa(confusion: NDArray[np.float64]) -> Floats:
    """Kappa of each confusion matrix, (m, c, c) -> (m,); NaN where chance alone agrees always."""
    n = confusion.sum(axis=(1, 2))
    observed = np.trace(confusion, axis1=1, axis2=2) * n
    chance = (confusion.sum(axis=2) * confusion.sum(axis=1)).sum(axis=1)
    spread = n**2 - chance
    kappa: Floats = np.divide(observed - chance, spread, out=np.full(n.size, np.nan), where=spread > 0)
    return kappa


def _busiest(annotators: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    votes = np.bincount(annotators)
    busiest = np.argsort(-votes, kind="stable")[:most]
    return busiest[votes[busiest] > 0].astype(np.int64)


def _positions(codes: NDArray[np.int64], among: NDArray[np.int64]) -> NDArray[np.int64]:
    """The place of each code in `among`; -1 for those not there."""
    position = np.full(int(codes.max(initial=-1)) + 1, -1)
    position[among] = np.arange(among.size)
    return position[codes]


def _confusions(table: VoteTable, annotators: NDArray[np.int64]) -> Floats:
    """How often annotator i said c where j said d, (a, a, c, c); the diagonal i = j is left at 0."""
    rows = _positions(table.annotators, annotators)
    kept = rows >= 0
    cells = np.column_stack((rows[kept], table.items[kept]))
    first = np.unique(cells, axis=0, return_index=True)[1]
    cells, answers = cells[first], table.answers[kept][first]
    shape = (annotators.size, table.n_items)
    said = [
        sparse.csr_array((np.ones(int(m.sum())), (cells[m, 0], cells[m, 1])), shape=shape)
        for m in (answers == code for code in range(len(table.choices)))
    ]
    blocks = [[(a @ b.T).toarray() for b in said] for a in said]
    confusion = np.asarray(blocks, dtype=np.float64).transpose(2, 3, 0, 1).copy()
    confusion[np.arange(annotators.size), np.arange(annotators.size)] = 0
    return confusion


def _resampled_confusions(confusion: Floats, resamples: int, rng: np.random.Generator) -> Floats:
    n = int(confusion.sum())
    times = rng.multinomial(n, confusion.ravel() / n, size=resamples)
    return times.reshape(resamples, *confusion.shape).astype(np.float64)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
