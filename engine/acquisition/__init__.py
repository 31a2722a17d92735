"""Acquisition functions: how much each snippet is worth a label. One a file; a new one is one line in ACQUISITION."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engine.acquisition.near_threshold import near_threshold
from engine.acquisition.random_order import random_order
from engine.errors import UnknownName


class Acquisition(Protocol):
    """Logits (n,) and the threshold in [0, 1] -> values (n,), higher = label sooner; chance by `seed` alone."""

    def __call__(self, logits: NDArray[np.floating], threshold: float, *, seed: int = 0) -> NDArray[np.float64]: ...


ACQUISITION: dict[str, Acquisition] = {
    "near_threshold": near_threshold,
    "random": random_order,
}


def acquisition(name: str) -> Acquisition:
    """The acquisition function of that name. Raises UnknownName listing those there are."""
    if name not in ACQUISITION:
        raise UnknownName("acquisition function", name, ACQUISITION)
    return ACQUISITION[name]
