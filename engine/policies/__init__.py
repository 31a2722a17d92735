"""A policy says what counts as a failure. It is data: a TOML file; nothing in the code knows injuries."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from engine.errors import BadInput, UnknownName
from engine.snippets import SnippetRules

BUILT_IN = {"injury": "injury.toml", "toxic": "toxic.toml"}


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

    @model_validator(mode="after")
    def _has_choices(self) -> Self:
        if len(self.choices) < 2:
            raise ValueError("choices: a policy needs at least two, the most severe first")
        if len(set(self.choices)) != len(self.choices) or not all(c.strip() for c in self.choices):
            raise ValueError("choices: each must be there once and not be empty")
        return self

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
    try:
        return Policy.model_validate(data)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'policy'}: {e['msg']}" for e in error.errors())
        raise BadInput(problems, where=where) from error


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
