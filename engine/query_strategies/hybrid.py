"""The best by value, thinned to those unlike each other and unlike what is labelled or in flight."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.progress import Progress, silent
from engine.query_strategies.checks import Pool, checked_pool
from engine.query_strategies.farthest_first import farthest_first
from engine.query_strategies.k_center_batched import SLACK

WIDTH: Final = 20
"""Snippets looked at for each one chosen."""
MOST: Final = 50_000
"""Snippets looked at, however many are chosen (but never fewer than are chosen)."""
EVEN_SHARE: Final = 0.1
"""Share of those looked at that is drawn evenly from what the values leave out."""


def hybrid(
    embeddings: NDArray[np.floating],
    values: NDArray[np.floating],
    labelled: NDArray[np.floating],
    k: int,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> NDArray[np.int64]:
    """(min(k, n),) indices: a subpool by value, then weighted k-center in it, against `labelled` (m, d).

    The subpool is 20 k snippets, at most 50,000: nine in ten those of highest value, ties by `seed`, one in ten drawn
    evenly from the rest, so that what the acquisition function is blind to can still be seen. In it each choice has a
    D(x) (0.1 + rank(x)) of at least 98% of the greatest, as `k_center_batched` says, with ranks within the subpool.
    Prefilter and then diversify: Zhdanov 2019 (1901.05954). Costs O(n) and O((m + k) min(20 k, 50,000) d).
    """
    pool = checked_pool(embeddings, values, labelled, k)
    rows = _subpool(pool, seed)
    # Mapped rows are read here, once; so much fits in memory (77 MB at 50,000 x 384).
    inner = Pool(pool.embeddings[rows], pool.values[rows], pool.labelled, pool.k)
    return rows[farthest_first(inner, inner.vectors, slack=SLACK, seed=seed, progress=progress)]


def _subpool(pool: Pool, seed: int) -> NDArray[np.int64]:
    """Rows in rising order."""
    n = pool.values.size
    size = min(n, max(pool.k, min(WIDTH * pool.k, MOST)))
    even = math.floor(EVEN_SHARE * size) if size < n else 0
    rng = np.random.default_rng([seed, 0x687962])
    shuffled = rng.permutation(n)
    order = shuffled[np.argsort(-pool.values[shuffled], kind="stable")]
    best, rest = order[: size - even], order[size - even :]
    return np.sort(np.concatenate([best, rng.choice(rest, size=even, replace=False)])).astype(np.int64)
