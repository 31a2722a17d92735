"""A policy says what counts as a failure. It is data: a TOML file; nothing in the code knows injuries."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from engine.aggregation import RULES
from engine.config import checked
from engine.errors import BadInput, UnknownName
from engine.snippets import SnippetRules

BUILT_IN = {"hateful": "hateful.toml", "injury": "injury.toml", "toxic": "toxic.toml"}

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


class Depth(_Part):
    """How many labels a snippet gets: so many at first, then one more while something asks for it, up to `most`."""

    first: int = Field(1, ge=1, le=25)
    test: int = Field(2, ge=1, le=25)
    """Of snippets in the test split; where these differ one more decides, by somebody else (paper, C.2)."""
    most: int = Field(5, ge=1, le=25)
    more_on: tuple[Literal["disagreement", "unsure", "low_confidence"], ...] = ("disagreement",)
    confidence: float = Field(0.95, ge=0.5, lt=1)
    """For `low_confidence`: ask again while the posterior of the likeliest choice is below this."""


class Quality(_Part):
    """How annotators are tested and checked. As many gold tasks as are there are given, if fewer than asked for."""

    qualification: int = Field(0, ge=0, le=100)
    """Gold tasks that a new annotator answers before any other (paper: 10)."""
    qualification_right: int | None = Field(None, ge=0, le=100)
    """How many of them must be right; none: all."""
    gold_rate: float = Field(0.0, ge=0, le=0.5)
    """Share of leased tasks that are gold, hidden among the others."""
    bar: float = Field(0.8, ge=0, le=1)
    """An annotator whose accuracy on gold is below this, as far as can be told at 95 %, is paused."""
    audit_rate: float = Field(0.0, ge=0, le=1)
    """Share of the snippets labelled by others alone that a trusted labeler judges again."""
    feedback: bool = True
    """Whether labelers see afterwards how they answered gold."""


class GoldExample(_Part):
    """A snippet with its right answer, to qualify annotators with."""

    prompt: str = ""
    completion: str = Field(min_length=1)
    choice: str
    explanation: str = ""


class Comparison(_Part):
    """The question when two completions of one prompt are compared (paper, A.7)."""

    question: str = "Which continuation is better?"
    guidelines: str = ""


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
    blind: bool = True
    """Whether vendors' platforms are kept from the classifier's score too."""
    depth: Depth = Depth()
    quality: Quality = Quality()
    gold: tuple[GoldExample, ...] = ()
    comparison: Comparison = Comparison()

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

    @model_validator(mode="after")
    def _gold_has_choices(self) -> Self:
        for number, example in enumerate(self.gold, 1):
            if example.choice not in self.choices:
                raise ValueError(f"gold {number}: {example.choice!r} is none of the choices {', '.join(self.choices)}")
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
