"""The sampling score: how likely each output of the pool is a failure, by what is known before labels are bought."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from engine.errors import BadInput
from engine.evaluation.designs.base import Floats, OutputPool
from engine.evaluation.designs.logistic import fitted

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


def features_of(logits: NDArray[np.float32], second: NDArray[np.float32] | None) -> Floats:
    """(n, 1 or 2): the logits that there are, within +-40."""
    columns = [logits] if second is None else [logits, second]
    return np.column_stack([finite_logits(one) for one in columns])


def with_pilot(
    pool: OutputPool,
    logits: NDArray[np.float32],
    second: NDArray[np.float32] | None,
    failures: NDArray[np.bool_],
) -> OutputPool:
    """The pool with chances fitted to labelled snippets, (m,) each: any whose labels were not bought for their answer.

    Rejected ones teach too. Raises BadInput without failures and sound ones, and where the pilot has a second opinion
    and the pool none, or the reverse. O((m + n) d^2).
    """
    if (second is None) != (pool.second is None):
        raise BadInput("a second opinion must be of pilot and pool, or of neither", where="pilot")
    sizes = {logits.shape, failures.shape} | (set() if second is None else {second.shape})
    if len(sizes) != 1:
        raise BadInput(f"shapes differ: {sorted(sizes)}", where="pilot")
    model = fitted(features_of(logits, second), failures)
    return pool._replace(chances=model.chances(features_of(pool.logits, pool.second)))


def finite_logits(logits: NDArray[np.float32]) -> Floats:
    """Within +-40, beyond which a probability is 0 or 1 in double precision. O(n)."""
    return np.clip(logits.astype(np.float64), -40, 40)
