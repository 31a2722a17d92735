"""Many vectors, read block by block as fp32, so that a memory-mapped pool is never copied."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

BLOCK: Final = 1 << 15
"""Rows read at a time: 50 MB at 384 dimensions."""

_PAIRS: Final = 1 << 26


def spans(count: int, beside: int = 1) -> Iterator[slice]:
    """Slices that together are `count` rows, in order, each short enough to meet `beside` vectors in about a second."""
    size = max(1, min(BLOCK, _PAIRS // max(beside, 1)))
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


class Vectors:
    """(n, d) vectors, fp32 or fp16, in memory or mapped; perhaps each times one of `lengths` (n,). Rows come fp32."""

    def __init__(self, array: NDArray[np.floating], lengths: NDArray[np.float32] | None = None) -> None:
        self._array = array
        self._lengths = lengths
        self.dimension = int(array.shape[1])

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, rows: NDArray[np.int64] | slice) -> NDArray[np.float32]:
        part: NDArray[np.float32] = np.ascontiguousarray(self._array[rows], dtype=np.float32)
        return part if self._lengths is None else part * self._lengths[rows, None]

    def blocks(self, beside: int = 1) -> Iterator[slice]:
        """Slices that together are all rows; see `spans`."""
        return spans(len(self), beside)

    def squares(self) -> NDArray[np.float32]:
        """(n,) squared lengths."""
        squares = np.empty(len(self), dtype=np.float32)
        for rows in self.blocks():
            part = self[rows]
            squares[rows] = np.einsum("nd,nd->n", part, part)
        return squares

    def finite(self) -> bool:
        """Whether no vector holds a NaN or an infinity."""
        return all(bool(np.isfinite(self._array[rows]).all()) for rows in self.blocks())
