"""Bootstrap of sums over rows, fast because equal rows are resampled together."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

CHUNK = 20_000_000


def resampled_sums(
    rows: ArrayLike, resamples: int, rng: np.random.Generator, *, times: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """Column sums of `resamples` bootstrap samples of `rows` (n, d): (resamples, d).

    Who knows already which rows are alike gives each once and in `times` (n,) how often it stands for.

    Drawing n rows with replacement and summing needs only how often each distinct row comes up, which is multinomial.
    So the cost is O(n log n + resamples * distinct rows), and statistics that are functions of sums (rates, alpha,
    kappa) need no loop over resamples. No rows sum to zero.
    """
    table = np.asarray(rows, dtype=np.float64)
    if not table.size:
        return np.zeros((resamples, table.shape[1]))
    distinct, counts = np.unique(table, axis=0, return_counts=True) if times is None else (table, times)
    n = int(counts.sum())
    sums = np.empty((resamples, table.shape[1]))
    batch = max(1, CHUNK // max(1, counts.size))
    for start in range(0, resamples, batch):
        size = min(batch, resamples - start)
        drawn = rng.multinomial(n, counts / n, size=size)
        sums[start : start + size] = drawn @ distinct
    return sums
