"""Nearest neighbours among unit vectors, on FAISS."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from engine.errors import BadInput, UnknownName

INDEXES: Final = {"flat": "Flat", "hnsw": "HNSW32,Flat", "ivf": "IVF1024,Flat"}
"""Kind -> FAISS factory string. "flat" is exact, the others are for a million vectors and more."""


class Neighbours(NamedTuple):
    """The nearest vectors of each query, nearest first."""

    similarities: NDArray[np.float32]
    """(queries, k) dot products."""
    indices: NDArray[np.int64]
    """(queries, k) places in the order of adding, from 0; -1 where an inexact index found fewer."""


class NearestNeighbours:
    """An index of unit vectors by dot product."""

    def __init__(self, dimension: int, *, kind: str = "flat") -> None:
        """`kind` is a name in INDEXES. An "ivf" index learns its cells from the first vectors added: 40,000 or more."""
        if kind not in INDEXES:
            raise UnknownName("index", kind, INDEXES)
        self._index = faiss.index_factory(dimension, INDEXES[kind], faiss.METRIC_INNER_PRODUCT)
        self._widen()

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self._index.d)

    def add(self, vectors: NDArray[np.float32]) -> None:
        """Adds (n, d) vectors; their indices go on from those already there. Raises ValueError on another shape."""
        vectors = self._checked(vectors)
        if not self._index.is_trained:
            self._index.train(vectors)
        self._index.add(vectors)

    def search(self, queries: NDArray[np.float32], k: int) -> Neighbours:
        """The `k` nearest of each of the (q, d) queries, or all where there are fewer. Flat: O(q n d)."""
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        queries = self._checked(queries)
        k = min(k, len(self))
        if not k:
            return Neighbours(np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64))
        similarities, indices = self._index.search(queries, k)
        return Neighbours(similarities, indices)

    def save(self, path: Path) -> None:
        """Writes the index to `path`: whole, or not at all."""
        path = Path(path)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            faiss.write_index(self._index, str(part))
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path) -> Self:
        """The index that `save` wrote. Raises BadInput when it is not there or not whole."""
        if not Path(path).is_file():
            raise BadInput("no such index", where=str(path))
        found = cls.__new__(cls)
        try:
            found._index = faiss.read_index(str(path))
        except RuntimeError as error:
            raise BadInput("not a whole FAISS index; build it again", where=str(path)) from error
        found._widen()
        return found

    def _widen(self) -> None:
        """Search settings are not all kept in the file."""
        if hasattr(self._index, "hnsw"):
            self._index.hnsw.efSearch = 128
        if hasattr(self._index, "nprobe"):
            self._index.nprobe = 32

    def _checked(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        if vectors.ndim != 2 or vectors.shape[1] != self.dimension:
            raise ValueError(f"vectors must have shape (n, {self.dimension}), not {vectors.shape}")
        return np.ascontiguousarray(vectors, dtype=np.float32)
