"""Sweeps: launched, cancelled, set going again."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from django.db import IntegrityError, transaction

from engine.errors import BadInput
from webapi.errors import DomainError, FieldError
from webapi.models import (
    Artifact,
    BatchState,
    Classifier,
    DatasetSnapshot,
    JobState,
    Round,
    RunState,
    Sweep,
    SweepState,
    TrainingRun,
    User,
)
from webapi.models.sweeps import PREPARE_SWEEP
from webapi.services.batches import batch_move
from workers.jobs import enqueue
from workers.publish import wake
from workers.round_settings import round_settings
from workers.sweep_settings import SweepSettings, sweep_settings
from workers.training_sweeps import cancel_jobs, conclude, queue_runs
from workers.validation_labels import batches_of

LONGEST_NAME = 64
TO_DO = (RunState.PENDING, RunState.RUNNING)


def sweep_create(
    *,
    settings: Mapping[str, Any],
    classifier: Classifier | None = None,
    snapshot: DatasetSnapshot | None = None,
    round_: Round | None = None,
    name: str = "sweep",
    created_by: User | None = None,
) -> Sweep:
    """A new sweep over the snapshot of `classifier`, by its recipe, or over `snapshot`, by that of the round. `round_`
    (default: the snapshot's own) lends the validation prompts. A job puts the mix together; then each run is one.

    Raises BadInput naming each wrong field, DomainError `invalid` for things that do not belong together and
    `name_taken` for a condition that the round has already; then nothing is written.
    """
    snapshot = snapshot or (classifier.snapshot if classifier else None)
    if snapshot is None:
        raise _wrong("snapshot", "name a snapshot, or a classifier that has one")
    round_ = _round_for(snapshot, round_ or snapshot.round or (classifier.round if classifier else None))
    wanted = _settings(settings, classifier, round_)
    if not 1 <= len(name.strip()) <= LONGEST_NAME:
        raise BadInput(f"takes 1 to {LONGEST_NAME} characters", where="name")
    if Classifier.objects.filter(round=round_, condition=name).exists():
        raise DomainError("name_taken", f"{round_.name} has a classifier {name!r} already.")
    try:
        with transaction.atomic():
            sweep = Sweep.objects.create(
                policy=snapshot.policy,
                snapshot=snapshot,
                round=round_,
                swept_from=classifier,
                name=name,
                config=wanted.model_dump(mode="json"),
                created_by=created_by,
            )
            TrainingRun.objects.bulk_create(
                TrainingRun(
                    sweep=sweep,
                    position=position,
                    learning_rate=recipe.learning_rate,
                    seed=recipe.seed,
                    recipe=recipe.model_dump(mode="json"),
                )
                for position, recipe in enumerate(wanted.recipes)
            )
            _prepare(sweep)
    except IntegrityError as error:
        raise DomainError("name_taken", f"{round_.name} has a sweep {name!r} already.") from error
    return sweep


def sweep_cancel(*, sweep: Sweep) -> Sweep:
    """Ends it; finished runs stay, labels too. Raises DomainError `sweep_finished`."""
    with transaction.atomic():
        moved = sweep.cancel()
        if moved:
            cancel_jobs(sweep)
            sweep.runs.filter(state__in=TO_DO).update(state=RunState.CANCELLED)
            for batch in batches_of(sweep).filter(state=BatchState.OPEN):
                with suppress(DomainError):  # it has just ended: there is nothing left to take back
                    batch_move(batch=batch, move="cancel")
    sweep.refresh_from_db()
    if not moved:
        raise DomainError("sweep_finished", f"The sweep has ended before: {sweep.state}.")
    return sweep


def sweep_retry(*, sweep: Sweep) -> Sweep:
    """Sets a failed or cancelled sweep going again: what has finished is not repeated. Raises `sweep_not_stopped`."""
    with transaction.atomic():
        moved = sweep.retry()
        sweep.refresh_from_db()
        if moved:
            sweep.runs.exclude(state=RunState.SUCCEEDED).update(state=RunState.PENDING, error="", finished_at=None)
            sweep.jobs.exclude(state=JobState.SUCCEEDED).delete()
            if sweep.state == SweepState.PENDING:
                _prepare(sweep)
            else:
                queue_runs(sweep)
                conclude(sweep)
    if not moved:
        raise DomainError("sweep_not_stopped", f"The sweep is {sweep.state}.")
    sweep.refresh_from_db()
    wake()
    return sweep


def _prepare(sweep: Sweep) -> None:
    enqueue(PREPARE_SWEEP, {}, sweep=sweep, queue="generation", created_by=sweep.created_by)


def _settings(settings: Mapping[str, Any], classifier: Classifier | None, round_: Round) -> SweepSettings:
    """The recipe, the precision and the KL are the classifier's, or the round's, unless they are named."""
    of_round = round_settings(round_.config)
    recipe = classifier.recipe if classifier else of_round.training.model_dump(mode="json")
    precision = classifier.precision if classifier else of_round.precision
    given = dict(settings)
    if isinstance(given.get("recipe"), Mapping):
        given["recipe"] = {**recipe, **given["recipe"]}
    return sweep_settings({"recipe": recipe, "precision": precision, "target_kl": of_round.target_kl, **given})


def _round_for(snapshot: DatasetSnapshot, round_: Round | None) -> Round:
    """The round, if the snapshot can be trained on and the round can set thresholds for it."""
    if not snapshot.trains:
        raise BadInput("is not to be trained on", where="snapshot")
    if round_ is None:
        raise _wrong("round", "the snapshot was made outside rounds: name one that lends its validation prompts")
    if round_.policy_id != snapshot.policy_id:
        raise _wrong("round", "is of another policy than the snapshot")
    if not Artifact.objects.filter(path=f"rounds/{round_.pk}/alternates-validation.parquet").exists():
        raise _wrong("round", "has not completed its validation prompts (yet), which set the thresholds")
    return round_


def _wrong(field: str, message: str) -> DomainError:
    return DomainError("invalid", f"{field}: {message}", errors=[FieldError((field,), "invalid", message)])
