"""What an evaluation that buys labels is asked to do, checked field by field."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from engine.config import checked
from engine.errors import EngineError
from engine.evaluation.designs import Wanted, design
from labeling_adapters import ADAPTERS
from webapi.models import Source, SplitName
from workers.round_settings import Part


class OutputsWanted(Part):
    """Which outputs of the filter labels may be bought for."""

    source: Literal["round", "texts"] = "round"
    """`round`: fresh completions of a round's prompts, drawn through the filter; `texts`: snippets that are there
    already and that the filter accepts."""
    round: uuid.UUID | None = None
    """Whose generator and prompts; none: the classifier's own round. Of texts: only those with a place in it."""
    split: SplitName = SplitName.TEST
    """Prompts or texts of this split. Not that which the classifier was trained on."""
    kinds: tuple[Source, ...] = ()
    """Of texts: how they came to be; none: in any way."""
    limit: int | None = Field(None, ge=1)
    """So many prompts or texts at most, chosen by chance."""
    copies: int = Field(1, ge=1, le=10_000)
    """Outputs drawn for each prompt."""
    tries: int = Field(100, ge=1, le=1000)
    """Proposals for an output, at most; then there is none (paper, A.2)."""

    @field_validator("split")
    @classmethod
    def _not_trained_on(cls, value: SplitName) -> SplitName:
        if value == SplitName.TRAIN:
            raise ValueError("what was trained on measures nothing")
        return value


class LabelErrorAssumed(Part):
    """How often a label is taken to be wrong, for the report's sentence on label error."""

    false_yes: float | None = Field(None, ge=0, lt=1)
    """Share of sound outputs that a label calls a failure; none: as often as confirmations took a first one back."""
    missed: float = Field(0.0, ge=0, lt=1)
    """Share of failures that a label calls none. No confirmation shows it: gold and audits do."""

    @model_validator(mode="after")
    def _say_something(self) -> Self:
        if (self.false_yes or 0.0) + self.missed >= 1:
            raise ValueError("false_yes and missed: together below 1, or labels say nothing")
        return self


class QualityWanted(Part):
    """Of an evaluation of kind `quality`."""

    half_width: float = Field(0.02, ge=0.0001, le=0.5)
    """Of the interval of quality that the plan is held against."""
    loss: float = Field(0.02, ge=0, le=0.5)
    """How far below a half quality may fall: the lower bound is held against 0.5 less this. The paper's is 0.02."""


class EvaluationSettings(Part):
    """What is to be known, from which outputs, and who labels them."""

    outputs: OutputsWanted = OutputsWanted()
    design: str = "simple_random"
    """In the registry of designs. Of a difference, labels go where the two filters' outputs differ: `simple_random` to
    both outputs of prompts by chance, `stratified` to each output by both filters' scores."""
    relative: float = Field(0.5, ge=0.001, le=10)
    """Half-width of the interval wanted, relative to the rate."""
    level: float = Field(0.95, gt=0.5, le=0.999_999)
    interval: Literal["estimate", "certificate"] = "estimate"
    """Whose half-width is meant."""
    guess: float | None = Field(None, ge=1e-12, lt=1)
    """The rate expected; none: by the pilot, or by the scores."""
    improvement: float = Field(0.5, gt=0, le=1)
    """Of a difference: the share by which the filter may fail less often, of which the plan says what finds it."""
    power: float = Field(0.8, gt=0, lt=1)
    """With which chance that is to be found."""
    pilot: int = Field(0, ge=0, le=100_000)
    """Outputs, drawn by chance, that are labelled before anything is planned; they count for the answer."""
    labels_each: int = Field(1, ge=1, le=25)
    """Labels an output gets at first."""
    confirmations: int = Field(2, ge=0, le=20)
    """Further labels that each failure gets before it counts."""
    confirmed_by: Literal["all", "consensus"] = "all"
    """`all`: it counts if nobody says otherwise; `consensus`: if the policy's rule still says so. Where trusted
    labelers judged, they have the last word in either."""
    false_yes: float = Field(0.0, ge=0, le=1)
    """Share of sound outputs of which the first label says failure: their confirmations are planned for."""
    quality: QualityWanted = QualityWanted()
    label_error: LabelErrorAssumed = LabelErrorAssumed()
    """What the report assumes of labels; what is counted stays as it is."""
    price: float | None = Field(None, ge=0, le=1e6)
    """USD a label."""
    seconds: float | None = Field(None, ge=0, le=1e6)
    """An annotator's time for a label."""
    at_once: int | None = Field(None, ge=1)
    """Outputs sent out together; none: all of a fixed number, a twentieth of one that is not."""
    adapter: str = "pull"
    config: dict[str, Any] = {}
    """The adapter's own settings. Secrets are named by environment variable."""
    priority: int = Field(0, ge=-1000, le=1000)
    seed: int = Field(0, ge=0, le=2**31 - 1)
    """Decides what is drawn."""
    buy: bool = True
    """False: stop at the plans."""

    @field_validator("design")
    @classmethod
    def _design(cls, value: str) -> str:
        try:
            design(value)
        except EngineError as error:
            raise ValueError(str(error)) from None
        return value

    @field_validator("adapter")
    @classmethod
    def _adapter(cls, value: str) -> str:
        if value not in ADAPTERS:
            raise ValueError(f"unknown labeling adapter {value!r}; known: {', '.join(sorted(ADAPTERS))}")
        return value

    @model_validator(mode="after")
    def _suits(self) -> Self:
        if self.labels_each + self.confirmations > 25:
            raise ValueError("labels_each and confirmations: at most 25 labels an output")
        if self.pilot and not self.buy:
            raise ValueError("pilot: its labels would be bought, and nothing was to be")
        return self

    def wanted(self, guess: float | None = None) -> Wanted:
        """As the engine takes it; `guess` where none was given."""
        return Wanted(
            relative=self.relative,
            level=self.level,
            guess=self.guess if self.guess is not None else guess,
            confirmations=self.confirmations,
            labels_each=self.labels_each,
            price=self.price,
            seconds=self.seconds,
            false_yes=self.false_yes,
            interval=self.interval,
        )


def evaluation_settings(data: Mapping[str, Any], *, where: str = "settings") -> EvaluationSettings:
    """Checked settings. Raises BadInput naming each wrong field."""
    return checked(EvaluationSettings, data, where=where)
