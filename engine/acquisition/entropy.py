"""Snippets whose class the classifier finds most uncertain, in nats."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from engine.acquisition.base import Opinions


def entropy(opinions: Opinions, *, seed: int = 0) -> NDArray[np.float64]:
    """(n,) -p ln p - (1 - p) ln(1 - p), from 0 to ln 2, whatever the threshold (Shannon 1948). O(n).

    Of the logit z it is ln(1 + e^-|z|) + |z| / (1 + e^|z|): exact to the last digits as far as |z| = 700, where p
    itself would have rounded at 37. With two classes it orders snippets as `margin` does.
    """
    distance = np.abs(opinions.logits)
    return np.asarray(np.log1p(np.exp(-distance)) + distance * expit(-distance), dtype=np.float64)
