"""BADGE: snippets whose gradients at the classifier's last layer are long and point different ways."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from engine.progress import Progress, silent
from engine.query_strategies.checks import checked_pool
from engine.query_strategies.seeding import Seeding
from engine.query_strategies.vectors import Vectors


def badge(
    embeddings: NDArray[np.floating],
    values: NDArray[np.floating],
    labelled: NDArray[np.floating],
    k: int,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> NDArray[np.int64]:
    """(min(k, n),) indices by k-means++ over gradient embeddings, the longest first (Ash et al., 1906.03671).

    With two classes the gradient of features h and the likelier label is (p - yhat) h, once a class with opposite
    signs. Its length, |p - yhat| |h|, is read off the value. Where values are negative they are distances of logits, as
    `margin` and `near_threshold` give: |p - yhat| = 1 / (1 + e^-value), with `margin` the paper's own, with
    `near_threshold` that of a classifier recentred at its threshold. Where none is negative (`expected_change`,
    `entropy`) they are lengths as they stand. Two departures: the embeddings serve as features, and the sign is not
    known, so that like snippets on two sides of the boundary count as alike. As in the paper, `labelled` decides
    nothing: gradients there are small. O(k n d) at worst.
    """
    pool = checked_pool(embeddings, values, labelled, k)
    if pool.k == 0:
        return np.zeros(0, dtype=np.int64)
    lengths = expit(pool.values) if pool.values.min() < 0 else pool.values
    vectors = Vectors(pool.embeddings, lengths.astype(np.float32))
    seeding = Seeding(vectors, pool.labelled[:0], seed, alive=lambda: progress(0, pool.k))
    norms = vectors.squares()
    longest = np.flatnonzero(norms == norms.max())
    chosen = [seeding.take(int(np.random.default_rng([seed, 0x626164]).choice(longest)))]
    progress(1, pool.k)
    while len(chosen) < pool.k:
        chosen.append(seeding.draw())
        progress(len(chosen), pool.k)
    return np.array(chosen, dtype=np.int64)
