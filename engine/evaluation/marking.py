"""What changed between two texts, word by word, for people to read."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Literal, NamedTuple

from engine.snippets import Snippet

Kind = Literal["same", "deleted", "inserted"]
_TOKENS = re.compile(r"\s+|\w+(?:['\N{RIGHT SINGLE QUOTATION MARK}-]\w+)*|[^\w\s]")
_MOST_PAIRS = 20_000
"""Pairs of equal words to align: difflib takes cubic time where one word comes again and again."""
_JOINERS = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"
"""Invisible, but emoji and some scripts are written with them."""


class Span(NamedTuple):
    """A piece of text that both share, or that only the one before (deleted) or after (inserted) has."""

    kind: Kind
    text: str


class Beside(NamedTuple):
    """A find and its seed as they are shown: changes marked, or side by side where more is changed than not."""

    prompt: list[Span]
    completion: list[Span]
    apart: bool
    same_prompt: bool


def beside(seed: Snippet, find: Snippet) -> Beside:
    """What changed from a seed to what was found of it."""
    prompt, completion = marked(seed.prompt, find.prompt), marked(seed.completion, find.completion)
    apart = mostly_changed(prompt) or mostly_changed(completion)
    return Beside(prompt, completion, apart, seed.prompt == find.prompt)


def marked(before: str, after: str) -> list[Span]:
    """Spans from `before` to `after`: without the deleted ones they are `after`, without the inserted ones `before`.

    Words are compared as written, punctuation by the character; neighbouring changes with only space between them are
    one. No two spans in a row are of one kind, and none is empty. What lies between the first and the last change is
    aligned by Ratcliff and Obershelp's longest common blocks (difflib); some tenths of a second at worst.
    """
    words, others = _TOKENS.findall(before), _TOKENS.findall(after)
    start = _alike(words, others)
    end = _alike(words[: start - len(words) - 1 : -1], others[: start - len(others) - 1 : -1])
    middle = _changes(words[start : len(words) - end], others[start : len(others) - end])
    first, last = "".join(words[:start]), "".join(words[len(words) - end :])
    return [span for piece in _joined([(first, first), *middle, (last, last)]) for span in _spans(*piece)]


def _alike(words: Sequence[str], others: Sequence[str]) -> int:
    """How many words both begin with."""
    pairs = zip(words, others, strict=False)
    return next((i for i, (word, other) in enumerate(pairs) if word != other), min(len(words), len(others)))


def _changes(words: Sequence[str], others: Sequence[str]) -> list[tuple[str, str]]:
    """Pieces of both, in order: alike or not. Texts whose words are too much alike for difflib are one change."""
    counts, others_counts = Counter(words), Counter(others)
    if sum(n * others_counts[word] for word, n in counts.items() if not word.isspace()) > _MOST_PAIRS:
        return [("".join(words), "".join(others))]
    blocks = SequenceMatcher(str.isspace, words, others, autojunk=False).get_opcodes()
    return [("".join(words[a:b]), "".join(others[c:d])) for _, a, b, c, d in blocks]


def mostly_changed(spans: Sequence[Span]) -> bool:
    """Whether more than half of both texts' words are not shared: then both are easier to read than the marks."""
    count = {"same": 0, "deleted": 0, "inserted": 0}
    for span in spans:
        count[span.kind] += len(re.findall(r"\w+", span.text))
    return count["deleted"] + count["inserted"] > 2 * count["same"]


def visible(text: str) -> str:
    """Text with what cannot be seen made so: controls and marks that turn the writing direction read as [U+202E].

    Such characters can hide an edit, or show words in another order than the classifier reads them.
    """
    return "".join(f"[U+{ord(c):04X}]" if _hides(c) else c for c in text)


def _hides(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cf", "Cs") and char not in _JOINERS and char not in "\n\t"


def _joined(pieces: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Runs of changes; space that two changes have between them belongs to both."""
    pending = ("", "")
    held = ""
    for before, after in pieces:
        if before != after:
            pending = (pending[0] + held + before, pending[1] + held + after)
            held = ""
        elif pending != ("", "") and not held and before.isspace():
            held = before
        else:
            yield pending
            yield held + before, held + after
            pending, held = ("", ""), ""
    yield pending
    yield held, held


def _spans(deleted: str, inserted: str) -> Iterator[Span]:
    if deleted == inserted:
        yield from [Span("same", deleted)] if deleted else []
        return
    if deleted:
        yield Span("deleted", deleted)
    if inserted:
        yield Span("inserted", inserted)
