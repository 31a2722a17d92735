"""A diverse batch: each next snippet is the one farthest from all labelled and chosen ones, weighted by its value."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.progress import Progress, silent
from engine.query_strategies.checks import checked_pool
from engine.query_strategies.farthest_first import farthest_first


def k_center_greedy(
    embeddings: NDArray[np.floating],
    values: NDArray[np.floating],
    labelled: NDArray[np.floating],
    k: int,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> NDArray[np.int64]:
    """(min(k, n),) indices in the order they were chosen, the farthest first (Sener and Savarese, 1708.00489).

    Chosen is the greatest D(x) (0.1 + rank(x)): D the Euclidean distance to the nearest of `labelled` (m, d) and of
    those chosen so far, rank the value's, from 0 to 1, equal values sharing theirs. With equal values this is plain
    farthest-first, whose covering radius is at most twice the best there is. Where nothing is labelled the first is the
    one of highest value, by `seed` among equals.

    Exact, to fp32's rounding, and O((m + k) n d) at worst. Distances only fall, so an old key is an upper bound: the
    2,048 best are kept up to date, the rest only when one of them might win, many centres in one matrix product.
    """
    pool = checked_pool(embeddings, values, labelled, k)
    return farthest_first(pool, pool.vectors, slack=0, seed=seed, progress=progress)
