"""Snippets in random order: the baseline every acquisition function is held against."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.acquisition.base import Opinions


def random_order(opinions: Opinions, *, seed: int = 0) -> NDArray[np.float64]:
    """(n,) independent uniform values in [0, 1), by `seed` alone. O(n)."""
    return np.random.default_rng([seed, 0x616371]).random(opinions.logits.size)
