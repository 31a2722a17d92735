"""Words and gaps of a text, and edits at them that read as if somebody had typed them."""

from __future__ import annotations

import re
from typing import NamedTuple

_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
"""Letters and digits of any script, held together by hyphens and apostrophes."""
_SENTENCE_END = re.compile(r"[.!?\u2026][\"'\u201d\u2019)\]]*\s+$")
_ARTICLE = re.compile(r"\b(an?)(\s+)$", re.IGNORECASE)
_SOUNDS_CONSONANT = re.compile(r"(?:eu|ewe|one(?!r)|once|uni(?!n|m)|use|usu|ubiq|uten|u[fs]o)", re.IGNORECASE)
"""Words that are written with a vowel first and take `a`."""
_SOUNDS_VOWEL = re.compile(r"(?:hour|honest|honou?r|heir)", re.IGNORECASE)


class Slot(NamedTuple):
    """A place in a text, in characters: a word, or, where `start` equals `end`, the gap before what stands there."""

    start: int
    end: int

    @property
    def is_gap(self) -> bool:
        """Whether something may be inserted here, and nothing stands here."""
        return self.start == self.end


def words(text: str) -> list[Slot]:
    """The words, in order; what lies between them (spaces, punctuation, emoji) is none. O(characters)."""
    return [Slot(*found.span()) for found in _WORD.finditer(text)]


def gaps(text: str) -> list[Slot]:
    """Where a word may be inserted: before each word that begins no sentence, and after the last. O(characters)."""
    found = words(text)
    inner = [Slot(word.start, word.start) for word in found if not begins_sentence(text, word.start)]
    return [*inner, Slot(found[-1].end, found[-1].end)] if found else []


def begins_sentence(text: str, at: int) -> bool:
    """Whether the character at `at` is the first of a sentence, opening quotes aside."""
    before = text[:at].rstrip("\"'\u201c\u2018([")
    return not before.strip() or bool(_SENTENCE_END.search(before))


def edited(text: str, slot: Slot, word: str) -> str:
    """`text` with `word` at `slot`: instead of the word there, or inserted; an empty word deletes what is there.

    The case follows what stood there, `a` and `an` follow the sound of the new word, and spaces stay single. The word
    that is there already changes nothing. O(characters).
    """
    there = text[slot.start : slot.end]
    if word == there:
        return text
    before, after = text[: slot.start], text[slot.end :]
    if not word:
        return _without(before, after)
    if slot.is_gap:
        spaced = f"{word} " if after[:1].isalnum() else f" {word}"
        return _article(before, word) + spaced + after
    word = _cased(word, there, first=begins_sentence(text, slot.start))
    return _article(before, word) + word + after


def _without(before: str, after: str) -> str:
    first = begins_sentence(before + "x", len(before))
    if after[:1].isspace():
        after = after.lstrip()
    else:
        before = before.rstrip() if before[-1:].isspace() and not after[:1].isalnum() else before
    if first:
        after = after[:1].upper() + after[1:]
    following = _WORD.match(after)
    return (_article(before, following.group()) if following else before) + after


def _cased(word: str, there: str, *, first: bool) -> str:
    if there.isupper() and len(there) > 1:
        return word.upper()
    if there[:1].isupper() and (first or not there.isupper()):
        return word[:1].upper() + word[1:]
    return word


def _article(before: str, word: str) -> str:
    """What stands before `word`, its indefinite article put right."""
    found = _ARTICLE.search(before)
    if not found or not word[:1].isalpha():
        return before
    article, space = found.groups()
    vowel = (word[0].lower() in "aeiou" and not _SOUNDS_CONSONANT.match(word)) or _SOUNDS_VOWEL.match(word)
    right = article[0] + ("n" if vowel else "")
    return before[: found.start()] + right + space
