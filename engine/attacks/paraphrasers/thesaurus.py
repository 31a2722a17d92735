"""Where a text can be reworded word by word, and with what: the thesaurus applied with its inflections."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Literal, NamedTuple

from engine.attacks.paraphrasers.inflection import VerbForms, article_for, plural, verb_forms
from engine.attacks.paraphrasers.word_lists import lines, lists

Kind = Literal["verb", "noun", "adjective", "adverb", "function"]

_KEYS: dict[Kind, str] = {
    "adjective": "adjectives",
    "adverb": "adverbs",
    "function": "function_words",
    "verb": "verbs",
    "noun": "nouns",
}
"""In the order in which a word that could be several is tried."""
WORD = re.compile(r"[A-Za-z]+(?:['\u2019-][A-Za-z]+)*")
DETERMINERS = frozenset({"the", "a", "an", "his", "her", "their", "my", "our", "your", "its", "this", "that", "these"})
DETERMINERS |= {"those", "every", "each", "some", "any", "no", "one", "two", "three", "four", "five", "six", "seven"}
DETERMINERS |= {"many", "several", "few", "both", "all", "another", "other", "such", "what", "which", "whose", "of"}
_BE = frozenset({"be", "been", "being", "is", "are", "was", "were", "am"})
_HAVE = frozenset({"have", "has", "had", "having"})
_BASE_AFTER = frozenset({"to", "will", "would", "could", "can", "should", "must", "may", "might", "did", "do", "does"})
_BASE_AFTER |= {"shall", "not", "let", "didn't", "don't", "i", "you", "we", "they"}


class Slot(NamedTuple):
    """`text[start:end]` may be replaced by any of `options`, the best first."""

    start: int
    end: int
    options: tuple[str, ...]


class _Entry(NamedTuple):
    kind: Kind
    tags: frozenset[str]
    """Inflections this surface form may be: base, third, past, participle, ing; one, many; plain."""
    replacements: tuple[str, ...]
    """Base forms; underscores for spaces."""
    wanted: frozenset[str]
    """Words one of which must follow, if any."""
    barred: frozenset[str]
    """Words that must not follow."""
    barred_before: frozenset[str]


def slots(text: str) -> list[Slot]:
    """All places where the thesaurus has something to offer for `text`; phrases first, none overlapping. O(words)."""
    found = list(_phrase_slots(text))
    taken = [(s.start, s.end) for s in found]
    tokens = list(WORD.finditer(text))
    for i, token in enumerate(tokens):
        if any(start < token.end() and token.start() < end for start, end in taken):
            continue
        slot = _word_slot(text, tokens, i)
        if slot is not None:
            found.append(slot)
    return sorted(found)


def with_article(text: str, slot: Slot) -> Slot:
    """`slot` widened to an article before it, with the article made to fit each option."""
    before = re.search(r"\b([Aa])n?\s$", text[: slot.start])
    if before is None:
        return slot
    letter = before.group(1)
    fitted = tuple(f"{letter}{article_for(option)[1:]} {option}" for option in slot.options)
    return Slot(before.start(), slot.end, fitted)


def _phrase_slots(text: str) -> Iterator[Slot]:
    for match in _phrase_pattern().finditer(text):
        options = _phrases()[match.group().lower()]
        yield Slot(match.start(), match.end(), tuple(_as(match.group(), option) for option in options))


def _word_slot(text: str, tokens: Sequence[re.Match[str]], i: int) -> Slot | None:
    token = tokens[i]
    word = token.group()
    glued = i > 0 and text[tokens[i - 1].end() : token.start()].isspace()
    if word[0].isupper() and (glued or word[1:] != word[1:].lower()):
        return None
    before = [t.group().lower() for t in tokens[max(0, i - 3) : i]] if glued else []
    follows = i + 1 < len(tokens) and text[token.end() : tokens[i + 1].start()].isspace()
    after = tokens[i + 1].group().lower() if follows else ""
    near = {t.group().lower() for t in tokens[max(0, i - 4) : i + 5]}
    for entry in _lookup().get(word.lower(), ()):
        tag = _tag(entry, before)
        if tag is None or (entry.wanted and after not in entry.wanted) or after in entry.barred:
            continue
        if entry.barred_before & set(before[-1:]):
            continue
        options = [_inflect(base, entry.kind, tag) for base in entry.replacements]
        options = [o.replace("_", " ") for o in options if o not in near]
        if options:
            slot = Slot(token.start(), token.end(), tuple(_as(word, o) for o in options))
            return with_article(text, slot)
    return None


def _tag(entry: _Entry, before: Sequence[str]) -> str | None:
    """The inflection the word has in this place; None when it is not of the entry's kind there."""
    last = before[-1] if before else ""
    in_noun_place = bool(DETERMINERS & set(before[-2:])) and last not in _BE | _HAVE
    if entry.kind == "noun":
        return next(iter(entry.tags)) if in_noun_place and last not in _BASE_AFTER else None
    if entry.kind != "verb":
        return "plain"
    if last in DETERMINERS:
        return None
    if "ing" in entry.tags or "third" in entry.tags:
        return next(iter(entry.tags)) if not in_noun_place else None
    if "base" in entry.tags and last in _BASE_AFTER:
        return "base"
    if "participle" in entry.tags and (_BE | _HAVE) & set(before[-2:]):
        return "participle"
    return "past" if "past" in entry.tags else None


def _inflect(base: str, kind: Kind, tag: str) -> str:
    if kind == "verb":
        return str(getattr(verb_forms(base), tag))
    return plural(base) if tag == "many" else base


def _as(model: str, word: str) -> str:
    """`word` with a capital where `model` has one."""
    return word[0].upper() + word[1:] if model[0].isupper() and model != "I" and not model.startswith("I'") else word


@cache
def _lookup() -> dict[str, list[_Entry]]:
    """Surface form -> entries, in the order of the thesaurus."""
    table: dict[str, list[_Entry]] = {}
    for kind, key in _KEYS.items():
        for line in lines(key):
            (head, *replacements), conditions = _parse(line)
            for form, tags in _forms(head, kind).items():
                entry = _Entry(kind, tags, tuple(replacements), *conditions)
                table.setdefault(form, []).append(entry)
    return table


def _parse(line: str) -> tuple[list[str], list[frozenset[str]]]:
    """The words of a line, and those wanted after, barred after and barred before them."""
    group, *conditions = (part.strip() for part in line.split("|"))
    found = {condition[0]: frozenset(condition[1:].split()) for condition in conditions}
    return group.split(), [found.get(mark, frozenset()) for mark in "+-<"]


def _forms(head: str, kind: Kind) -> dict[str, frozenset[str]]:
    if kind == "verb":
        forms = verb_forms(head)
        tags: dict[str, set[str]] = {}
        for tag, form in zip(VerbForms._fields, forms, strict=True):
            tags.setdefault(form, set()).add(tag)
        return {form: frozenset(found) for form, found in tags.items()}
    if kind == "noun":
        return {plural(head): frozenset({"many"}), head: frozenset({"one"})}
    return {head: frozenset({"plain"})}


@cache
def _phrases() -> dict[str, tuple[str, ...]]:
    return {phrase.lower(): options for phrase, options in lists("phrases").items()}


@cache
def _phrase_pattern() -> re.Pattern[str]:
    longest_first = sorted(_phrases(), key=len, reverse=True)
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, longest_first))})\b", re.IGNORECASE)
