"""What a round is asked to do, checked field by field. Defaults make one round on a laptop in minutes."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from engine.acquisition import ACQUISITION, Opinions
from engine.attacks import Budget, check_attack
from engine.attacks.paraphrasers import PARAPHRASERS, check_paraphraser
from engine.classifiers.recipe import Recipe
from engine.config import Named, checked
from engine.errors import BadInput, UnknownName
from engine.evaluation.designs import DESIGNS
from engine.generation import GENERATORS, check_generator
from engine.policies import Policy
from engine.query_strategies import QUERY_STRATEGIES
from engine.simulation import judge_of
from labeling_adapters import ADAPTERS, compares

PREVIOUS = "previous"
"""Of classifiers: the newest of the policy that was made before the round."""


class Part(BaseModel):
    """Settings that are checked field by field."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _known(value: str, kind: str, registry: Mapping[str, object]) -> str:
    if value not in registry:
        raise ValueError(f"unknown {kind} {value!r}; known: {', '.join(sorted(registry))}")
    return value


def _is_key(value: str) -> bool:
    try:
        uuid.UUID(value)
    except ValueError:
        return False
    return True


def _suiting(value: Named, check: Callable[[str, Mapping[str, Any]], None]) -> Named:
    """The entry, if its settings are such as it takes: better said now than when its stage comes, hours on."""
    try:
        check(value.name, value.config)
    except BadInput as error:
        raise ValueError(f"config of {error}") from None
    return value


class Sizes(Part):
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
    test_completions: int = Field(8, ge=2)
    """Unlabelled alternates a test prompt, for the failure rate's weights."""


class Labeling(Part):
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


class CertificationPlan(Part):
    """Labels for outputs of the filters themselves: how often each fails, and which of the two less."""

    prompts: int = Field(300, ge=0)
    """Of the test split, at most so many; 0: nothing is bought."""
    copies: int = Field(1, ge=1, le=10_000)
    """Outputs drawn for each prompt."""
    design: str = "simple_random"
    """In the registry of designs, of the two failure rates; the difference is labelled by pairs."""
    relative: float = Field(0.5, ge=0.001, le=10)
    """Half-width of the interval wanted, relative to the rate."""
    labels_each: int = Field(1, ge=1, le=25)
    confirmations: int = Field(2, ge=0, le=20)
    """Further labels that each failure gets before it counts."""

    @field_validator("design")
    @classmethod
    def _design(cls, value: str) -> str:
        return _known(value, "label design", DESIGNS)


class AttackSettings(Part):
    """An attack by name, with its settings and budget."""

    name: str = "paraphrase"
    title: str = Field("", max_length=32)
    """What people call it; as its name unless said otherwise."""
    config: dict[str, Any] = {}
    """The attack's own settings."""
    budget: Budget = Budget()

    @model_validator(mode="before")
    @classmethod
    def _titled(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        title = data.get("title")
        untitled = title is None or (isinstance(title, str) and not title.strip())
        return {**data, "title": data.get("name", "paraphrase")} if untitled else data

    @field_validator("title")
    @classmethod
    def _title(cls, value: str) -> str:
        if not re.fullmatch(r"[\w .+()-]*", value):
            raise ValueError("may hold letters, digits, spaces and . + - _ ( ) only")
        return value

    @model_validator(mode="after")
    def _suits(self) -> Self:
        try:
            check_attack(self.name, self.config, self.budget)
        except (BadInput, UnknownName) as error:
            raise ValueError(str(error)) from None
        return self


class AttackPlan(AttackSettings):
    """One attack of a round; each has another title. Its budget is for each of its runs: on the training failures, and
    on the held-out ones before and after.
    """

    seeds: int = Field(0, ge=0)
    """Failures of the training split to start from. What is found of them is labelled and trained on; 0: the attack is
    only measured."""
    start: Literal["nearest", "random"] = "nearest"
    """Which of them: those that the baseline rejects, nearest to its threshold, or any, as in the paper."""


class HeldOut(Part):
    """The held-out adversarial set: re-tellings of held-out failures, all kept, whichever classifier accepts them."""

    paraphraser: Named = Named(name="embedded")
    draws: int = Field(8, ge=1)
    """Re-tellings of each failure."""

    @field_validator("paraphraser")
    @classmethod
    def _paraphraser(cls, value: Named) -> Named:
        _known(value.name, "paraphraser", PARAPHRASERS)
        return _suiting(value, check_paraphraser)


class Measuring(Part):
    """How the attacks are measured: on held-out failures, against the classifier before and after."""

    seeds: int = Field(24, ge=0)
    """Held-out failures that every attack starts from, drawn at random; 0: nothing is measured."""


class Selection(Part):
    """What is worth a label."""

    acquisition: str = "near_threshold"
    query_strategy: str = "k_center_greedy"
    attack: int = Field(300, ge=0)
    """How many of the attack's finds are sent out."""
    candidates: int = Field(60, ge=0)
    """How many ordinary snippets are sent out."""
    random: float = Field(0.1, ge=0, le=1)
    """Share of the ordinary ones that is drawn by chance, so that estimates stay unbiased and drift is seen. The finds
    of an attack are a sample of nothing: of them none is."""
    second_opinions: tuple[str, ...] = ()
    """Other classifiers of the policy, by key, or "previous": the newest made before the round."""

    @field_validator("acquisition")
    @classmethod
    def _acquisition(cls, value: str) -> str:
        return _known(value, "acquisition function", ACQUISITION)

    @field_validator("second_opinions")
    @classmethod
    def _second_opinions(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name != PREVIOUS and not _is_key(name):
                raise ValueError(f"{name!r} is neither a classifier's key nor {PREVIOUS!r}")
        said = tuple(
            name if name == PREVIOUS else str(uuid.UUID(name)) for name in value
        )  # a key has several spellings
        if len(set(said)) < len(said):
            raise ValueError("each classifier is asked once")
        return said

    @model_validator(mode="after")
    def _has_opinions(self) -> Self:
        others = len(self.second_opinions)
        try:
            ACQUISITION[self.acquisition](Opinions([], 0.5, [[]] * others, [0.5] * others))
        except BadInput:
            raise ValueError(f"{self.acquisition} compares classifiers: name others in second_opinions") from None
        return self

    @field_validator("query_strategy")
    @classmethod
    def _query_strategy(cls, value: str) -> str:
        return _known(value, "query strategy", QUERY_STRATEGIES)


class QualityPlan(Part):
    """Comparisons of unfiltered completions, which tell what filtering costs in quality, by threshold."""

    prompts: int = Field(100, ge=0)
    """Of the validation prompts, at most so many; 0: nothing is compared."""
    most: int = Field(16, ge=1, le=100)
    """Pairs of a prompt at most. More are wanted where less of it is accepted, and all come from the completions that
    the threshold is calibrated on, two a pair."""
    adapter: str | None = None
    """Who compares; none: who labels, where it takes comparisons. "pull": people on the comparing page."""

    @field_validator("adapter")
    @classmethod
    def _adapter(cls, value: str | None) -> str | None:
        if value is not None and not compares(_known(value, "labeling adapter", ADAPTERS)):
            raise ValueError(f"{value} takes no comparisons; {', '.join(filter(compares, sorted(ADAPTERS)))} do")
        return value

    @field_validator("prompts")
    @classmethod
    def _prompts(cls, value: int) -> int:
        if value == 1:
            raise ValueError("one prompt says nothing of the spread between prompts: 0, or at least 2")
        return value


def _attacks(*, seeds: int, most: int, draws: int, queries: int) -> list[dict[str, Any]]:
    """Trained on paraphrases; the other attacks only measured, within so many queries a run."""
    paraphrase = {
        "most": most,
        "least": min(most, 5),
        "least_draws": draws,
        "max_draws": draws,
        "batch": min(16, draws),
    }
    others = [{"name": name, "config": {"wanted": 1}} for name in ("substitution", "rewrite", "filler")]
    measured = [{**other, "budget": {"queries": queries}} for other in others]
    return [{"name": "paraphrase", "config": paraphrase, "seeds": seeds, "start": "random"}, *measured]


DEMO_ATTACKS = tuple(AttackPlan(**one) for one in _attacks(seeds=150, most=5, draws=32, queries=2000))


class RoundSettings(Part):
    """Everything that decides a round, beside its policy, corpus and seed."""

    sizes: Sizes = Sizes()
    enrichment: float = Field(0.5, ge=0, le=1)
    """Share of the initial prompts taken from stories that fit the policy's word heuristics."""
    generator: Named = Named(name="nearest_continuations")
    labeling: Labeling = Labeling()
    attacks: tuple[AttackPlan, ...] = DEMO_ATTACKS
    held_out: HeldOut = HeldOut()
    measuring: Measuring = Measuring()
    selection: Selection = Selection()
    quality: QualityPlan = QualityPlan()
    certification: CertificationPlan = CertificationPlan()
    training: Recipe = Recipe()
    equal_sizes: bool = True
    """Whether added snippets replace random initial ones, so that conditions differ in kind, not in number."""
    oversample: int = Field(1, ge=1, le=25)
    """How often each added snippet stands in the training set, before failures are upsampled (paper, A.5)."""
    target_kl: float = Field(0.5, gt=0)
    precision: Literal["int8", "fp32", "bf16"] = "int8"

    @model_validator(mode="after")
    def _int8_is_exported(self) -> Self:
        if self.precision == "int8" and not self.training.export_int8:
            raise ValueError("precision int8 needs training.export_int8")
        return self

    @field_validator("attacks")
    @classmethod
    def _titles(cls, value: tuple[AttackPlan, ...]) -> tuple[AttackPlan, ...]:
        titles = [one.title for one in value]
        if twice := sorted({title for title in titles if titles.count(title) > 1}):
            raise ValueError(f"each attack needs a title of its own; twice: {', '.join(twice)}")
        return value

    @property
    def retrained(self) -> str:
        """The condition of the retrained classifier: what was added to its training."""
        names = {one.name for one in self.attacks if one.seeds}
        if not names:
            return "+selected"
        return "+paraphrases" if names == {"paraphrase"} else "+attacks"

    @property
    def paraphrasers(self) -> set[str]:
        """Names of the paraphrasers that the round asks."""
        asked = [one.config.get("paraphraser", {}) for one in self.attacks if one.name == "paraphrase"]
        return {self.held_out.paraphraser.name, *(one.get("name", "embedded") for one in asked)}

    @field_validator("generator")
    @classmethod
    def _generator(cls, value: Named) -> Named:
        _known(value.name, "generator", GENERATORS)
        return _suiting(value, check_generator)


def round_settings(data: Mapping[str, Any], *, where: str = "settings") -> RoundSettings:
    """Checked settings. Raises BadInput naming each wrong field."""
    return checked(RoundSettings, data, where=where)


def comparing_adapter(wanted: RoundSettings) -> str | None:
    """Who compares completions for the round; None where nobody does."""
    if not wanted.quality.prompts or wanted.sizes.validation_prompts < 2:
        return None
    return wanted.quality.adapter or (wanted.labeling.adapter if compares(wanted.labeling.adapter) else None)


def trains_without_validation(recipe: Recipe, *, where: str = "settings") -> None:
    """Raises BadInput for an early stop: a round has no validation labels, and would say so only when its first
    labels are paid for. Kept out of the settings' own checks, so that rounds made before can still be read."""
    if recipe.early_stop is not None:
        raise BadInput(
            "needs validation labels, which a round has none of; a sweep has", where=f"{where}: training.early_stop"
        )


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
        "attacks": _attacks(seeds=20, most=3, draws=8, queries=200),
        "held_out": {"draws": 4},
        "measuring": {"seeds": 6},
        "certification": {"prompts": 40},
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
        "attacks": _attacks(seeds=800, most=10, draws=64, queries=20_000),
        "held_out": {"draws": 16},
        "measuring": {"seeds": 100},
        "quality": {"prompts": 500, "most": 32},
        "certification": {"prompts": 4000, "copies": 5},
        "selection": {"attack": 3000, "candidates": 600},
        "training": {"trainable_layers": 4, "epochs": 2},
    },
}
"""Named sizes: `tiny` for tests (seconds), `demo` for a laptop (minutes), `full` (an hour or more)."""
