"""Whether a rewording is new beside its seed and those already kept."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engine.snippets import Snippet

_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")
GRAM = 5


def grams(text: str) -> frozenset[tuple[str, ...]]:
    """Word 5-grams of `text`, case folded; the whole text as one gram where it is shorter."""
    words = [word.casefold() for word in _WORD.findall(text)]
    return frozenset(tuple(words[i : i + GRAM]) for i in range(max(1, len(words) - GRAM + 1)))


def jaccard(a: frozenset[tuple[str, ...]], b: frozenset[tuple[str, ...]]) -> float:
    """Shared grams among all grams of both, in [0, 1]; 1 for two empty sets."""
    return len(a & b) / len(a | b) if a or b else 1.0


class _Limits(Protocol):
    @property
    def near_duplicate_jaccard(self) -> float: ...
    @property
    def near_duplicate_cosine(self) -> float | None: ...


class _Encoder(Protocol):
    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]: ...


class Novelty:
    """Remembers a seed and what was kept of it; tells whether a snippet is near any of them."""

    def __init__(self, seed: Snippet, limits: _Limits, encoder: _Encoder | None = None) -> None:
        self._limits = limits
        self._encoder = encoder
        self._grams = [grams(seed.text)]
        self._vectors: list[NDArray[np.float32]] = []
        if encoder is not None:
            self._vectors.append(encoder.encode([seed.text])[0])

    def is_new(self, snippet: Snippet) -> bool:
        """False when `snippet` is nearer than the limits to the seed or to any snippet added. O(added)."""
        mine = grams(snippet.text)
        if any(jaccard(mine, other) > self._limits.near_duplicate_jaccard for other in self._grams):
            return False
        if self._encoder is None or self._limits.near_duplicate_cosine is None:
            return True
        vector = self._encoder.encode([snippet.text])[0]
        return bool(np.max(np.stack(self._vectors) @ vector) <= self._limits.near_duplicate_cosine)

    def add(self, snippet: Snippet) -> None:
        """Later snippets must be new beside this one too."""
        self._grams.append(grams(snippet.text))
        if self._encoder is not None:
            self._vectors.append(self._encoder.encode([snippet.text])[0])
