"""k-means++ seeding: diverse by chance, and less drawn to outliers than the farthest-first rule."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.progress import Progress, silent
from engine.query_strategies.checks import checked_pool
from engine.query_strategies.seeding import Seeding


def k_means_pp(
    embeddings: NDArray[np.floating],
    values: NDArray[np.floating],
    labelled: NDArray[np.floating],
    k: int,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> NDArray[np.int64]:
    """(min(k, n),) indices, each drawn with probability D(x)^2 / sum D^2 (Arthur and Vassilvitskii 2007).

    D is the Euclidean distance to the nearest of `labelled` (m, d) and of those drawn so far; where nothing is labelled
    the first is drawn evenly, and so are the rest once all distances are 0. Values decide nothing. O((m + k) n d) at
    worst and exact, as `seeding.py` says; memory as with `k_center_batched`.
    """
    pool = checked_pool(embeddings, values, labelled, k)
    seeding = Seeding(pool.vectors, pool.labelled, seed, alive=lambda: progress(0, pool.k))
    chosen = []
    for done in range(1, pool.k + 1):
        chosen.append(seeding.draw())
        progress(done, pool.k)
    return np.array(chosen, dtype=np.int64)
