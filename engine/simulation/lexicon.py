"""Nouns and stock phrases, and how they are found in text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from engine.errors import BadInput

PRONOUNS = {"he": "PRON1", "she": "PRON1", "his": "PRON2", "him": "PRON2", "her": "PRON2"}
GENDER_OF = {"he": "m", "his": "m", "him": "m", "she": "f", "her": "f"}

_tokens_of = re.compile(r"[a-z]+|'s\b|[^\sa-z]").findall


class Noun:
    """One thing or being; compared by identity, since each exists once."""

    __slots__ = ("a", "gender", "harm", "kind", "living", "the")

    def __init__(self, word: str, kind: str, spec: Mapping[str, Any]) -> None:
        article = spec["article"]
        self.kind = kind
        self.living: bool = spec.get("living", False)
        self.harm: str | None = spec.get("harm")
        self.gender: str = spec.get("gender", "n")
        self.the = word if article == "none" else f"the {word}"
        self.a = self.the if article != "a" else f"{'an' if word[0] in 'aeiou' else 'a'} {word}"

    def __repr__(self) -> str:
        return f"Noun({self.the!r}, {self.kind!r})"


class Skeleton(NamedTuple):
    """A sentence's tokens with nouns, pronouns and stock phrases replaced by marks, and what was replaced."""

    key: str
    nouns: tuple[Noun, ...]
    genders: tuple[str, ...]


class Lexicon:
    """Finds nouns and stock phrases in text: the longest first."""

    def __init__(self, nouns: Iterable[Noun], phrases: Mapping[str, Sequence[str]]) -> None:
        self._by_first: dict[str, list[tuple[list[str], str, Noun | None]]] = {}
        for noun in nouns:
            for form in {noun.a, noun.the}:
                self._add(form, "NOUN", noun)
        for slot, entries in phrases.items():
            for entry in entries:
                self._add(entry, slot.upper(), None)
        for entries_of_word in self._by_first.values():
            entries_of_word.sort(key=lambda entry: -len(entry[0]))

    def _add(self, form: str, mark: str, noun: Noun | None) -> None:
        words = _tokens_of(form.lower())
        entries = self._by_first.setdefault(words[0], [])
        if any(other == words for other, _, _ in entries):
            raise BadInput(f"{form!r} is there twice", where="grammar")
        entries.append((words, mark, noun))

    def skeleton(self, text: str) -> Skeleton:
        """The skeleton of one sentence. O(tokens)."""
        tokens = _tokens_of(text.lower())
        marks: list[str] = []
        nouns: list[Noun] = []
        genders: list[str] = []
        at, by_first = 0, self._by_first
        while at < len(tokens):
            token = tokens[at]
            for words, mark, noun in by_first.get(token, ()):
                if len(words) == 1 or tokens[at : at + len(words)] == words:
                    marks.append(mark)
                    if noun is not None:
                        nouns.append(noun)
                    at += len(words)
                    break
            else:
                if token in PRONOUNS:
                    genders.append(GENDER_OF[token])
                    token = PRONOUNS[token]
                marks.append(token)
                at += 1
        return Skeleton(" ".join(marks), tuple(nouns), tuple(genders))
