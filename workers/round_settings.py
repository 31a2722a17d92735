"""What a round is asked to do, checked field by field. Defaults make one round on a laptop in minutes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from engine.acquisition import ACQUISITION
from engine.attacks import ATTACKS, PARAPHRASERS, check_paraphraser
from engine.classifiers.recipe import Recipe
from engine.config import checked
from engine.errors import BadInput
from engine.generation import GENERATORS, check_generator
from engine.policies import Policy
from engine.query_strategies import QUERY_STRATEGIES
from engine.simulation import judge_of
from labeling_adapters import ADAPTERS


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _known(value: str, kind: str, registry: Mapping[str, object]) -> str:
    if value not in registry:
        raise ValueError(f"unknown {kind} {value!r}; known: {', '.join(sorted(registry))}")
    return value


class Named(_Part):
    """A registry entry and its own settings."""

    name: str
    config: dict[str, Any] = {}


def _suiting(value: Named, check: Callable[[str, Mapping[str, Any]], None]) -> Named:
    """The entry, if its settings are such as it takes: better said now than when its stage comes, hours on."""
    try:
        check(value.name, value.config)
    except BadInput as error:
        raise ValueError(f"config of {error}") from None
    return value


class Sizes(_Part):
    """How many snippets each part of the round works on."""

    corpus_snippets: int = Field(9000, ge=8)
    """Snippets drawn from the corpus, over all splits."""
    initial: int = Field(1200, ge=4)
    """Labelled first; the baseline trains on them."""
    candidates: int = Field(1200, ge=0)
    """Unlabelled snippets that selection may choose from, beside what the attack found."""
    test: int = Field(400, ge=1)
    """Held-out in-distribution snippets, labelled by several annotators."""
    seeds: int = Field(250, ge=0)
    """Enriched held-out snippets, labelled to find failures whose re-tellings make the held-out adversarial set."""
    validation_prompts: int = Field(100, ge=1)
    """Prompts that the threshold is calibrated on."""
    validation_completions: int = Field(32, ge=2)
    test_completions: int = Field(16, ge=2)
    """Unlabelled alternates a test prompt, for the failure rate's weights."""


class Labeling(_Part):
    """Who labels, and how many labels a snippet wants."""

    adapter: str = "simulated"
    config: dict[str, Any] = {}
    """The adapter's own settings. Secrets are named by environment variable."""
    initial: int | None = Field(None, ge=1, le=25)
    """Labels of a snippet at first; none: as the policy's `depth` says. What asks for more is the policy's."""
    selected: int | None = Field(None, ge=1, le=25)
    test: int | None = Field(None, ge=1, le=25)

    @field_validator("adapter")
    @classmethod
    def _adapter(cls, value: str) -> str:
        return _known(value, "labeling adapter", ADAPTERS)


class Attack(_Part):
    """One attack of the round's attack stage."""

    name: str = "paraphrase"
    paraphraser: Named = Named(name="embedded")
    seeds: int = Field(150, ge=1)
    """Failures of the training split to start from, those the classifier likes best first."""
    wanted: int = Field(5, ge=1)
    """Accepted paraphrases wanted a seed."""
    max_draws: int = Field(32, ge=1)
    test_draws: int = Field(8, ge=1)
    """Re-tellings of each held-out failure, all kept."""

    @field_validator("name")
    @classmethod
    def _attack(cls, value: str) -> str:
        return _known(value, "attack", ATTACKS)

    @field_validator("paraphraser")
    @classmethod
    def _paraphraser(cls, value: Named) -> Named:
        _known(value.name, "paraphraser", PARAPHRASERS)
        return _suiting(value, check_paraphraser)


class Selection(_Part):
    """What is worth a label."""

    acquisition: str = "near_threshold"
    query_strategy: str = "k_center_greedy"
    attack: int = Field(300, ge=0)
    """How many of the attack's finds are sent out."""
    candidates: int = Field(60, ge=0)
    """How many ordinary snippets are sent out."""

    @field_validator("acquisition")
    @classmethod
    def _acquisition(cls, value: str) -> str:
        return _known(value, "acquisition function", ACQUISITION)

    @field_validator("query_strategy")
    @classmethod
    def _query_strategy(cls, value: str) -> str:
        return _known(value, "query strategy", QUERY_STRATEGIES)


class RoundSettings(_Part):
    """Everything that decides a round, beside its policy, corpus and seed."""

    sizes: Sizes = Sizes()
    enrichment: float = Field(0.5, ge=0, le=1)
    """Share of the initial prompts taken from stories that fit the policy's word heuristics."""
    generator: Named = Named(name="nearest_continuations")
    labeling: Labeling = Labeling()
    attack: Attack = Attack()
    selection: Selection = Selection()
    training: Recipe = Recipe()
    equal_sizes: bool = True
    """Whether added snippets replace random initial ones, so that conditions differ in kind, not in number."""
    target_kl: float = Field(0.5, gt=0)
    precision: Literal["int8", "fp32", "bf16"] = "int8"

    @model_validator(mode="after")
    def _int8_is_exported(self) -> Self:
        if self.precision == "int8" and not self.training.export_int8:
            raise ValueError("precision int8 needs training.export_int8")
        return self

    @field_validator("generator")
    @classmethod
    def _generator(cls, value: Named) -> Named:
        _known(value.name, "generator", GENERATORS)
        return _suiting(value, check_generator)


def round_settings(data: Mapping[str, Any], *, where: str = "settings") -> RoundSettings:
    """Checked settings. Raises BadInput naming each wrong field."""
    return checked(RoundSettings, data, where=where)


def policy_suits(policy: Policy, wanted: RoundSettings) -> None:
    """Raises BadInput or UnknownName where the round would ask for what the policy does not have."""
    if wanted.labeling.adapter == "simulated":
        judge_of(policy)


PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {
        "sizes": {
            "corpus_snippets": 700,
            "initial": 120,
            "candidates": 60,
            "test": 60,
            "seeds": 20,
            "validation_prompts": 12,
            "validation_completions": 8,
            "test_completions": 6,
        },
        "attack": {"seeds": 20, "wanted": 3, "max_draws": 8, "test_draws": 4},
        "selection": {"attack": 30, "candidates": 10},
    },
    "demo": {},
    "full": {
        "sizes": {
            "corpus_snippets": 40_000,
            "initial": 8000,
            "candidates": 8000,
            "test": 4000,
            "seeds": 1000,
            "validation_prompts": 500,
            "validation_completions": 64,
            "test_completions": 32,
        },
        "attack": {"seeds": 800, "wanted": 10, "max_draws": 64, "test_draws": 16},
        "selection": {"attack": 3000, "candidates": 600},
        "training": {"trainable_layers": 4, "epochs": 2},
    },
}
"""Named sizes: `tiny` for tests (seconds), `demo` for a laptop (minutes), `full` (an hour or more)."""
