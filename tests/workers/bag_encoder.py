"""A sentence encoder for tests of what is done with vectors: words hashed into 16 numbers, in no time."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine.progress import Progress, silent

DIMENSION = 16


class BagEncoder:
    """Texts as unit vectors, the same for the same words. Remembers what it was given."""

    precision = "fp32"
    dimension = DIMENSION

    def __init__(self) -> None:
        self.given: list[str] = []

    def encode(self, texts: Sequence[str], *, progress: Progress = silent) -> NDArray[np.float32]:
        self.given += texts
        rows = np.zeros((len(texts), DIMENSION), dtype=np.float32)
        for place, text in enumerate(texts):
            progress(place, len(texts))
            for word in text.lower().split():
                rng = np.random.default_rng(zlib.crc32(word.encode()))
                rows[place] += rng.standard_normal(DIMENSION, dtype=np.float32)
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
