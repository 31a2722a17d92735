"""Repeating the rare class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def upsample(positive: Sequence[bool] | NDArray[np.bool_], *, cap: float, seed: int) -> NDArray[np.int64]:
    """Indices into `positive`, every negative once and every positive u = min(cap, negatives / positives) times.

    u is at least 1. Each positive comes floor(u) times and once more with probability u - floor(u), so that the
    expected number of positives is exact (paper, A.4). Ascending, shape (>= n,). O(n).
    """
    labels = np.asarray(positive, dtype=bool)
    positives = int(labels.sum())
    rate = max(1.0, min(cap, (len(labels) - positives) / positives)) if positives else 1.0
    copies = np.ones(len(labels), dtype=np.int64)
    extra = np.random.default_rng([seed, 1]).random(positives) < rate - int(rate)
    copies[labels] = int(rate) + extra
    return np.repeat(np.arange(len(labels), dtype=np.int64), copies)
