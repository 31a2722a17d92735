"""What every query strategy asks of its input."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Pool(NamedTuple):
    """A strategy's input, checked; `k` is never more than there are rows."""

    embeddings: NDArray[np.float32]
    values: NDArray[np.float64]
    labelled: NDArray[np.float32]
    k: int


def checked_pool(
    embeddings: NDArray[np.floating], values: NDArray[np.floating], labelled: NDArray[np.floating], k: int
) -> Pool:
    """Raises ValueError unless shapes agree, all is finite and k >= 0. An empty `labelled` may have any shape."""
    points: NDArray[np.float32] = np.ascontiguousarray(embeddings, dtype=np.float32)
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
    if not (np.isfinite(points).all() and np.isfinite(worth).all() and np.isfinite(known).all()):
        raise ValueError("embeddings, values and labelled must be finite")
    return Pool(points, worth, known, min(k, n))
