"""Names of people in running English text: find them, tell who is who, swap them consistently.

Rules of capitals and neighbours, no model: made to keep generated text consistent, not to be a name tagger.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from engine.generation.name_lists import GENDERS, NEVER_NAMES, SPEECH_VERBS, TITLES, Gender

_WORD = re.compile(r"[A-Za-z][A-Za-z]*(?:['\u2019-][A-Za-z]+)*")
_POSSESSIVE = re.compile(r"['\u2019](?:s|d|ll|ve|re|m)$|['\u2019]$")
_PLACE_BEFORE = frozenset({"in", "at", "near", "through", "into", "across", "around", "of"})
_ARTICLES = frozenset({"a", "an", "the", "this", "that", "these", "those", "The"})
_AUXILIARIES = frozenset({"was", "had", "is", "has", "did", "could", "would", "might", "must", "should", "can", "will"})
_AUXILIARIES |= {"went", "came", "made", "took"}
_PRONOUNS: dict[str, Gender] = dict.fromkeys(("he", "him", "his", "himself"), "m")
_PRONOUNS |= dict.fromkeys(("she", "her", "hers", "herself"), "f")


class Mention(NamedTuple):
    """One place in a text where a person is named: `text[start:end]`, a possessive ending left out."""

    start: int
    end: int
    words: tuple[str, ...]


@dataclass(slots=True)
class Person:
    """Everything in one text that seems to name the same person."""

    mentions: list[Mention] = field(default_factory=list)
    gender: Gender = "?"

    @property
    def words(self) -> set[str]:
        """All words this person is called by."""
        return {word for mention in self.mentions for word in mention.words}

    @property
    def folded(self) -> set[str]:
        """The same words without regard to case."""
        return {word.casefold() for word in self.words}

    @property
    def name(self) -> str:
        """The words this person is called by most often, the shorter where equal."""
        counts = Counter(m.words for m in self.mentions)
        return " ".join(min(counts.items(), key=lambda item: (-item[1], len(item[0]), item[0]))[0])


class _Token(NamedTuple):
    start: int
    end: int
    word: str
    starts_sentence: bool
    glued: bool
    """Only white space stands between this word and the one before it."""


def people(text: str, known: frozenset[str] = frozenset()) -> list[Person]:
    """The people named in `text`, in order of first mention. `known` are words sure to be names. O(characters)."""
    tokens = _tokens(text)
    sure = known | _named_by_neighbours(tokens)
    # A surname seen beside a given name is a name where it stands alone, too.
    sure |= {word for mention in _mentions(tokens, sure) for word in mention.words}
    found: list[Person] = []
    for mention in _mentions(tokens, sure):
        folded = {word.casefold() for word in mention.words}
        same = next((p for p in found if p.folded & folded), None)
        if same is None:
            found.append(same := Person())
        same.mentions.append(mention)
    for person in found:
        person.gender = _gender(person, tokens, alone=len(found) == 1)
    return found


def swap(text: str, persons: Iterable[Person], names: Mapping[str, str]) -> str:
    """`text` with every mention of each person whose `name` is a key of `names` replaced by its value."""
    spots = [(m, names[p.name]) for p in persons if p.name in names for m in p.mentions]
    for mention, name in sorted(spots, reverse=True):
        text = text[: mention.start] + name + text[mention.end :]
    return text


def learn_names(texts: Iterable[str], *, least: int = 3) -> frozenset[str]:
    """Words that name people throughout a corpus: mostly capitalised inside sentences, and used as people are.

    A word counts when it stands in capitals inside a sentence at least `least` times and nine times in ten, seldom
    after an article or a preposition of place, and was seen at least once beside a verb of speech, a title, an
    auxiliary or a possessive. One pass, memory grows with the vocabulary.
    """
    upper: Counter[str] = Counter()
    lower: Counter[str] = Counter()
    placed: Counter[str] = Counter()
    personal: Counter[str] = Counter()
    for text in texts:
        tokens = _tokens(text)
        personal.update(_named_by_neighbours(tokens))
        for i, token in enumerate(tokens):
            if token.word.islower():
                lower[token.word.capitalize()] += 1
            elif not token.starts_sentence:
                upper[token.word] += 1
                placed[token.word] += i > 0 and tokens[i - 1].word in _PLACE_BEFORE | _ARTICLES
    return frozenset(
        word
        for word, count in upper.items()
        if count >= least and personal[word] and lower[word] * 9 < count and placed[word] * 4 < count
    )


def graft(text: str, persons: Sequence[Person], host: Sequence[Person]) -> str:
    """`text` with its people called by the names of the people of `host`, last mentioned first, genders permitting.

    People who bear the same name in both stay; people for whom nobody is left in `host` stay too.
    """
    free = sorted(host, key=lambda p: -p.mentions[-1].start)
    taken = {word for p in persons for word in p.folded}
    free = [p for p in free if not p.folded & taken]
    hosts = {word for p in host for word in p.folded}
    names: dict[str, str] = {}
    for person in persons:
        if person.folded & hosts:
            continue
        match = next((p for p in free if "?" in (p.gender, person.gender) or p.gender == person.gender), None)
        if match is not None:
            names[person.name] = match.name
            free.remove(match)
    return swap(text, persons, names) if names else text


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    last = 0
    for match in _WORD.finditer(text):
        word = _POSSESSIVE.sub("", match.group())
        between = text[last : match.start()]
        starts = not tokens or any(mark in between for mark in '.!?:"\u201c\u201d') or "\n\n" in between
        start = match.start()
        tokens.append(_Token(start, start + len(word), word, starts, bool(tokens) and between.isspace()))
        last = match.end() if len(word) == len(match.group()) else start + len(word)
    return tokens


def _could_be_name(word: str) -> bool:
    capital = word[0].isupper() or (word[1:2] in {"'", "\u2019"} and word[2:3].isupper())
    return capital and len(word) > 1 and not word.isupper() and word not in NEVER_NAMES


def _named_by_neighbours(tokens: Sequence[_Token]) -> frozenset[str]:
    """Words that some place in the text shows to be a person's name."""
    found = set()
    for i, token in enumerate(tokens):
        if not _could_be_name(token.word) or token.word in TITLES:
            continue
        before = tokens[i - 1].word if i and (token.glued or tokens[i - 1].word in TITLES) else ""
        after = tokens[i + 1].word if i + 1 < len(tokens) and tokens[i + 1].glued else ""
        said = before in SPEECH_VERBS or after in SPEECH_VERBS
        acts = not token.starts_sentence and before not in _PLACE_BEFORE | _ARTICLES and after in _AUXILIARIES
        if token.word in GENDERS or before in TITLES or said or acts:
            found.add(token.word)
    return frozenset(found)


def _mentions(tokens: Sequence[_Token], sure: frozenset[str]) -> list[Mention]:
    """Runs of adjacent capitalised words of which one at least is sure to be a name."""
    found: list[Mention] = []
    run: list[_Token] = []
    before = last = ""
    for token in [*tokens, None]:
        joins = token is not None and _could_be_name(token.word) and token.word not in TITLES
        if token is not None and joins and (not run or (token.glued and not token.starts_sentence)):
            run.append(token)
            continue
        while run and run[0].starts_sentence and run[0].word not in sure:
            run.pop(0)
        if any(t.word in sure for t in run) and before not in _ARTICLES:
            found.append(Mention(run[0].start, run[-1].end, tuple(t.word for t in run)))
        run = [token] if token is not None and joins else []
        before = last if token is not None and token.glued else ""
        last = token.word if token is not None else ""
    return found


def _gender(person: Person, tokens: Sequence[_Token], *, alone: bool) -> Gender:
    """By the list of given names, else by a title, else by the pronouns where nobody else is named."""
    listed = {GENDERS[word] for word in person.words if word in GENDERS}
    if len(listed) == 1:
        return listed.pop()
    starts = {m.start for m in person.mentions}
    titled = {TITLES.get(b.word, "?") for b, t in pairwise(tokens) if t.start in starts} - {"?"}
    if len(titled) == 1:
        return titled.pop()
    first = person.mentions[0].start
    pronouns = {_PRONOUNS[t.word] for t in tokens if t.start > first and t.word in _PRONOUNS}
    return pronouns.pop() if alone and len(pronouns) == 1 else "?"
