"""How well a set of centres covers a pool."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.progress import Progress, silent
from engine.query_strategies.vectors import Vectors

_CENTRES: Final = 1 << 11


class Covering(NamedTuple):
    """Each point's nearest centre, and how far it is away."""

    nearest: NDArray[np.int64]
    """(n,) row of the centre."""
    distances: NDArray[np.float64]
    """(n,) Euclidean distance to it."""

    @property
    def radius(self) -> float:
        """The greatest distance; 0 for an empty pool."""
        return float(self.distances.max(initial=0))


def covering(
    embeddings: NDArray[np.floating], centres: NDArray[np.floating], *, progress: Progress = silent
) -> Covering:
    """Covering of (n, d) embeddings by (m, d) centres, m >= 1, through all n m pairs. O(n m d).

    Blocks of both go through one matrix product in fp32, which finds the nearest; its distance is then computed from
    the difference in float64, so that the radius has none of the product's cancellation. Embeddings may be mapped, in
    fp32 or fp16; they are read once. Raises ValueError without centres, or where the dimensions differ.
    """
    if np.ndim(embeddings) != 2 or np.ndim(centres) != 2 or not len(centres) or embeddings.shape[1] != centres.shape[1]:
        raise ValueError(f"shapes must be (n, d) and (m >= 1, d), not {np.shape(embeddings)} and {np.shape(centres)}")
    points, known = Vectors(np.asarray(embeddings)), Vectors(np.asarray(centres))
    nearest = np.zeros(len(points), dtype=np.int64)
    distances = np.zeros(len(points))
    centre_squares = known.squares()
    for rows in points.blocks(beside=len(known)):
        part = points[rows]
        nearest[rows] = _nearest(part, known, centre_squares)
        apart = part.astype(np.float64) - np.asarray(centres)[nearest[rows]]
        distances[rows] = np.sqrt(np.einsum("nd,nd->n", apart, apart))
        progress(rows.stop, len(points))
    return Covering(nearest, distances)


def _nearest(part: NDArray[np.float32], centres: Vectors, squares: NDArray[np.float32]) -> NDArray[np.int64]:
    """(b,) row of the nearest centre; |c|^2 - 2 x c orders them as the distance does."""
    best, found = np.full(len(part), np.inf, dtype=np.float32), np.zeros(len(part), dtype=np.int64)
    for start in range(0, len(centres), _CENTRES):
        some = slice(start, start + _CENTRES)
        order = squares[some] - 2 * (part @ centres[some].T)
        column = order.argmin(axis=1)
        least = order[np.arange(len(part)), column]
        found = np.where(least < best, start + column, found)
        best = np.minimum(best, least)
    return found
