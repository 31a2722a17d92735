"""Frames into sentences: who and what stands in them, and in which words they are told."""

from __future__ import annotations

from collections.abc import Mapping

from engine.simulation.chance import Chance, Weighted
from engine.simulation.grammar import PHRASE_SLOTS, Frame, Grammar, Wording
from engine.simulation.lexicon import Noun
from engine.simulation.reading import Told

_PRONOUNS = {
    "m": {"he": "he", "his": "his", "him": "him"},
    "f": {"he": "she", "his": "her", "him": "her"},
}


class Cast:
    """Who and what a scene's slots stand for; a slot that is asked for first is filled by chance."""

    def __init__(self, known: Grammar, chance: Chance, bound: Mapping[str, Noun] | None = None) -> None:
        self._known = known
        self._chance = chance
        self._bound = dict(bound or {})

    def bind(self, kinds: Mapping[str, Weighted[str]]) -> None:
        """Fill these slots with nouns of these kinds."""
        for slot, kinds_of_slot in kinds.items():
            self._bound[slot] = self.new(kinds_of_slot.pick(self._chance))

    def new(self, kind: str) -> Noun:
        """A noun of that kind that is nobody else in the cast."""
        nouns = self._known.kinds[kind]
        noun = nouns.pick(self._chance)
        while noun in self._bound.values():
            noun = nouns.pick(self._chance)
        return noun

    def __getitem__(self, slot: str) -> Noun:
        if slot not in self._bound:
            self._bound[slot] = self.new(self._known.slot_kinds[slot].pick(self._chance))
        return self._bound[slot]


def tell(wording: Wording, frame: Frame, cast: Cast, chance: Chance, known: Grammar) -> tuple[str, Told]:
    """One sentence and what it says. O(words)."""
    parts = list(wording.pieces)
    for position in range(1, len(parts), 2):
        slot = parts[position]
        if slot in PHRASE_SLOTS:
            parts[position] = known.phrases[slot].pick(chance)
            continue
        letter, _, form = slot.partition(".")
        noun = cast[letter]
        if form in ("he", "his", "him"):
            parts[position] = _PRONOUNS[noun.gender][form]
        else:
            parts[position] = noun.a if letter in "TKX" and form != "the" else noun.the
    sentence = "".join(parts)
    told = Told(
        frame,
        wording,
        {letter: cast[letter] for letter in wording.nouns},
        {letter: cast[letter].gender for letter in wording.pronouns},
    )
    return capitalised(sentence), told


def capitalised(sentence: str) -> str:
    """The sentence with its first letter made large, after any quotation mark."""
    for position, letter in enumerate(sentence):
        if letter.isalpha():
            return sentence[:position] + letter.upper() + sentence[position + 1 :]
    return sentence
