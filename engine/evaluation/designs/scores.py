"""The sampling score: how likely each output of the pool is a failure, by what is known before labels are bought."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from engine.evaluation.designs.base import Floats, OutputPool

LEAST = 1e-12
"""A chance below this, or above 1 less this, is taken as this: nothing is certain before it is labelled."""


def second_adds(pool: OutputPool) -> bool:
    """Whether there is a second opinion that is not the first again, up to scale and shift. O(n)."""
    if pool.second is None or np.array_equal(pool.second, pool.logits):
        return False
    first, second = finite_logits(pool.logits), finite_logits(pool.second)
    if np.ptp(second) == 0:
        return False
    return bool(np.ptp(first) == 0 or np.corrcoef(first, second)[0, 1] < 1 - 1e-6)


def sampling_score(pool: OutputPool) -> Floats:
    """(n,) in (0, 1): the pool's fitted chances; without any, by the mean of the two logits, or the only one. O(n).

    The mean is flatter than what two independent opinions would say together, so that it promises less.
    """
    if pool.chances is not None:
        return np.clip(pool.chances.astype(np.float64), LEAST, 1 - LEAST)
    logits = finite_logits(pool.logits)
    if pool.second is not None and second_adds(pool):
        logits = (logits + finite_logits(pool.second)) / 2
    return np.clip(np.asarray(expit(logits), dtype=np.float64), LEAST, 1 - LEAST)


def finite_logits(logits: NDArray[np.float32]) -> Floats:
    """Within +-40, beyond which a probability is 0 or 1 in double precision. O(n)."""
    return np.clip(logits.astype(np.float64), -40, 40)
