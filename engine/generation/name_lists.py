"""Words the name rules go by; the words themselves are in names.toml."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

Gender = Literal["f", "m", "?"]

_DATA: dict[str, str] = tomllib.loads(Path(__file__).with_name("names.toml").read_text(encoding="utf-8"))


def _marked(gender: Gender, key: str) -> dict[str, Gender]:
    return dict.fromkeys(_DATA[key].split(), gender)


GENDERS: dict[str, Gender] = _marked("m", "male") | _marked("f", "female")
"""Given name -> gender, as commonly understood: f or m."""

TITLES: dict[str, Gender] = _marked("m", "male_titles") | _marked("f", "female_titles") | _marked("?", "other_titles")
"""Title -> gender it tells. A title is never part of a name."""

SPEECH_VERBS = frozenset(_DATA["speech_verbs"].split())

NEVER_NAMES = frozenset(_DATA["never"].split())
"""Capitalised words that name no person."""
