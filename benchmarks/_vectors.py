"""Seeded vectors that stand in for text embeddings where the number of texts would be out of reach."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from engine.embeddings.vectors import unit_rows

CLUSTERS = 2_000
_BLOCK = 1 << 16


def clustered(n: int, dimension: int, *, seed: int) -> NDArray[np.float32]:
    """(n, dimension) unit rows; see `clustered_blocks`."""
    return np.concatenate(list(clustered_blocks(n, dimension, seed=seed)))


def clustered_blocks(n: int, dimension: int, *, seed: int, unseen: int = 0) -> Iterator[NDArray[np.float32]]:
    """Unit rows in blocks: 2,000 clusters of sizes by Zipf's law, the same for every seed, wide ones and narrow ones.

    As with sentence encoders variance falls along the axes, and a point's own part is a third as long as its cluster's
    or as long. `unseen` leaves out every so-manieth cluster, as those who labelled before a new attack had not seen it.
    """
    scale = (np.arange(1, dimension + 1) ** -0.25).astype(np.float32)
    fixed = np.random.default_rng(0)
    centres = unit_rows(fixed.standard_normal((CLUSTERS, dimension), dtype=np.float32) * scale)
    width = fixed.uniform(0.33, 1.0, CLUSTERS).astype(np.float32)
    shares = 1 / (np.arange(CLUSTERS) + 10.0)
    if unseen:
        shares[unseen - 1 :: unseen] = 0
    rng = np.random.default_rng([seed, n])
    for start in range(0, n, _BLOCK):
        size = min(_BLOCK, n - start)
        which = rng.choice(CLUSTERS, size, p=shares / shares.sum())
        own = unit_rows(rng.standard_normal((size, dimension), dtype=np.float32) * scale)
        yield unit_rows(centres[which] + own * width[which, None])
