"""Snippets between whose two classes the classifier hardly tells: breaking ties, in logit space."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.acquisition.base import Opinions


def margin(opinions: Opinions, *, seed: int = 0) -> NDArray[np.float64]:
    """(n,) -|log p - log(1 - p)| = -|logit|, whatever the threshold (Luo et al. 2005, there as p - (1 - p)). O(n).

    In logits it keeps its order where probabilities have rounded to 0 or 1. The baseline of the literature: at a
    threshold far from one half it asks about what the classifier rejects anyway.
    """
    return -np.abs(opinions.logits)
