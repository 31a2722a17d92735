"""What every acquisition function asks of its input."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def checked_logits(logits: NDArray[np.floating], threshold: float) -> NDArray[np.float64]:
    """The logits as (n,) float64. Raises ValueError unless they are finite and the threshold lies in [0, 1]."""
    checked: NDArray[np.float64] = np.asarray(logits, dtype=np.float64)
    if checked.ndim != 1:
        raise ValueError(f"logits must have shape (n,), not {checked.shape}")
    if not np.isfinite(checked).all():
        raise ValueError("logits must be finite")
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold must lie in [0, 1], not {threshold}")
    return checked
