"""What `run_conditions` is asked to do, checked field by field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator

from engine.classifiers import Recipe
from engine.classifiers.composing import Composing
from engine.config import checked
from workers.conditions import Condition
from workers.round_settings import Part


class ConditionSettings(Part):
    """Data written beside a round, how it is composed, and how the classifiers are measured."""

    manual: int = Field(80, ge=0)
    """Examples that simulated contractors write from scratch against the baseline."""
    rewrites: int = Field(80, ge=0)
    """Known failures of the training split that simulated contractors rewrite against +paraphrases."""
    scored: int = Field(60, ge=1)
    """Versions that a contractor may have scored for one example."""
    attacks: tuple[str, ...] = ("substitution", "rewrite")
    """Automatic attacks on further known failures, whose finds are tool-assisted rewrites too."""
    attack_seeds: int = Field(24, ge=0)
    attack_queries: int = Field(2000, ge=1)
    """Of each attack."""
    prompts: int = Field(400, ge=1)
    """Held-out prompts that rejection sampling completes."""
    tries: int = Field(100, ge=1)
    composing: Composing = Composing()
    conditions: tuple[Condition, ...] = ()
    """Others than table 3's, on the round's data and whatever else is labelled under its policy."""
    training: Recipe | None = None
    """None: as the round trained."""
    accept: float = Field(0.9, gt=0, lt=1)
    """Without a generator: the share of harmless texts that each threshold accepts."""

    @field_validator("training")
    @classmethod
    def _nothing_to_stop_by(cls, value: Recipe | None) -> Recipe | None:
        if value and value.early_stop is not None:
            raise ValueError("early_stop needs validation labels, which conditions are trained without; a sweep has")
        return value

    @field_validator("conditions")
    @classmethod
    def _names(cls, value: tuple[Condition, ...]) -> tuple[Condition, ...]:
        names = [one.name for one in value]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"each condition needs a name of its own; twice: {', '.join(twice)}")
        return value


def condition_settings(data: Mapping[str, Any], *, where: str = "settings") -> ConditionSettings:
    """Checked settings. Raises BadInput naming each wrong field."""
    return checked(ConditionSettings, data, where=where)


PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {
        "manual": 8,
        "rewrites": 8,
        "scored": 30,
        "attack_seeds": 4,
        "attack_queries": 200,
        "prompts": 20,
        "tries": 20,
    },
    "demo": {},
    "full": {
        "manual": 600,
        "rewrites": 600,
        "attack_seeds": 200,
        "attack_queries": 40_000,
        "prompts": 4000,
    },
}
"""As the presets of rounds."""
