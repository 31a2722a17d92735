"""Vectors in fewer dimensions, for passes over pools too large for all of them."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.progress import Progress, silent

_SAMPLE: Final = 50_000
_BLOCK: Final = 1 << 15


class Projection:
    """The leading principal axes of some vectors. What it projects keeps its distances but for what other axes add."""

    def __init__(self, mean: NDArray[np.float32], axes: NDArray[np.float32], kept: float) -> None:
        self._mean = mean
        self._axes = axes
        self.kept = kept
        """Share of the sample's variance that lies along the axes, from 0 to 1."""

    @classmethod
    def fit(cls, vectors: NDArray[np.floating], dimensions: int, *, seed: int = 0) -> Projection:
        """Principal axes of at most 50,000 rows of (n, d) vectors, drawn by `seed`. O(50,000 d^2 + d^3).

        Vectors may be mapped, in fp16 or fp32. Raises ValueError unless n >= 1 and 1 <= dimensions <= d.
        """
        n, d = vectors.shape
        if not n or not 1 <= dimensions <= d:
            raise ValueError(f"cannot project {n} vectors of {d} dimensions onto {dimensions}")
        rows = np.sort(np.random.default_rng([seed, 0x706361]).choice(n, min(n, _SAMPLE), replace=False))
        sample = np.asarray(vectors[rows], dtype=np.float32)
        mean = sample.mean(axis=0)
        sample -= mean
        variances, axes = np.linalg.eigh((sample.T @ sample).astype(np.float64))
        total = float(variances.sum())
        kept = float(variances[-dimensions:].sum()) / total if total > 0 else 1.0
        return cls(mean, np.ascontiguousarray(axes[:, ::-1][:, :dimensions], dtype=np.float32), kept)

    def __call__(self, vectors: NDArray[np.floating], *, progress: Progress = silent) -> NDArray[np.float32]:
        """(n, dimensions) projections of (n, d) vectors, read block by block. O(n d dimensions)."""
        rows = np.empty((len(vectors), self._axes.shape[1]), dtype=np.float32)
        for start in range(0, len(vectors), _BLOCK):
            part = np.asarray(vectors[start : start + _BLOCK], dtype=np.float32)
            rows[start : start + _BLOCK] = (part - self._mean) @ self._axes
            progress(min(start + _BLOCK, len(vectors)), len(vectors))
        return rows
