"""A diverse batch: each next snippet is the one farthest from all labelled and chosen ones, weighted by its value."""

from __future__ import annotations

from typing import Final

import faiss
import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from engine.progress import Progress, silent
from engine.query_strategies.checks import Pool, checked_pool

FLOOR: Final = 0.1
"""Weight of the lowest value; the highest weighs 1 more."""
_FRONT: Final = 2048
_PENDING: Final = 64
_BLOCK: Final = 1 << 16


def k_center_greedy(
    embeddings: NDArray[np.floating],
    values: NDArray[np.floating],
    labelled: NDArray[np.floating],
    k: int,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> NDArray[np.int64]:
    """(min(k, n),) indices in the order they were chosen, the farthest first (Sener and Savarese, 1708.00489).

    Chosen is the greatest D(x) (0.1 + rank(x)): D the Euclidean distance to the nearest of `labelled` (m, d) and of
    those chosen so far, rank the value's, from 0 to 1, equal values sharing theirs. With equal values this is plain
    farthest-first. Where nothing is labelled the first is the one of highest value, by `seed` among equals.

    Exact and O((m + k) n d) at worst. Distances only fall, so an old key is an upper bound: the 2,048 best are kept up
    to date, the rest only when one of them might win, many centres in one matrix product.
    """
    pool = checked_pool(embeddings, values, labelled, k)
    if pool.k == 0:
        return np.zeros(0, dtype=np.int64)
    search = _FarthestFirst(pool)
    chosen = [search.first(seed)]
    progress(1, pool.k)
    while len(chosen) < pool.k:
        chosen.append(search.next())
        progress(len(chosen), pool.k)
    return np.array(chosen, dtype=np.int64)


class _FarthestFirst:
    """Squared distances and keys of all points; exact for the front, upper bounds for the rest."""

    def __init__(self, pool: Pool) -> None:
        self._points = pool.embeddings
        self._norms = np.einsum("nd,nd->n", self._points, self._points)
        n = len(self._points)
        self._weights = (FLOOR + (rankdata(pool.values) - 1) / (n - 1)) ** 2 if n > 1 else np.ones(1)
        self._nothing_labelled = len(pool.labelled) == 0
        self._nearest = np.full(n, np.inf) if self._nothing_labelled else _nearest_labelled(pool)
        self._taken = np.zeros(n, dtype=bool)
        self._pending: list[int] = []
        self._front = np.zeros(0, dtype=np.int64)
        self._outside = -np.inf

    def first(self, seed: int) -> int:
        """The first choice; ties are broken by `seed` where nothing is labelled."""
        if not self._nothing_labelled:
            self._refresh()
            return self.next()
        best = np.flatnonzero(self._weights == self._weights.max())
        chosen = int(np.random.default_rng([seed, 0x6B6367]).choice(best))
        self._take(chosen)
        self._refresh()
        return chosen

    def next(self) -> int:
        """The point of greatest key, the first of equals."""
        keys = self._keys(self._front)
        best = int(np.argmax(keys)) if keys.size else -1
        if best < 0 or keys[best] <= self._outside or len(self._pending) >= _PENDING:
            self._refresh()
            chosen = int(np.argmax(self._keys(slice(None))))
        else:
            chosen = int(self._front[best])
        self._take(chosen)
        return chosen

    def _keys(self, rows: NDArray[np.int64] | slice) -> NDArray[np.float64]:
        """Squares of the keys: they order the points alike."""
        return np.where(self._taken[rows], -1.0, self._nearest[rows] * self._weights[rows])

    def _take(self, chosen: int) -> None:
        self._taken[chosen] = True
        self._pending.append(chosen)
        self._approach(self._front, [chosen])

    def _refresh(self) -> None:
        if self._pending:
            for start in range(0, len(self._points), _BLOCK):
                self._approach(slice(start, start + _BLOCK), self._pending)
            self._pending = []
        keys = self._keys(slice(None))
        size = min(_FRONT, keys.size)
        self._front = np.sort(np.argpartition(-keys, size - 1)[:size])
        rest = np.delete(keys, self._front)
        self._outside = float(rest.max()) if rest.size else -np.inf

    def _approach(self, rows: NDArray[np.int64] | slice, centres: list[int]) -> None:
        """Brings distances of `rows` down to those from `centres`, where these are nearer."""
        points = self._points[rows]
        if not len(points):
            return
        squared = self._norms[rows, None] + self._norms[centres] - 2 * (points @ self._points[centres].T)
        self._nearest[rows] = np.minimum(self._nearest[rows], np.maximum(squared.min(axis=1), 0))


def _nearest_labelled(pool: Pool) -> NDArray[np.float64]:
    """(n,) squared distance to the nearest labelled point."""
    index = faiss.IndexFlatL2(pool.labelled.shape[1])
    index.add(pool.labelled)
    squared, _ = index.search(pool.embeddings, 1)
    return np.maximum(squared[:, 0], 0).astype(np.float64)
