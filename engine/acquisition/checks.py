"""What every acquisition function asks of its input."""

from __future__ import annotations

import math

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


def finite_logit(threshold: float) -> float:
    """The logit of a threshold in [0, 1]; of 0 and 1 that of the nearest one that fp32 can tell from it."""
    inside = min(max(threshold, 1e-38), 1 - 2.0**-24)
    return math.log(inside) - math.log1p(-inside)
