"""Innocuous filler (paper, 6): a clause of time, place or weather beside a sentence leaves what it tells as it is."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import NamedTuple

from engine.generation.name_lists import GENDERS

_FIRST_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)?")
_PLAIN_END = re.compile(r"(?<=\w)[.!?\u2026]+$")


class Filled(NamedTuple):
    """A completion with a filler in it."""

    at: int
    """Where it was put: a gap of the completion before."""
    filler: str
    completion: str


def fillers() -> tuple[str, ...]:
    """The clauses of fillers.toml, in its order; each reads well before a sentence and after one."""
    return _lists().clauses


def before(completion: str, filler: str) -> Filled | None:
    """`The cook ran.` -> `As the sun went down, the cook ran.`; None where the first word may not be lower-cased."""
    found = _FIRST_WORD.match(completion)
    if found is None:
        return None
    first = found.group()
    if first in _lists().lowered:
        completion = first.lower() + completion[found.end() :]
    elif first != "I" and first not in GENDERS:
        return None
    return Filled(0, filler, f"{filler[0].upper()}{filler[1:]}, {completion}")


def after(completion: str, filler: str) -> Filled | None:
    """`The cook ran.` -> `The cook ran, as the sun went down.`; None where no word and full stop end it."""
    found = _PLAIN_END.search(completion)
    if found is None:
        return None
    at = found.start()
    return Filled(at, filler, f"{completion[:at]}, {filler}{completion[at:]}")


class _Lists(NamedTuple):
    clauses: tuple[str, ...]
    lowered: frozenset[str]


@cache
def _lists() -> _Lists:
    found = tomllib.loads(Path(__file__).with_name("fillers.toml").read_text(encoding="utf-8"))
    clauses = tuple(line.strip() for line in found["clauses"].strip().splitlines())
    return _Lists(clauses, frozenset(found["lowered"].split()))
