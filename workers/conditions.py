"""Conditions as data: which labelled snippets a classifier is trained on, as named lists of datasets (paper, table 3).

A condition knows no round of its own: its datasets say where their snippets stand, in a round's pools, among an
attack's finds, in a batch, or anywhere by source. So a round's training, table 3 and a user's own lists are one thing.
"""

from __future__ import annotations

import uuid
from typing import Any, Self

from django.db.models import QuerySet
from pydantic import Field, field_validator, model_validator

from webapi.models import AttackCandidate, Consensus, Policy, Pool, Round, RoundSnippet, Source, SplitName, Task
from workers.round_settings import Part, round_settings

BASELINE = "baseline"
MANUAL, PARAPHRASES, TOOL_ASSISTED = "+manual", "+paraphrases", "+tool-assisted"
TABLE_3 = (BASELINE, MANUAL, PARAPHRASES, TOOL_ASSISTED)
"""The paper's conditions; each has the datasets of those before it and one more."""


class Dataset(Part):
    """Labelled snippets of one split: those that fit all that is said here."""

    name: str = Field(min_length=1, max_length=64)
    initial: bool = False
    """Rows of such datasets give way to the others' where sizes are equal; only the others' are oversampled."""
    round: uuid.UUID | None = None
    """Those that have a place in this round."""
    pools: tuple[Pool, ...] = ()
    """Of the round's, those in these pools; none: in any."""
    selected: bool | None = None
    """Of the round's, those that selection chose, or did not choose."""
    sources: tuple[Source, ...] = ()
    attacks: tuple[uuid.UUID, ...] = ()
    """Finds of these attacks."""
    batch: uuid.UUID | None = None
    """Those that this batch sent out for labels."""
    details: dict[str, str | int | float | bool] = {}
    """Those whose `details` have these values."""

    @field_validator("details")
    @classmethod
    def _plain_keys(cls, value: dict[str, Any]) -> dict[str, Any]:
        if wrong := [key for key in value if not key.isidentifier() or "__" in key]:
            raise ValueError(f"{wrong[0]!r} is no name of a detail")
        return value

    @model_validator(mode="after")
    def _places_are_of_a_round(self) -> Self:
        if self.round is None and (self.pools or self.selected is not None):
            raise ValueError("pools and selected are a round's: say which")
        return self


class Condition(Part):
    """A named list of datasets. A snippet that several of them hold is counted to the first."""

    name: str = Field(min_length=1, max_length=64)
    datasets: tuple[Dataset, ...] = Field(min_length=1)

    @field_validator("datasets")
    @classmethod
    def _names(cls, value: tuple[Dataset, ...]) -> tuple[Dataset, ...]:
        names = [one.name for one in value]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"each dataset needs a name of its own; twice: {', '.join(twice)}")
        return value


def labelled_in(policy: Policy, dataset: Dataset, split: SplitName) -> QuerySet[Consensus]:
    """The dataset's labelled snippets in that split, in the order of their texts' hashes: at random."""
    rows = Consensus.objects.filter(snippet__policy=policy, snippet__split=split)
    if dataset.round is not None:
        places = RoundSnippet.objects.filter(round=dataset.round)
        if dataset.pools:
            places = places.filter(pool__in=dataset.pools)
        if dataset.selected is not None:
            places = places.filter(selected=dataset.selected)
        rows = rows.filter(snippet__in=places.values("snippet"))
    if dataset.sources:
        rows = rows.filter(snippet__source__in=dataset.sources)
    if dataset.attacks:
        finds = AttackCandidate.objects.filter(attack__in=dataset.attacks)
        rows = rows.filter(snippet__in=finds.values("snippet"))
    if dataset.batch is not None:
        tasks = Task.objects.filter(batch=dataset.batch, gold=None)
        rows = rows.filter(snippet__in=tasks.values("snippet"))
    for key, value in dataset.details.items():
        rows = rows.filter(**{f"snippet__details__{key}": value})
    return rows.order_by("snippet__content_hash", "snippet__external_id")


def initial_of(round_: Round) -> Dataset:
    """What a round labelled first."""
    return Dataset(name="initial", initial=True, round=round_.pk, pools=(Pool.INITIAL,))


def baseline_of(round_: Round) -> Condition:
    """What a round's baseline is trained on."""
    return Condition(name=BASELINE, datasets=(initial_of(round_),))


def retrained_of(round_: Round) -> Condition:
    """What a round's retrained classifier is trained on: the first labels, and all that selection chose."""
    chosen = Dataset(name="selected", round=round_.pk, selected=True)
    return Condition(name=round_settings(round_.config).retrained, datasets=(initial_of(round_), chosen))


def paraphrases_of(round_: Round) -> Dataset:
    """The paraphrases among what selection chose of the attacks' finds; ordinary snippets that it chose are not."""
    return Dataset(
        name="paraphrases", round=round_.pk, pools=(Pool.ATTACK,), selected=True, sources=(Source.PARAPHRASE,)
    )


def table_3(round_: Round, manual: Dataset, tool_assisted: Dataset) -> dict[str, Condition]:
    """The paper's four conditions on a round's labels and what was written beside it, by name."""
    datasets = (initial_of(round_), manual, paraphrases_of(round_), tool_assisted)
    return {name: Condition(name=name, datasets=datasets[: i + 1]) for i, name in enumerate(TABLE_3)}
