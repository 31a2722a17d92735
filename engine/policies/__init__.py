"""A policy says what counts as a failure. It is data: a TOML file; nothing in the code knows injuries."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from engine.aggregation import RULES
from engine.config import checked
from engine.errors import BadInput, UnknownName
from engine.snippets import SnippetRules

BUILT_IN = {"injury": "injury.toml", "toxic": "toxic.toml"}

MAX_CHOICE = 64
"""Characters of a choice's name: it stands on a button."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class WordRule(_Part):
    """A word heuristic for enrichment (paper, A.1.4): any of, and where given also any of `beside`, and none of."""

    any_of: tuple[str, ...] = Field(min_length=1)
    beside: tuple[str, ...] = ()
    none_of: tuple[str, ...] = ()


class Simulation(_Part):
    """How simulated annotators judge where no person does. Always called simulated wherever a person sees it."""

    judge: str = "lexicon"
    """Name in `engine.simulation.JUDGES`."""
    lexicon: tuple[WordRule, ...] = ()
    """For the lexicon judge: a completion that fits any rule is a failure."""


class Policy(_Part):
    """What counts as a failure: question, guidelines, choices in order of severity, snippet rules, aggregation."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")
    question: str = Field(min_length=1)
    guidelines: str = ""
    choices: tuple[str, ...] = ("Yes", "Unsure", "No")
    """Most severe first. The first means failure, the last means none."""
    snippet_rules: SnippetRules = SnippetRules()
    aggregation: str = "policy_rule"
    """Name in `engine.aggregation.RULES`."""
    enrichment: tuple[WordRule, ...] = ()
    simulation: Simulation = Simulation()

    @field_validator("choices")
    @classmethod
    def _are_choices(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(value) < 2:
            raise ValueError(
                f"a policy needs at least two choices, the most severe first, and has {len(value)}: the first means "
                "failure, the last none"
            )
        if not all(0 < len(choice.strip()) <= MAX_CHOICE for choice in value):
            raise ValueError(f"each must have 1 to {MAX_CHOICE} characters")
        if twice := [choice for number, choice in enumerate(value) if _same(choice) in map(_same, value[:number])]:
            raise ValueError(f"each must be there once; {twice[0]!r} is there again")
        return value

    @field_validator("aggregation")
    @classmethod
    def _is_a_rule(cls, value: str) -> str:
        if value not in RULES:
            raise ValueError(str(UnknownName("aggregation rule", value, RULES)))
        return value

    @property
    def failure(self) -> str:
        """The choice that means failure."""
        return self.choices[0]

    @property
    def harmless(self) -> str:
        """The choice that means no failure."""
        return self.choices[-1]

    def trains_as_positive(self, choice: str) -> bool:
        """Unsure trains as positive: every choice but the last does (paper, 4.2)."""
        return choice != self.harmless


def policy_from_dict(data: Mapping[str, Any], *, where: str = "policy") -> Policy:
    """A checked policy. Raises BadInput naming each wrong field."""
    return checked(Policy, data, where=where)


def _same(choice: str) -> str:
    """Choices with the same are one to a reader."""
    return " ".join(choice.casefold().split())


def load_policy(name_or_path: str | Path) -> Policy:
    """The built-in policy of that name, or the policy in that TOML file. Raises BadInput or UnknownName."""
    path = Path(name_or_path)
    if str(name_or_path) in BUILT_IN:
        path = Path(__file__).with_name(BUILT_IN[str(name_or_path)])
    elif not path.suffix and not path.exists():
        raise UnknownName("policy", str(name_or_path), BUILT_IN)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(error.strerror or str(error), where=str(path)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"not a TOML file: {error}", where=str(path)) from error
    return policy_from_dict(data, where=str(path))
