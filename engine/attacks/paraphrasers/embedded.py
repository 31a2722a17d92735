"""The paraphraser that needs no service: new names, near-synonyms, clauses in another order.

It rewords any English text by rules and word lists. Most of what it makes keeps its meaning and reads as English; not
all of it does, which is why people label every paraphrase.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from engine.attacks.paraphrasers.clauses import reworded
from engine.attacks.paraphrasers.neighbours import fitting
from engine.attacks.paraphrasers.thesaurus import Slot, slots
from engine.generation.chance import rng
from engine.generation.name_lists import GENDERS, TITLES
from engine.generation.names import people, swap
from engine.snippets import Snippet

_NEW_NAMES = {
    gender: tuple(name for name, g in GENDERS.items() if g == gender and name not in {"Milady", "Porthos"})
    for gender in ("f", "m")
}
_SENTENCE_END = re.compile(r"(?<=\.)\s+|(?<=\.[\"\u201d'])\s+")
_NEITHER = ("Robin", "Kay", "Sasha", "Kim", "Jules", "Quinn", "Rowan", "Morgan", "Alex", "Remy")


class EmbeddedSettings(BaseModel):
    """How far a paraphrase goes from its seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rename: float = Field(0.9, ge=0, le=1)
    """Chance that a paraphrase renames its people."""
    reword: tuple[float, float] = (0.35, 0.9)
    """Share of the words with synonyms that are replaced, drawn anew for each paraphrase between these."""
    neighbours: bool = True
    """Also replace words the thesaurus does not have, by their neighbours among MiniLM's word embeddings."""
    reorder: float = Field(0.5, ge=0, le=1)
    """Chance of each sentence that can be turned to be turned."""


@dataclass(frozen=True, slots=True)
class EmbeddedParaphraser:
    """Rewords by rules. Stateless, but for the word embeddings read on first use."""

    settings: EmbeddedSettings = field(default_factory=EmbeddedSettings)

    def paraphrase(self, snippet: Snippet, n: int, *, seed: int) -> list[Snippet]:
        """`n` rewordings, the same for the same seed. Fewer than `n` distinct where the text gives little hold."""
        chance = rng(seed, "embedded", snippet.content_hash)
        rewriter = _Rewriter(snippet, self.settings)
        return [rewriter.draw(chance) for _ in range(n)]


class _Rewriter:
    """One snippet's sentences, how each can be turned, and where each turn can be reworded; looked up once."""

    def __init__(self, snippet: Snippet, settings: EmbeddedSettings) -> None:
        self._settings = settings
        self._parts = [_sentences(part) for part in (snippet.prompt, snippet.completion)]
        self._turns = {s: reworded(s) if whole else [] for part in self._parts for s, whole in _whole(part)}
        self._other = fitting(snippet.text) if settings.neighbours else _nothing
        self._slots: dict[str, list[Slot]] = {}

    def draw(self, chance: np.random.Generator) -> Snippet:
        """One rewording."""
        rate = chance.uniform(*self._settings.reword)
        parts = [" ".join(self._sentence(s, rate, chance) for s in sentences) for sentences in self._parts]
        if chance.random() < self._settings.rename:
            parts = _rename(parts, chance)
        return Snippet(*parts)

    def _sentence(self, sentence: str, rate: float, chance: np.random.Generator) -> str:
        turns = self._turns[sentence]
        if turns and chance.random() < self._settings.reorder:
            sentence = turns[int(chance.integers(len(turns)))]
        if sentence not in self._slots:
            self._slots[sentence] = slots(sentence, self._other)
        return _replace(sentence, self._slots[sentence], rate, chance)


def _nothing(word: str) -> tuple[str, ...]:
    return ()


def _sentences(text: str) -> list[str]:
    """Pieces that end in a full stop with the quotation mark after it; the rest is the last piece."""
    return [piece for piece in _SENTENCE_END.split(text) if piece]


def _whole(sentences: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Each piece, and whether it is a sentence of its own, not cut by the full stop of a title."""
    cut = tuple(f"{title}." for title in TITLES)
    before = ""
    for sentence in sentences:
        yield sentence, not (before.endswith(cut) or sentence.endswith(cut))
        before = sentence


def _replace(text: str, offers: Sequence[Slot], rate: float, chance: np.random.Generator) -> str:
    """`text` with about `rate` of the slots filled, the first options more often."""
    for slot in reversed(offers):
        if chance.random() < rate:
            weights = 1 / np.arange(1, len(slot.options) + 1)
            option = slot.options[int(chance.choice(len(slot.options), p=weights / weights.sum()))]
            text = text[: slot.start] + option + text[slot.end :]
    return text


def _rename(parts: Sequence[str], chance: np.random.Generator) -> list[str]:
    """Each person of the snippet gets one new name in all parts."""
    whole = "\x1e".join(parts)
    persons = people(whole)
    taken = {word for p in persons for word in p.words}
    names: dict[str, str] = {}
    for person in persons:
        free = [n for n in _NEW_NAMES.get(person.gender, _NEITHER) if n not in taken]
        if free:
            names[person.name] = free[int(chance.integers(len(free)))]
            taken.add(names[person.name])
    return swap(whole, persons, names).split("\x1e")
