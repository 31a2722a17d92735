"""Snippets whose label is expected to move the classifier's last layer most."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from engine.acquisition.base import Opinions


def expected_change(opinions: Opinions, *, seed: int = 0) -> NDArray[np.float64]:
    """(n,) expected length of the gradient of the cross-entropy at a logistic layer. O(n h).

    The gradient of features h and label y is (p - y) (h, 1), the 1 being the bias's. Over y, drawn with probability p,
    |p - y| is 2 p (1 - p) on average, so the value is 2 p (1 - p) sqrt(|h|^2 + 1): expected gradient length (Settles,
    Craven and Ray 2007) in closed form. Without features only the bias counts. It ignores the threshold.
    """
    expected_error = 2 * expit(opinions.logits) * expit(-opinions.logits)
    if opinions.features is None:
        return np.asarray(expected_error, dtype=np.float64)
    squares = np.einsum("nh,nh->n", opinions.features, opinions.features, dtype=np.float64)
    return np.asarray(expected_error * np.sqrt(squares + 1), dtype=np.float64)
