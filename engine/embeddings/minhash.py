"""Near-duplicate texts by MinHash and banded look-up, in memory that does not grow.

MinHash: Broder 1997. A text's set is its word triples; two texts' similarity is the Jaccard index of their sets,
estimated from 128 minima with a standard error of at most 0.044. Banding (32 bands of 4) finds the candidates: it
misses a pair of similarity 0.7 once in 6,000 times, one of 0.5 once in 8. Every candidate is then checked on all 128.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.progress import Progress, silent

PERMUTATIONS: Final = 128
BANDS: Final = 32
SHINGLE: Final = 3
CAPACITY: Final = 1 << 17

_words = re.compile(r"\w+").findall
_MIX: Final = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], dtype=np.uint64)


class NearDuplicates:
    """Remembers texts and finds the one that a new text nearly repeats.

    The latest `capacity` texts are remembered, in about 0.8 KB each taken at once; older ones are slowly forgotten.
    """

    def __init__(self, *, threshold: float = 0.7, seed: int = 0, capacity: int = CAPACITY) -> None:
        """`threshold` in (0, 1]: the least similarity that makes a near-duplicate."""
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold must lie in (0, 1], not {threshold}")
        self.threshold = threshold
        self.capacity = max(1, capacity)
        rng = np.random.default_rng([seed, 0x6D68])
        self._factors = rng.integers(0, 2**63, (PERMUTATIONS, 1), dtype=np.uint64) * np.uint64(2) + np.uint64(1)
        self._offsets = rng.integers(0, 2**63, (PERMUTATIONS, 1), dtype=np.uint64)
        self._band_mix = rng.integers(0, 2**63, (PERMUTATIONS // BANDS,), dtype=np.uint64) * np.uint64(2) + np.uint64(1)
        slots = 1 << (2 * self.capacity - 1).bit_length()
        self._shift = np.uint64(64 - slots.bit_length() + 1)
        self._bands = np.arange(BANDS)
        # Zero means empty, so entries are one more than the text's number; zeroed pages cost nothing until touched.
        self._table = np.zeros((BANDS, slots), dtype=np.uint32)
        self._signatures = np.zeros((self.capacity, PERMUTATIONS), dtype=np.uint32)
        self._seen = 0

    def signature(self, text: str) -> NDArray[np.uint32]:
        """(128,) minima of the text's hashed word triples. O(128 words)."""
        mixed = self._factors * shingle_hashes(text) + self._offsets
        return np.asarray(mixed.min(axis=1) >> np.uint64(32), dtype=np.uint32)

    def add(self, text: str) -> int | None:
        """Number of the remembered text that `text` nearly repeats, the earliest if several; else None.

        Numbers count the texts that were remembered, from 0: a text is remembered when it repeats none.
        """
        signature = self.signature(text)
        # Adding with carries lost is fine: this only spreads the bands' four minima over the slots.
        mixed = (signature.reshape(BANDS, -1).astype(np.uint64) * self._band_mix).sum(axis=1, dtype=np.uint64)
        slots = ((mixed * _MIX[0]) >> self._shift).astype(np.int64)
        found = self._table[self._bands, slots].astype(np.int64)
        candidates = np.unique(found[found > max(0, self._seen - self.capacity)]) - 1
        if candidates.size:
            equal = (self._signatures[candidates % self.capacity] == signature).mean(axis=1)
            similar = candidates[equal >= self.threshold]
            if similar.size:
                return int(similar[0])
        self._signatures[self._seen % self.capacity] = signature
        self._seen += 1
        self._table[self._bands, slots] = self._seen
        return None


def shingle_hashes(text: str) -> NDArray[np.uint64]:
    """Hashes of the text's word triples in any case, the same on every machine; of all its words if it has fewer."""
    words = [zlib.crc32(word.encode()) for word in _words(text.lower())]
    words += [0] * (SHINGLE - len(words))
    codes = np.array(words, dtype=np.uint64)
    mixed = sum((codes[i : codes.size - SHINGLE + 1 + i] * _MIX[i] for i in range(SHINGLE)), np.uint64(0))
    return np.asarray((mixed ^ (mixed >> np.uint64(29))) * _MIX[1])


def near_duplicates(
    texts: Sequence[str], *, threshold: float = 0.7, seed: int = 0, progress: Progress = silent
) -> NDArray[np.int64]:
    """(n,) index of the first text of each text's group; its own where it nearly repeats none before it.

    A text joins the earliest group whose first text it resembles (word triples' Jaccard index at least `threshold`,
    in (0, 1]); texts that differ in case, punctuation and white space alone are alike. O(words).
    """
    seen = NearDuplicates(threshold=threshold, seed=seed, capacity=len(texts))
    leaders: list[int] = []
    first = np.arange(len(texts), dtype=np.int64)
    for i, text in enumerate(texts):
        repeated = seen.add(text)
        if repeated is None:
            leaders.append(i)
        else:
            first[i] = leaders[repeated]
        if i % 1000 == 999:
            progress(i + 1, len(texts))
    progress(len(texts), len(texts))
    return first
