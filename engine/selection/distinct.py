"""Near-duplicates dropped from a pool: of each group the one most worth a label is left."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.progress import Progress, silent
from engine.query_strategies import QueryStrategy


def first_of_groups(
    values: NDArray[np.floating], groups: NDArray[np.int64], apart: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """(n,) whether each snippet stands for its group: none of it is in `apart`, and its value is the group's highest.

    `values` (n,), `groups` (n,) of the pool and `apart` (m,) of what is labelled or in flight, as numbers that are
    equal for near-duplicates; of equal values the first stands. O(n log n).
    """
    order = np.lexsort((np.arange(values.size), -np.asarray(values, dtype=np.float64), groups))
    stands = np.zeros(values.size, dtype=bool)
    if values.size:
        begins = np.r_[True, groups[order[1:]] != groups[order[:-1]]]
        stands[order[begins]] = True
    return stands & ~np.isin(groups, apart)


def among(strategy: QueryStrategy, allowed: NDArray[np.bool_]) -> QueryStrategy:
    """The strategy, choosing from the `allowed` (n,) of a pool first.

    Where these are fewer than the batch, it is filled with the others by falling value: people who wait for a batch get
    one of the size that was asked for.
    """

    def choose(
        embeddings: NDArray[np.floating],
        values: NDArray[np.floating],
        labelled: NDArray[np.floating],
        k: int,
        *,
        seed: int = 0,
        progress: Progress = silent,
    ) -> NDArray[np.int64]:
        rows = np.flatnonzero(allowed)
        picked = rows[strategy(embeddings[rows], values[rows], labelled, k, seed=seed, progress=progress)]
        if picked.size == min(k, allowed.size):
            return picked.astype(np.int64)
        others = np.flatnonzero(~allowed)
        filling = others[np.argsort(-values[others], kind="stable")][: k - picked.size]
        return np.concatenate([picked, filling]).astype(np.int64)

    return choose
