"""Stages `train_baseline` and `train`: the snapshot of a condition, and the classifier trained on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings

from engine.classifiers import Recipe, TrainingResult, train
from engine.classifiers.apart import train_apart
from engine.classifiers.composing import Composing
from engine.environment import environment
from engine.progress import Progress
from webapi.models import Classifier, DatasetSnapshot, Round
from workers import conditions
from workers.artifacts import register, round_path
from workers.conditions import BASELINE as BASELINE
from workers.conditions import Condition
from workers.jobs import JobRun
from workers.round_settings import round_settings
from workers.snapshots import examples_of, snapshot_of, training_rows


def train_baseline(run: JobRun) -> dict[str, Any]:
    """Trains on the first labels."""
    return _train(run, conditions.baseline_of(run.round), parent=None)


def train_retrained(run: JobRun) -> dict[str, Any]:
    """Trains on the first labels and the selected ones; with `equal_sizes` added rows replace random initial ones."""
    parent = Classifier.objects.get(round=run.round, condition=BASELINE)
    return _train(run, conditions.retrained_of(run.round), parent)


def _train(run: JobRun, condition: Condition, parent: Classifier | None) -> dict[str, Any]:
    round_, wanted = run.round, round_settings(run.round.config)
    composing = Composing(equal_sizes=wanted.equal_sizes, oversample=wanted.oversample)
    snapshot = snapshot_of(round_.policy, condition, composing, seed=round_.seed, round_=round_)
    recipe = wanted.training.model_copy(update={"seed": round_.seed})
    folder = round_path(round_, f"classifiers/{condition.name}")
    trained = train_on(snapshot, recipe, folder, run.progress)
    Classifier.objects.update_or_create(
        round=round_,
        condition=condition.name,
        defaults={
            "policy": round_.policy,
            "name": f"{round_.name} {condition.name}",
            "parent": parent,
            "snapshot": snapshot,
            "artifact": register(folder, "classifier"),
            "encoder": recipe.encoder,
            "recipe": recipe.model_dump(),
            "precision": wanted.precision,
            "environment": environment(),
            "metrics": {"training": {**trained.plain(), "path": None}},
        },
    )
    return {"examples": snapshot.size}


def train_on(
    snapshot: DatasetSnapshot, recipe: Recipe, out_dir: Path, progress: Progress, logs: Path | None = None
) -> TrainingResult:
    """A classifier of the snapshot's rows, as its file has them. `logs`: a folder for TensorBoard.

    A worker trains in a process of its own, which may die without it; that costs seconds, so a laptop's embedded
    worker trains in its own. Killed, it goes on from its last checkpoint. Raises BadInput for a snapshot that was
    changed or would leak between splits.
    """
    examples = examples_of(snapshot.policy.rules, training_rows(snapshot))
    trainer = train if settings.EMBEDDED else train_apart
    checkpoints = out_dir.parent / "checkpoints" / out_dir.name
    return trainer(examples, recipe, out_dir=out_dir, checkpoints=checkpoints, logs=logs, progress=progress)


def retrained_of(round_: Round) -> str:
    """The condition of the round's retrained classifier."""
    return round_settings(round_.config).retrained


def classifier_of(round_: Round, condition: str) -> Classifier:
    """The round's classifier of that condition."""
    return Classifier.objects.select_related("artifact", "policy").get(round=round_, condition=condition)
