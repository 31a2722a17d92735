"""Stages `train_baseline` and `train`: a dataset snapshot of a condition, and the classifier trained on it."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engine.classifiers import Example, train
from engine.environment import environment
from engine.errors import BadInput
from engine.policies import Policy
from engine.snippets import Snippet
from webapi.models import Classifier, Consensus, DatasetSnapshot, Pool, Round
from workers.artifacts import register, round_path, writing
from workers.jobs import JobRun
from workers.round_settings import round_settings

BASELINE = "baseline"


class Row(NamedTuple):
    """One line of a snapshot's manifest."""

    snippet_id: str
    content_hash: str
    source: str
    choice: str
    prompt: str
    completion: str


def train_baseline(run: JobRun) -> dict[str, Any]:
    """Trains on the first labels."""
    return _train(run, BASELINE, _initial(run.round), parent=None)


def train_retrained(run: JobRun) -> dict[str, Any]:
    """Trains on the first labels and the selected ones; with `equal_sizes` added rows replace random initial ones."""
    initial, added = _initial(run.round), _selected(run.round)
    if round_settings(run.round.config).equal_sizes:
        order = np.random.default_rng([run.round.seed, len(initial)]).permutation(len(initial))
        kept = order[: max(len(initial) - len(added), 0)]
        initial = [initial[i] for i in sorted(kept)]
    parent = Classifier.objects.get(round=run.round, condition=BASELINE)
    return _train(run, retrained_of(run.round), initial + added, parent=parent)


def _initial(round_: Round) -> list[Row]:
    return _rows(round_, pool=Pool.INITIAL)


def _selected(round_: Round) -> list[Row]:
    return _rows(round_, selected=True)


def _rows(round_: Round, **members: object) -> list[Row]:
    places = round_.members.filter(**members)
    labelled = Consensus.objects.filter(snippet__in=places.values("snippet")).order_by("snippet__content_hash")
    columns = labelled.values_list(
        "snippet__pk",
        "snippet__content_hash",
        "snippet__source",
        "choice",
        "snippet__prompt",
        "snippet__completion",
    )
    return [Row(str(pk), *map(str, rest)) for pk, *rest in columns]


def _train(run: JobRun, condition: str, rows: list[Row], parent: Classifier | None) -> dict[str, Any]:
    round_, wanted = run.round, round_settings(run.round.config)
    policy = round_.policy.rules
    if not rows:
        raise BadInput("no labelled snippets to train on", where=condition)
    snapshot = _snapshot(round_, condition, rows)
    recipe = wanted.training.model_copy(update={"seed": round_.seed})
    folder = round_path(round_, f"classifiers/{condition}")
    trained = train(_examples(rows, policy), recipe, out_dir=folder, progress=run.progress)
    Classifier.objects.update_or_create(
        round=round_,
        condition=condition,
        defaults={
            "policy": round_.policy,
            "name": f"{round_.name} {condition}",
            "parent": parent,
            "snapshot": snapshot,
            "artifact": register(folder, "classifier"),
            "encoder": recipe.encoder,
            "recipe": recipe.model_dump(),
            "precision": wanted.precision,
            "environment": environment(),
            "metrics": {"training": {**trained._asdict(), "path": None}},
        },
    )
    return {"examples": len(rows)}


def _examples(rows: list[Row], policy: Policy) -> list[Example]:

    return [Example(Snippet(row.prompt, row.completion), policy.trains_as_positive(row.choice)) for row in rows]


def _snapshot(round_: Round, condition: str, rows: list[Row]) -> DatasetSnapshot:
    """The manifest: written once, then only read."""
    path = round_path(round_, f"snapshots/{condition}.parquet")
    with writing(path) as temporary:
        pq.write_table(pa.Table.from_pylist([row._asdict() for row in rows]), temporary)
    counts = Counter(f"{row.source}/{row.choice}" for row in rows)
    snapshot, _ = DatasetSnapshot.objects.update_or_create(
        round=round_,
        condition=condition,
        defaults={"artifact": register(path, "snapshot"), "size": len(rows), "counts": dict(counts)},
    )
    return snapshot


def retrained_of(round_: Round) -> str:
    """The condition of the round's retrained classifier."""
    return round_settings(round_.config).retrained


def classifier_of(round_: Round, condition: str) -> Classifier:
    """The round's classifier of that condition."""
    return Classifier.objects.select_related("artifact", "policy").get(round=round_, condition=condition)
