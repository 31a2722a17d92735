"""Why each snippet of a pool was chosen or left out."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.embeddings import NearestNeighbours
from engine.query_strategies import Choice


class Reason(StrEnum):
    """What decided."""

    STRATEGY = "strategy"
    """Chosen: the query strategy took it."""
    RANDOM = "random"
    """Chosen by chance, so that estimates stay unbiased."""
    FILLING = "filling"
    """Chosen though it is a near-duplicate: too few were distinct."""
    NEAR_DUPLICATE = "near_duplicate"
    """Left out: nearly the same as one that is labelled, in flight, or more worth a label."""
    GAVE_WAY = "gave_way"
    """Left out: the strategy's next choice, whose place went to chance."""
    PASSED_OVER = "passed_over"
    """Left out: by its value alone it would have been taken; the strategy took others, less like what is there."""
    LOWER_VALUE = "lower_value"
    """Left out: others are worth more."""


class Nearest(NamedTuple):
    """The nearest of some vectors to each of the pool's."""

    rows: NDArray[np.int64]
    """(n,) which of them; -1 where there are none."""
    similarities: NDArray[np.float32]
    """(n,) cosines; NaN where there are none."""


class Why(NamedTuple):
    """A pool's snippets, each array (n,)."""

    chosen: NDArray[np.bool_]
    place: NDArray[np.int64]
    """In which order they were chosen, from 0; -1 for those left out."""
    reasons: list[Reason]
    rank: NDArray[np.int64]
    """Place by falling value, from 0."""
    plain: NDArray[np.bool_]
    """Whether the highest values alone would have it in the batch."""
    inclusion: NDArray[np.float64]
    """Probability of having come in, given the strategy's picks; NaN for those left out."""
    apart: Nearest
    """Of what is labelled or in flight."""
    taken: Nearest
    """Of the others that were chosen."""


def explain(
    choice: Choice,
    values: NDArray[np.floating],
    distinct: NDArray[np.bool_],
    embeddings: NDArray[np.floating],
    apart: NDArray[np.floating],
) -> Why:
    """What `choose` did with a pool of n: `values` (n,), `distinct` (n,) from `first_of_groups`, unit `embeddings`
    (n, d) and those of what is labelled or in flight, `apart` (m, d). O(n (m + k) d).
    """
    n, k = values.size, choice.chosen.size
    place = np.full(n, -1, dtype=np.int64)
    place[choice.chosen] = np.arange(k)
    inclusion = np.full(n, np.nan)
    inclusion[choice.chosen] = choice.inclusion
    drawn = np.zeros(n, dtype=bool)
    drawn[choice.chosen[choice.random]] = True
    order = np.argsort(-np.asarray(values, dtype=np.float64), kind="stable")
    rank = np.empty(n, dtype=np.int64)
    rank[order] = np.arange(n)
    next_ones = np.zeros(n, dtype=bool)
    next_ones[choice.strategy_alone] = True
    chosen, plain = place >= 0, rank < k
    codes = np.select(
        [chosen & drawn, chosen & ~distinct, chosen, ~distinct, next_ones, plain],
        np.arange(6),
        default=6,
    )
    named = (
        *(Reason.RANDOM, Reason.FILLING, Reason.STRATEGY, Reason.NEAR_DUPLICATE, Reason.GAVE_WAY),
        *(Reason.PASSED_OVER, Reason.LOWER_VALUE),
    )
    reasons = [named[code] for code in codes]
    return Why(
        chosen, place, reasons, rank, plain, inclusion, nearest(embeddings, apart), _nearest_taken(embeddings, choice)
    )


def nearest(embeddings: NDArray[np.floating], others: NDArray[np.floating]) -> Nearest:
    """The nearest of `others` (m, d) to each of (n, d)."""
    n = len(embeddings)
    if not n or not len(others):
        return Nearest(np.full(n, -1, dtype=np.int64), np.full(n, np.nan, dtype=np.float32))
    index = NearestNeighbours(others.shape[1])
    index.add(np.asarray(others, dtype=np.float32))
    found = index.search(np.asarray(embeddings, dtype=np.float32), 1)
    return Nearest(found.indices[:, 0], found.similarities[:, 0])


def _nearest_taken(embeddings: NDArray[np.floating], choice: Choice) -> Nearest:
    """Of the chosen, but for itself."""
    n, taken = len(embeddings), choice.chosen
    rows = np.full(n, -1, dtype=np.int64)
    similarities = np.full(n, np.nan, dtype=np.float32)
    if not taken.size:
        return Nearest(rows, similarities)
    index = NearestNeighbours(embeddings.shape[1])
    index.add(np.asarray(embeddings[taken], dtype=np.float32))
    found = index.search(np.asarray(embeddings, dtype=np.float32), 2)
    own = np.full(n, -1, dtype=np.int64)
    own[taken] = np.arange(taken.size)
    # Of two equal vectors the search may give either first.
    column = (found.indices[:, 0] == own).astype(np.int64) if taken.size > 1 else np.zeros(n, dtype=np.int64)
    places = found.indices[np.arange(n), column]
    there = places != own
    rows[there] = taken[places[there]]
    similarities[there] = found.similarities[np.arange(n), column][there]
    return Nearest(rows, similarities)
