"""Regular and listed irregular inflection of English verbs and nouns: enough for the words of our own thesaurus."""

from __future__ import annotations

import re
from typing import NamedTuple

from engine.attacks.paraphrasers.word_lists import lines, table, text

_PAST = {base: (past, done) for base, past, done in map(str.split, lines("irregular"))}
_DOUBLING = frozenset(text("doubling").split())
_SHORT_VOWEL = re.compile(r"^[^aeiou]*[aeiou][bdfgklmnprtvz]$|^qu[aeiou]t$")
_PLURALS = table("irregular_plurals")


class VerbForms(NamedTuple):
    """The five forms of a verb."""

    base: str
    third: str
    past: str
    participle: str
    ing: str


def verb_forms(base: str) -> VerbForms:
    """`walk` -> walk, walks, walked, walked, walking."""
    stem = base + base[-1] if _SHORT_VOWEL.match(base) or base in _DOUBLING else base
    if base.endswith("e"):
        past, ing = base + "d", (base if base.endswith(("ee", "ye")) else base[:-1]) + "ing"
    elif re.search(r"[^aeiou]y$", base):
        past, ing = base[:-1] + "ied", base + "ing"
    else:
        past, ing = stem + "ed", stem + "ing"
    past, participle = _PAST.get(base, (past, past))
    if base.endswith("ie"):
        ing = base[:-2] + "ying"
    third = {"have": "has", "go": "goes"}.get(base, _with_s(base))
    return VerbForms(base, third, past, participle, ing)


def plural(noun: str) -> str:
    """`fox` -> foxes."""
    return _PLURALS.get(noun) or _with_s(noun)


def article_for(word: str) -> str:
    """`a` or `an`, by the sound the word seems to start with."""
    if re.match(r"(?:hono|hour|heir|honest)", word, re.IGNORECASE):
        return "an"
    return (
        "an"
        if re.match(r"[aeiou]", word, re.IGNORECASE) and not re.match(r"(?:uni|use|eu|one|ewe)", word, re.I)
        else "a"
    )


def _with_s(word: str) -> str:
    if re.search(r"[^aeiou]y$", word):
        return word[:-1] + "ies"
    return word + ("es" if re.search(r"(?:s|x|z|ch|sh)$", word) else "s")
