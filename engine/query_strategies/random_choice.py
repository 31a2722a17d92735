"""Snippets at random: the baseline, and the unbiased slice that estimates need."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.progress import Progress, silent
from engine.query_strategies.checks import checked_pool


def random_choice(
    embeddings: NDArray[np.floating],
    values: NDArray[np.floating],
    labelled: NDArray[np.floating],
    k: int,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> NDArray[np.int64]:
    """(min(k, n),) distinct indices, each set of them as likely as any other. O(n)."""
    pool = checked_pool(embeddings, values, labelled, k)
    chosen = np.random.default_rng([seed, 0x726E64]).permutation(pool.values.size)[: pool.k]
    progress(pool.k, pool.k)
    return chosen.astype(np.int64)
