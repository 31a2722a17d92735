"""k-center for large pools: each next snippet is within 2% of the farthest, and the pool is read a few times only."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.progress import Progress, silent
from engine.query_strategies.checks import checked_pool
from engine.query_strategies.farthest_first import farthest_first

SLACK: Final = 0.02
"""By how much less than the farthest a choice may be away."""


def k_center_batched(
    embeddings: NDArray[np.floating],
    values: NDArray[np.floating],
    labelled: NDArray[np.floating],
    k: int,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> NDArray[np.int64]:
    """(min(k, n),) indices, like `k_center_greedy`'s but that every choice's key is at least 98% of the greatest.

    So with equal values the covering radius is at most 2 / 0.98 times the best there is, where greedy's is at most 2
    (Gonzalez 1985, whose proof asks only this of a choice); what it is beside greedy's, benchmarks/k_center_million.py
    measures. Centres go through the pool up to 256 at a time in one matrix product, as batched farthest-first does; but
    among the 2,048 farthest each choice is felt at once, so no batch holds two that are alike.

    Reads the pool by blocks, fp32 or fp16, mapped or in memory, and never copies it: one pass for 256 choices, sooner
    where one outside the 2,048 might win, and one for the labelled, which with more than 2e8 pairs are searched by
    cells and looked through in full only for the farthest. State is 33 bytes a row. Project the embeddings first
    (`engine.embeddings.Projection`) where a pass is still too long.
    """
    pool = checked_pool(embeddings, values, labelled, k)
    return farthest_first(pool, pool.vectors, slack=SLACK, seed=seed, progress=progress)
