"""The thesaurus file, read once."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path


@cache
def _data() -> dict[str, object]:
    return tomllib.loads(Path(__file__).with_name("thesaurus.toml").read_text(encoding="utf-8"))


def text(key: str) -> str:
    """A top-level string of thesaurus.toml."""
    return str(_data()[key])


def lines(key: str) -> list[str]:
    """The lines of a top-level string, empty ones left out."""
    return [line for line in text(key).split("\n") if line.strip()]


def table(key: str) -> dict[str, str]:
    """A table of strings."""
    found = _data()[key]
    assert isinstance(found, dict)
    return {str(k): str(v) for k, v in found.items()}


def lists(key: str) -> dict[str, tuple[str, ...]]:
    """A table of lists of strings."""
    found = _data()[key]
    assert isinstance(found, dict)
    return {str(k): tuple(map(str, v)) for k, v in found.items()}
