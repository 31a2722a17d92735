"""What every query strategy asks of its input."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from engine.query_strategies.vectors import Vectors

FLOOR: Final = 0.1
"""Weight of the lowest value; the highest weighs 1 more."""


class Pool(NamedTuple):
    """A strategy's input, checked; `k` is never more than there are rows."""

    embeddings: NDArray[np.floating]
    """(n, d) fp32 or fp16, not copied where it already was."""
    values: NDArray[np.float64]
    labelled: NDArray[np.float32]
    k: int

    @property
    def vectors(self) -> Vectors:
        """The embeddings, read by blocks."""
        return Vectors(self.embeddings)

    @property
    def weights(self) -> NDArray[np.float64]:
        """(n,) 0.1 + the value's rank, from 0 to 1, equal values sharing theirs; 1 for a pool of one."""
        n = self.values.size
        return np.asarray(FLOOR + (rankdata(self.values) - 1) / (n - 1)) if n > 1 else np.ones(n)


def checked_pool(
    embeddings: NDArray[np.floating], values: NDArray[np.floating], labelled: NDArray[np.floating], k: int
) -> Pool:
    """Raises ValueError unless shapes agree, all is finite and k >= 0. An empty `labelled` may have any shape."""
    points: NDArray[np.floating] = np.asarray(embeddings)
    if points.dtype not in (np.float16, np.float32):
        points = points.astype(np.float32)
    worth: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    known: NDArray[np.float32] = np.ascontiguousarray(labelled, dtype=np.float32)
    if points.ndim != 2:
        raise ValueError(f"embeddings must have shape (n, d), not {points.shape}")
    n, dimension = points.shape
    if known.size == 0:
        known = np.zeros((0, dimension), dtype=np.float32)
    if worth.shape != (n,):
        raise ValueError(f"values must have shape ({n},), not {worth.shape}")
    if known.ndim != 2 or known.shape[1] != dimension:
        raise ValueError(f"labelled must have shape (m, {dimension}), not {known.shape}")
    if k < 0:
        raise ValueError(f"k must not be negative, but is {k}")
    if not (np.isfinite(worth).all() and Vectors(known).finite() and Vectors(points).finite()):
        raise ValueError("embeddings, values and labelled must be finite")
    return Pool(points, worth, known, min(k, n))
