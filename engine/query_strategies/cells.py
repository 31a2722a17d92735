"""A near labelled point for each of very many points, by cells and matrix products: FAISS learns the cells."""

from __future__ import annotations

from typing import Final

import faiss
import numpy as np
from numpy.typing import NDArray

_POINTS_A_CELL: Final = 200
_TRAINED_ON: Final = 64
"""Points a cell that k-means looks at."""
_NEIGHBOURS: Final = 8


class Cells:
    """Labelled points in cells about the centres that k-means finds, each with the cells whose centres are nearest.

    An inverted file, but one asked for thousands of points at once: those of one cell go against the labelled of
    a neighbouring one in one matrix product, where an index made for single queries reads every list anew for each.
    """

    def __init__(self, labelled: NDArray[np.float32]) -> None:
        m, dimension = labelled.shape
        cells = max(1, m // _POINTS_A_CELL)
        means = faiss.Kmeans(dimension, cells, niter=5, min_points_per_centroid=1, max_points_per_centroid=_TRAINED_ON)
        means.train(labelled)
        self._centres: NDArray[np.float32] = np.asarray(means.centroids, dtype=np.float32)
        _, homes = faiss.knn(labelled, self._centres, 1)
        order = np.argsort(homes[:, 0], kind="stable")
        self._starts = np.searchsorted(homes[order, 0], np.arange(len(self._centres) + 1))
        sorted_rows = labelled[order]
        self._squares = np.einsum("md,md->m", sorted_rows, sorted_rows)
        self._minus_twice = -2 * sorted_rows
        _, self._near = faiss.knn(self._centres, self._centres, min(_NEIGHBOURS, len(self._centres)))

    def squared(self, points: NDArray[np.float32]) -> NDArray[np.float64]:
        """(b,) squared distance of each of (b, d) points to the nearest labelled one in the 8 cells about its own.

        At least that to the nearest of all; infinite where these cells are empty. About b (m / 200 + 1,600) d.
        """
        _, homes = faiss.knn(points, self._centres, 1)
        order = np.argsort(homes[:, 0], kind="stable")
        starts = np.searchsorted(homes[order, 0], np.arange(len(self._centres) + 1))
        points = points[order]
        best = np.full(len(points), np.inf, dtype=np.float32)
        for cell in np.flatnonzero(np.diff(starts)):
            mine = slice(starts[cell], starts[cell + 1])
            for near in self._near[cell]:
                theirs = slice(self._starts[near], self._starts[near + 1])
                if theirs.start < theirs.stop:
                    apart = points[mine] @ self._minus_twice[theirs].T
                    apart += self._squares[theirs]
                    best[mine] = np.minimum(best[mine], apart.min(axis=1))
        squared = np.empty(len(points))
        squared[order] = np.maximum(best + np.einsum("nd,nd->n", points, points), 0)
        return squared
