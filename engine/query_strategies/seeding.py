"""Draws with probability proportional to the squared distance from what is drawn already, by thinning lazy bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.query_strategies.nearest import NearestCentre
from engine.query_strategies.vectors import Vectors

_WAITING: Final = 64
_REFUSED: Final = 256


class Seeding:
    """D^2 sampling without a pass through the points at every draw.

    A point is proposed by an old bound U >= D^2 and accepted with probability D^2 / U, which makes its chance exactly
    proportional to D^2. All bounds are brought up to date after 64 draws, or 256 refusals.
    """

    def __init__(self, points: Vectors, labelled: NDArray[np.float32], seed: int, *, alive: Callable[[], None]) -> None:
        self._nearest = NearestCentre(points, labelled, alive=alive)
        self._rng = np.random.default_rng([seed, 0x6B6D70])
        self._taken = np.zeros(len(points), dtype=bool)
        self._bounds = np.zeros(0)
        self._sums = np.zeros(0)
        self._refused = 0
        self._any_centre = len(labelled) > 0

    def draw(self) -> int:
        """The next row, distinct from all before; at least one must be left."""
        if not self._any_centre:
            return self.take(int(self._rng.integers(len(self._taken))))
        while True:
            if not self._sums.size or self._nearest.waiting >= _WAITING or self._refused >= _REFUSED:
                self._refresh()
            if self._sums[-1] <= 0:
                return self.take(int(self._rng.choice(np.flatnonzero(~self._taken))))
            row = int(np.searchsorted(self._sums, self._rng.random() * self._sums[-1], side="right"))
            row = min(row, self._sums.size - 1)
            if not self._taken[row] and self._rng.random() * self._bounds[row] < self._nearest.exact(row):
                return self.take(row)
            self._refused += 1

    def take(self, row: int) -> int:
        """Makes that row a centre, drawn or not, and returns it."""
        self._taken[row] = True
        self._nearest.add(row)
        self._any_centre = True
        return row

    def _refresh(self) -> None:
        self._nearest.settle()
        self._bounds = np.where(self._taken, 0, self._nearest.bounds)
        self._sums = np.cumsum(self._bounds)
        self._refused = 0
