"""Cosine similarity of each point to its nearest, as a sparse graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import faiss
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csc_array

from engine.embeddings.vectors import unit_rows
from engine.query_strategies.vectors import Vectors

NEIGHBOURS: Final = 32
_EXACT: Final = 50_000
"""Pools up to this size are searched in full; larger ones by an inverted file, in its nearest 8 lists."""
_PROBES: Final = 8
_TRAINED_ON: Final = 64
"""Points a list that the inverted file learns from, in so many steps of k-means."""
_STEPS: Final = 5


def similarity_graph(points: Vectors, neighbours: int, alive: Callable[[], None]) -> csc_array:
    """(n, n) cosines, row x holding those of the points nearest x, x itself among them; negative ones are left out.

    O(n^2 d) up to 50,000 points. Beyond, an inverted file of about 2 sqrt(n) lists, vectors in fp16, misses some
    neighbours: those that lie in another list than the nearest 8.
    """
    n = len(points)
    near = min(neighbours, n)
    index = _index(points, alive)
    columns = np.empty((n, near), dtype=np.int32)
    similar = np.empty((n, near), dtype=np.float32)
    for rows in points.blocks(beside=min(n, _EXACT)):
        found, at = index.search(unit_rows(points[rows]), near)
        own = np.arange(rows.start, rows.stop)
        # Among many duplicates a point may miss itself, and an inverted file may find too few.
        missing = ~(at == own[:, None]).any(axis=1)
        at[missing, -1] = own[missing]
        found[at == own[:, None]] = 1
        columns[rows], similar[rows] = at, np.where(at >= 0, found, 0)
        alive()
    kept = similar > 0
    rows_of = np.repeat(np.arange(n, dtype=np.int32), kept.sum(axis=1))
    return csc_array(coo_array((np.minimum(similar[kept], 1), (rows_of, columns[kept])), shape=(n, n)))


def best_similarity(points: Vectors, labelled: NDArray[np.float32], alive: Callable[[], None]) -> NDArray[np.float32]:
    """(n,) cosine to the nearest labelled point, 0 where it is negative or nothing is labelled. O(m n d)."""
    best = np.zeros(len(points), dtype=np.float32)
    if len(labelled):
        index = faiss.IndexFlatIP(points.dimension)
        index.add(unit_rows(labelled))
        for rows in points.blocks(beside=len(labelled)):
            found, _ = index.search(unit_rows(points[rows]), 1)
            best[rows] = np.clip(found[:, 0], 0, 1)
            alive()
    return best


def _index(points: Vectors, alive: Callable[[], None]) -> Any:
    n = len(points)
    lists = int(2 * n**0.5)
    kind = "Flat" if n <= _EXACT else f"IVF{lists},SQfp16"
    index: Any = faiss.index_factory(points.dimension, kind, faiss.METRIC_INNER_PRODUCT)
    if n > _EXACT:
        index.nprobe, index.cp.niter = _PROBES, _STEPS
        sample = np.random.default_rng(0).choice(n, size=min(n, _TRAINED_ON * lists), replace=False)
        index.train(unit_rows(points[np.sort(sample)]))
    for rows in points.blocks():
        index.add(unit_rows(points[rows]))
        alive()
    return index
