"""Vectors on a plane, to look at."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA


class Plane(NamedTuple):
    """Points on a plane, and how much of the vectors they show."""

    points: NDArray[np.float32]
    """(n, 2)"""
    shown: float
    """The share of the variance that lies in the plane, in [0, 1]."""


def on_plane(vectors: NDArray[np.floating]) -> Plane:
    """(n, d) rows along the two directions in which they differ most (principal components).

    The same rows give the same points. Rows that are all alike lie in one point, of which the plane shows nothing.
    O(n d^2).
    """
    rows = np.asarray(vectors, dtype=np.float32)
    if len(rows) < 2 or not np.ptp(rows, axis=0).any():
        return Plane(np.zeros((len(rows), 2), dtype=np.float32), 0.0)
    parts = min(2, *rows.shape)
    found = PCA(n_components=parts, svd_solver="covariance_eigh" if len(rows) >= rows.shape[1] else "full").fit(rows)
    points = np.zeros((len(rows), 2), dtype=np.float32)
    points[:, :parts] = found.transform(rows)
    return Plane(points, float(found.explained_variance_ratio_.sum()))
