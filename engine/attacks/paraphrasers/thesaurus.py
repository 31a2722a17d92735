"""Where a text can be reworded word by word, and with what: the thesaurus applied with its inflections."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Literal, NamedTuple

from engine.attacks.paraphrasers.inflection import VerbForms, article_for, plural, verb_forms
from engine.attacks.paraphrasers.neighbours import inflection
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


def slots(text: str, other: Callable[[str], Sequence[str]]) -> list[Slot]:
    """All places where `text` can be reworded, none overlapping: by phrases, by words, then by `other`. O(words).

    `other` gives replacements, in the same inflection, of lower-case words the thesaurus does not have.
    """
    found = list(_phrase_slots(text))
    taken = [(s.start, s.end) for s in found]
    tokens = list(WORD.finditer(text))
    for i, token in enumerate(tokens):
        if any(start < token.end() and token.start() < end for start, end in taken):
            continue
        slot = _word_slot(text, tokens, i, other)
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
        if text[match.end() : match.end() + 1] != " ":
            # "that is what I am" takes no contraction.
            options = tuple(option for option in options if "'" not in option)
        if options:
            yield Slot(match.start(), match.end(), tuple(_as(match.group(), option) for option in options))


class _Place(NamedTuple):
    """A word and its surroundings, lower case."""

    word: str
    before: list[str]
    after: str
    near: frozenset[str]


def _word_slot(
    text: str, tokens: Sequence[re.Match[str]], i: int, other: Callable[[str], Sequence[str]]
) -> Slot | None:
    token = tokens[i]
    word = token.group()
    glued = i > 0 and text[tokens[i - 1].end() : token.start()].isspace()
    if word[0].isupper() and (glued or word[1:] != word[1:].lower()):
        return None
    follows = i + 1 < len(tokens) and text[token.end() : tokens[i + 1].start()].isspace()
    place = _Place(
        word.lower(),
        [t.group().lower() for t in tokens[max(0, i - 3) : i]] if glued else [],
        tokens[i + 1].group().lower() if follows else "",
        frozenset(t.group().lower() for t in tokens[max(0, i - 4) : i + 5]),
    )
    entries = _lookup().get(place.word)
    options = _from_thesaurus(place, entries) if entries else _from_other(place, other)
    options = [option for option in options if option not in place.near]
    if not options:
        return None
    return with_article(text, Slot(token.start(), token.end(), tuple(_as(word, option) for option in options)))


def _from_thesaurus(place: _Place, entries: Sequence[_Entry]) -> list[str]:
    for entry in entries:
        tag = _tag(entry.kind, entry.tags, place.before)
        wanted = not entry.wanted or place.after in entry.wanted
        barred = place.after in entry.barred or bool(entry.barred_before & set(place.before[-1:]))
        if tag is not None and wanted and not barred:
            return [_inflect(base, entry.kind, tag).replace("_", " ") for base in entry.replacements]
    return []


def _from_other(place: _Place, other: Callable[[str], Sequence[str]]) -> list[str]:
    """Only where the words before say that it is a noun, or a verb in the past."""
    ending = inflection(place.word)
    kinds: dict[str, tuple[Kind, str]] = {"": ("noun", "one"), "s": ("noun", "many"), "ed": ("verb", "past")}
    if ending not in kinds or place.word in DETERMINERS | _BASE_AFTER:
        return []
    kind, tag = kinds[ending]
    return list(other(place.word)) if _tag(kind, frozenset({tag}), place.before) else []


def _tag(kind: Kind, tags: frozenset[str], before: Sequence[str]) -> str | None:
    """Which of the inflections a word has in this place; None when it is not of this kind there."""
    last = before[-1] if before else ""
    in_noun_place = bool(DETERMINERS & set(before[-2:])) and last not in _BE | _HAVE
    if kind == "noun":
        return next(iter(tags)) if in_noun_place and last not in _BASE_AFTER else None
    if kind != "verb":
        return "plain"
    if last in DETERMINERS:
        return None
    if "ing" in tags or "third" in tags:
        return next(iter(tags)) if not in_noun_place else None
    if "base" in tags and last in _BASE_AFTER:
        return "base"
    if "participle" in tags and (_BE | _HAVE) & set(before[-2:]):
        return "participle"
    return "past" if "past" in tags else None


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
