"""The snippets of highest value, however alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.progress import Progress, silent
from engine.query_strategies.checks import checked_pool


def top(
    embeddings: NDArray[np.floating],
    values: NDArray[np.floating],
    labelled: NDArray[np.floating],
    k: int,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> NDArray[np.int64]:
    """(min(k, n),) indices by falling value; equal values in random order by `seed`. O(n log n)."""
    pool = checked_pool(embeddings, values, labelled, k)
    shuffled = np.random.default_rng([seed, 0x746F70]).permutation(pool.values.size)
    order = shuffled[np.argsort(-pool.values[shuffled], kind="stable")]
    progress(pool.k, pool.k)
    return order[: pool.k].astype(np.int64)
