"""How far every point is from its nearest centre, known as closely as it must be and no closer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import faiss
import numpy as np
from numpy.typing import NDArray

from engine.query_strategies.cells import Cells
from engine.query_strategies.vectors import Vectors, spans

_ALL_PAIRS: Final = 2 * 10**8
"""As many distances are computed outright; above that cells give a near labelled point, and the nearest on demand."""


class NearestCentre:
    """Upper bounds of squared Euclidean distances to the nearest of a growing set of centres, tightened on demand.

    Two things keep a bound above the distance. Centres added since the last `settle` wait, to go through the points
    many at a time in one matrix product. And where there are very many labelled points, the start is the distance to
    a near one, as `Cells` finds it; `tighten` looks through all.
    """

    def __init__(self, points: Vectors, labelled: NDArray[np.float32], *, alive: Callable[[], None]) -> None:
        self._points = points
        self._labelled = labelled
        self._squares = points.squares()
        self._waiting: list[int] = []
        self._alive = alive
        self.bounds: NDArray[np.float64] = np.full(len(points), np.inf)
        """(n,) upper bounds of the squared distances; infinite while there is no centre."""
        searched = len(points) * len(labelled) > _ALL_PAIRS
        self._tight = np.full(len(points), not searched)
        if len(labelled):
            cells = Cells(labelled) if searched else None
            for rows in points.blocks(beside=1 if cells else len(labelled)):
                part = points[rows]
                self.bounds[rows] = cells.squared(part) if cells else _nearest(part, labelled)
                alive()
            # Nothing is labelled in the cells about these.
            self.tighten(np.flatnonzero(np.isinf(self.bounds)))

    @property
    def waiting(self) -> int:
        """Centres that the bounds do not know of yet."""
        return len(self._waiting)

    def add(self, centre: int) -> None:
        """The point of that row becomes a centre."""
        self._waiting.append(centre)

    def settle(self) -> None:
        """Lets all bounds know of all centres. O(n d) for each that waited."""
        if self._waiting:
            centres, squares = self._points[np.array(self._waiting)], self._squares[self._waiting]
            for rows in self._points.blocks():
                apart = _squared(self._points[rows], self._squares[rows], centres, squares)
                self.bounds[rows] = np.minimum(self.bounds[rows], apart)
                self._alive()
            self._waiting = []

    def tighten(self, rows: NDArray[np.int64]) -> None:
        """Makes the bounds of these rows the distances themselves, but for centres that wait. O(m d) a row, once."""
        loose = rows[~self._tight[rows]]
        for span in spans(loose.size, beside=len(self._labelled)):
            some = loose[span]
            self.bounds[some] = np.minimum(self.bounds[some], _nearest(self._points[some], self._labelled))
            self._alive()
        self._tight[loose] = True

    def exact(self, row: int) -> float:
        """The squared distance of one point to its nearest centre, those that wait among them."""
        one = np.array([row])
        self.tighten(one)
        if not self._waiting:
            return float(self.bounds[row])
        centres, squares = self._points[np.array(self._waiting)], self._squares[self._waiting]
        return min(float(self.bounds[row]), float(_squared(self._points[one], self._squares[one], centres, squares)[0]))

    def between(self, points: NDArray[np.float32], rows: NDArray[np.int64], centre: int) -> NDArray[np.float64]:
        """(b,) squared distances from one point to those of `rows`, whose vectors are `points` (b, d)."""
        one = np.array([centre])
        return _squared(points, self._squares[rows], self._points[one], self._squares[one])


def _nearest(points: NDArray[np.float32], labelled: NDArray[np.float32]) -> NDArray[np.float64]:
    """(b,) squared distance of each point to the nearest labelled one, by all pairs."""
    squared, _ = faiss.knn(points, labelled, 1)
    return np.maximum(squared[:, 0], 0).astype(np.float64)


def _squared(
    points: NDArray[np.float32],
    squares: NDArray[np.float32],
    centres: NDArray[np.float32],
    centre_squares: NDArray[np.float32],
) -> NDArray[np.float64]:
    """(b,) squared distance of each point to the nearest of the centres."""
    apart = points @ centres.T
    apart *= -2
    apart += centre_squares
    return np.asarray(np.maximum(apart.min(axis=1) + squares, 0), dtype=np.float64)
