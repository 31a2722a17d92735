"""Snippets whose score lies nearest the threshold come first."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from engine.acquisition.checks import checked_logits


def near_threshold(logits: NDArray[np.floating], threshold: float, *, seed: int = 0) -> NDArray[np.float64]:
    """(n,) -|logit - logit(threshold)| for (n,) logits and a threshold in [0, 1]; 0 at the threshold itself. O(n).

    At a threshold of 0.002 the usual uncertainty, nearness to a score of one half, would choose what is rejected
    beyond doubt. A threshold of 0 or 1 is taken as the nearest one that fp32 can tell from it.
    """
    logits = checked_logits(logits, threshold)
    inside = min(max(threshold, 1e-38), 1 - 2.0**-24)
    return -np.abs(logits - (math.log(inside) - math.log1p(-inside)))
