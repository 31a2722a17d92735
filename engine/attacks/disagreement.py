"""Where two classifiers disagree: what the attacked one accepts and another rejects is worth a look (paper, A.5)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def disagreement(
    attacked: ArrayLike, attacked_cutoff: float | np.float32, other: ArrayLike, other_cutoff: float | np.float32
) -> NDArray[np.float32]:
    """(n,) how much more of a failure the other classifier holds each snippet than the attacked one does: its margin
    less the attacked one's, each counted from its own threshold, as two margins of 0.5 need not mean the same.

    `attacked`, `other`: (n,) margins; the cutoffs are the thresholds' margins. Ranks candidates: the higher, the more
    likely a failure that only the attacked classifier misses (methods F.3). O(n).
    """
    mine = np.asarray(attacked, dtype=np.float32) - np.float32(attacked_cutoff)
    theirs = np.asarray(other, dtype=np.float32) - np.float32(other_cutoff)
    return theirs - mine
