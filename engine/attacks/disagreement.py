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
    likely a failure that only the attacked classifier misses (methods F.3). No verdict: it is as high where the other
    errs, which the paper met more often (A.5), so people still label. Raises ValueError for what is not finite or not
    of one length. O(n).
    """
    mine = np.asarray(attacked, dtype=np.float32) - np.float32(attacked_cutoff)
    theirs = np.asarray(other, dtype=np.float32) - np.float32(other_cutoff)
    if mine.shape != theirs.shape or mine.ndim != 1:
        raise ValueError(f"margins must be of shape (n,) twice, not {mine.shape} and {theirs.shape}")
    if not (np.isfinite(mine).all() and np.isfinite(theirs).all()):
        raise ValueError("margins and cutoffs must be finite")
    return theirs - mine
