"""Whether a snippet fits a policy's word rules: for enrichment of a corpus and for the simulated lexicon judge."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from engine.policies import WordRule
from engine.snippets import Snippet

_words_of = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*").findall
_CACHED_RULE_SETS = 64
_cache: dict[int, tuple[Sequence[WordRule], _RuleSet]] = {}


def fits_any(rules: Sequence[WordRule], snippet: Snippet) -> bool:
    """Whether `snippet` fits at least one of `rules` (paper, A.1.4).

    A rule fits when the completion has any of `any_of`; when `beside` is given, prompt or completion has any of it;
    and the completion has none of `none_of`. Entries are whole words or phrases of words, in any case; a word's forms
    are listed, not guessed. O(words of the completion), over 100,000 snippets a second where nothing fits.

    Pass the same tuple each time (as `policy.enrichment` is): tuples are compiled once.
    """
    return _compiled(rules).fits(snippet)


@dataclass(frozen=True, slots=True)
class _Terms:
    """Words and phrases to find; a phrase is kept with a space at both ends."""

    words: frozenset[str]
    phrases: tuple[str, ...]

    @classmethod
    def of(cls, entries: Sequence[str]) -> _Terms:
        split = [_words(entry) for entry in entries]
        return cls(
            frozenset(words[0] for words in split if len(words) == 1),
            tuple(f" {' '.join(words)} " for words in split if len(words) > 1),
        )

    def found_in(self, words: Sequence[str]) -> bool:
        if not self.words.isdisjoint(words):
            return True
        if not self.phrases:
            return False
        text = f" {' '.join(words)} "
        return any(phrase in text for phrase in self.phrases)


@dataclass(frozen=True, slots=True)
class _RuleSet:
    first_words: frozenset[str]
    """A completion with none of these words fits no rule."""
    rules: tuple[tuple[_Terms, _Terms | None, _Terms], ...]

    @classmethod
    def of(cls, rules: Sequence[WordRule]) -> _RuleSet:
        first_words = frozenset(_words(entry)[0] for rule in rules for entry in rule.any_of if _words(entry))
        parts = ((_Terms.of(r.any_of), _Terms.of(r.beside) if r.beside else None, _Terms.of(r.none_of)) for r in rules)
        return cls(first_words, tuple(parts))

    def fits(self, snippet: Snippet) -> bool:
        completion = _words(snippet.completion)
        if self.first_words.isdisjoint(completion):
            return False
        for any_of, beside, none_of in self.rules:
            if not any_of.found_in(completion) or none_of.found_in(completion):
                continue
            if beside is None or beside.found_in(completion) or beside.found_in(_words(snippet.prompt)):
                return True
        return False


def _words(text: str) -> list[str]:
    return _words_of(text.lower().replace("\u2019", "'"))


def _compiled(rules: Sequence[WordRule]) -> _RuleSet:
    """The compiled rules; a tuple's are kept by identity, since hashing hundreds of words a call would cost more."""
    if not isinstance(rules, tuple):
        return _RuleSet.of(rules)
    known = _cache.get(id(rules))
    if known is not None and known[0] is rules:
        return known[1]
    if len(_cache) >= _CACHED_RULE_SETS:
        _cache.clear()
    compiled = _RuleSet.of(rules)
    _cache[id(rules)] = (rules, compiled)
    return compiled
