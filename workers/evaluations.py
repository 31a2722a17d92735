"""Evaluations that buy labels: outputs drawn, labels planned and bought, the answer reported; each step a job.

prepare -> draw (in shards) -> plan -> buy -> report. Every step may run twice or be killed anywhere: what is drawn lies
in whole files, what is bought is noted in the transaction that sends it out, and a label that is there is used.
"""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.utils import timezone

from engine.errors import BadInput
from webapi.models import (
    Classifier,
    Evaluation,
    EvaluationKind,
    EvaluationState,
    Job,
    JobState,
    User,
)
from webapi.models.base import locked
from webapi.models.evaluations import BUY, DRAW, PLAN, PREPARE, REPORT
from workers import evaluation_quality
from workers.evaluation_pool import is_drawn, write_shard
from workers.evaluation_settings import EvaluationSettings, evaluation_settings
from workers.evaluation_sources import SHARD, SOURCES
from workers.jobs import JobRun, enqueue

MOST_PLACES = 20_000_000
"""Draws of one evaluation: 10,000 shards."""
QUEUES = {PREPARE: "default", DRAW: "generation", PLAN: "default", BUY: "default", REPORT: "default"}


def prepare_evaluation(run: JobRun) -> dict[str, Any]:
    """Job: counts what is to be looked at, and queues the shards that draw it."""
    evaluation = run.evaluation
    wanted = evaluation_settings(evaluation.config)
    places = SOURCES[wanted.outputs.source].places(evaluation, wanted)
    if not places:
        raise BadInput("there is nothing to draw from: no prompt or text of that split", where="outputs")
    if places > MOST_PLACES:
        raise BadInput(f"these are {places:,} draws, at most {MOST_PLACES:,}: ask for fewer copies", where="outputs")
    with transaction.atomic():
        for number, first in enumerate(range(0, places, SHARD)):
            args = {"first": first, "end": min(first + SHARD, places)}
            queue_step(evaluation, DRAW, args, shard=f"{number:05d}")
    return {"places": places}


def draw_outputs(run: JobRun) -> dict[str, Any]:
    """Job: one shard's outputs. A shard that is there whole is not drawn again."""
    evaluation = run.evaluation
    if not is_drawn(evaluation, run.job.shard):
        wanted = evaluation_settings(evaluation.config)
        quality = evaluation.kind == EvaluationKind.QUALITY
        draw = evaluation_quality.draw if quality else SOURCES[wanted.outputs.source].draw
        found = draw(run, evaluation, wanted, int(run.args["first"]), int(run.args["end"]))
        write_shard(evaluation, run.job.shard, found.rows, found.drawing)
    return {"places": run.args["end"] - run.args["first"]}


def evaluation_open(
    *,
    classifier: Classifier,
    wanted: EvaluationSettings,
    name: str,
    kind: EvaluationKind = EvaluationKind.FAILURE_RATE,
    against: Classifier | None = None,
    second: Classifier | None = None,
    parent: Evaluation | None = None,
    created_by: User | None = None,
) -> Evaluation:
    """A new evaluation and its first job. Raises IntegrityError where the classifier has one of that name."""
    with transaction.atomic():
        evaluation = Evaluation.objects.create(
            classifier=classifier,
            round=classifier.round,
            name=name,
            kind=kind if against is None else EvaluationKind.DIFFERENCE,
            against=against,
            second=second,
            design="" if kind == EvaluationKind.QUALITY else wanted.design,
            threshold=classifier.threshold,
            config=wanted.model_dump(mode="json"),
            state=EvaluationState.PLANNING,
            parent=parent,
            created_by=created_by,
        )
        queue_step(evaluation, PREPARE)
    return evaluation


def set_going(evaluation: Evaluation) -> bool:
    """A failed or cancelled one goes on where it stood. False where it had not stopped."""
    with transaction.atomic():
        moved = evaluation.retry()
        evaluation.refresh_from_db()
        if moved:
            evaluation.jobs.exclude(state=JobState.SUCCEEDED).delete()
            _go_on(evaluation)
    return moved


def _go_on(evaluation: Evaluation) -> None:
    if evaluation.state == EvaluationState.PLANNING:
        evaluation.jobs.all().delete()
        queue_step(evaluation, PREPARE)
    elif evaluation_settings(evaluation.config).buy:
        evaluation.jobs.filter(kind=BUY).delete()
        begin(evaluation)


def queue_step(evaluation: Evaluation, kind: str, args: dict[str, Any] | None = None, *, shard: str = "0") -> Job:
    """The step's job, once however often it is asked for."""
    by = evaluation.created_by
    return enqueue(kind, args or {}, evaluation=evaluation, shard=shard, queue=QUEUES[kind], created_by=by)


def job_ended(job: Job) -> None:
    """What follows the end of an evaluation's job, in its transaction: the next step, or the evaluation's failure."""
    if job.evaluation_id is None:
        return
    evaluation = locked(Evaluation.objects.filter(pk=job.evaluation_id)).get()  # of two shards one sees the other
    if job.state == JobState.FAILED:
        if evaluation.fail(job.error):
            cancel_jobs(evaluation)
    elif job.kind == DRAW and not evaluation.jobs.filter(kind=DRAW).exclude(state=JobState.SUCCEEDED).exists():
        queue_step(evaluation, PLAN)
    elif job.kind == PLAN and evaluation.state == EvaluationState.PLANNED:
        if evaluation_settings(evaluation.config).buy:
            begin(evaluation)
    elif job.kind == BUY:
        queue_step(evaluation, REPORT)


def begin(evaluation: Evaluation) -> bool:
    """planned -> labelling, and the job that buys. False where it was not planned."""
    with transaction.atomic():
        moved = evaluation.begin()
        if moved:
            queue_step(evaluation, BUY)
    return moved


def cancel_jobs(evaluation: Evaluation) -> None:
    """Takes back those that nobody has begun; one under way notices at its next heartbeat."""
    queued = evaluation.jobs.filter(state=JobState.QUEUED)
    queued.update(state=JobState.CANCELLED, finished_at=timezone.now())
