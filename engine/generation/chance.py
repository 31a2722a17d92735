"""Chance that depends on a seed and on what is drawn for, not on the order or the batch it is drawn in."""

from __future__ import annotations

import hashlib

import numpy as np


def rng(seed: int, *keys: str | int) -> np.random.Generator:
    """A generator of its own for `seed` and these keys; the same on every machine. Costs about 15 microseconds."""
    return np.random.default_rng([seed, *(key if isinstance(key, int) else _number(key) for key in keys)])


def child_seed(seed: int, *keys: str | int) -> int:
    """A seed in [0, 2^31) for the part of the work that these keys name."""
    return int(rng(seed, *keys).integers(2**31))


def _number(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")
