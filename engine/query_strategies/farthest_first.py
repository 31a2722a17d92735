"""Farthest-first traversal by lazy bounds: what k-center strategies share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.progress import Progress
from engine.query_strategies.checks import Pool
from engine.query_strategies.nearest import NearestCentre
from engine.query_strategies.vectors import Vectors

_FRONT: Final = 2048
_WAITING: Final = 256


def farthest_first(pool: Pool, vectors: Vectors, *, slack: float, seed: int, progress: Progress) -> NDArray[np.int64]:
    """(k,) rows in order, each of a key D(x) w(x) that is at least 1 - slack of the greatest at its turn.

    D is the distance to the nearest labelled or chosen point, w the pool's weights. Where nothing is labelled the first
    is the one of greatest weight, by `seed` among equals. `slack` 0 is greedy k-center itself.
    """
    if pool.k == 0:
        return np.zeros(0, dtype=np.int64)
    search = _FarthestFirst(pool, vectors, slack, alive=lambda: progress(0, pool.k))
    chosen = [search.first(seed)]
    progress(1, pool.k)
    while len(chosen) < pool.k:
        chosen.append(search.next())
        progress(len(chosen), pool.k)
    return np.array(chosen, dtype=np.int64)


class _FarthestFirst:
    """Distances only fall, so an old key is an upper bound: the front's are kept up to date, the rest's are not.

    The front is the 2,048 points of greatest key. A choice stands when no bound outside the front is greater.
    """

    def __init__(self, pool: Pool, vectors: Vectors, slack: float, *, alive: Callable[[], None]) -> None:
        self._vectors = vectors
        self._weights = pool.weights**2
        self._nearest = NearestCentre(vectors, pool.labelled, alive=alive)
        self._nothing_labelled = len(pool.labelled) == 0
        self._taken = np.zeros(len(vectors), dtype=bool)
        self._enough = (1 - slack) ** 2
        self._front = np.zeros(0, dtype=np.int64)
        self._points = vectors[self._front]
        self._keys = np.zeros(0)
        self._outside = np.inf

    def first(self, seed: int) -> int:
        """The first choice; ties are broken by `seed` where nothing is labelled."""
        if not self._nothing_labelled:
            return self.next()
        best = np.flatnonzero(self._weights == self._weights.max())
        chosen = int(np.random.default_rng([seed, 0x6B6367]).choice(best))
        self._take(chosen)
        return chosen

    def next(self) -> int:
        """The next choice."""
        if self._nearest.waiting >= _WAITING:
            self._refresh()
        while not self._keys.size or self._keys.max() < self._enough * self._outside:
            self._refresh()
        chosen = int(self._front[np.argmax(self._keys)])
        self._take(chosen)
        return chosen

    def _take(self, chosen: int) -> None:
        self._taken[chosen] = True
        self._nearest.add(chosen)
        if self._front.size:
            apart = self._nearest.between(self._points, self._front, chosen)
            self._keys = np.minimum(self._keys, apart * self._weights[self._front])
            self._keys[self._front == chosen] = -1

    def _refresh(self) -> None:
        """A new front, of the greatest bounds, and its keys; all of them squares, which order the points alike."""
        self._nearest.settle()
        keys = self._all_keys()
        size = min(_FRONT, keys.size)
        least = np.partition(keys, keys.size - size)[keys.size - size]
        above, equal = np.flatnonzero(keys > least), np.flatnonzero(keys == least)
        self._front = np.sort(np.concatenate([above, equal[: size - above.size]]))
        rest = np.ones(keys.size, dtype=bool)
        rest[self._front] = False
        self._outside = float(keys.max(where=rest, initial=-np.inf))
        self._nearest.tighten(self._front)
        self._points = self._vectors[self._front]
        self._keys = self._all_keys(self._front)

    def _all_keys(self, rows: NDArray[np.int64] | slice = slice(None)) -> NDArray[np.float64]:
        return np.where(self._taken[rows], -1.0, self._nearest.bounds[rows] * self._weights[rows])
