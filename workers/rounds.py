"""The loop: the stages of a round, in order, and who comes next.

A stage is planned into shards, each a job; when all its jobs succeeded it is settled and the next begins. Every move is
one conditional UPDATE, so that `advance` may be called by anybody, any number of times, after any crash.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

from django.db import transaction

from engine.errors import EngineError
from webapi.models import AttackState, Job, JobState, Round, RoundState, Stage, StageState
from workers import (
    aggregate,
    attack_stages,
    calibrate,
    certify,
    compare,
    embed,
    evaluate,
    generate,
    ingest,
    label,
    report,
    score,
    select,
    train,
)
from workers.jobs import JobRun, enqueue
from workers.results import total
from workers.webhooks import tell

Shard = dict[str, Any]


def one_shard(stage: Stage) -> dict[str, Shard]:
    """The plan of a stage that is one job."""
    return {"0": {}}


def merge_results(stage: Stage) -> dict[str, Any] | None:
    """The shards' results, added up."""
    return total(stage.jobs.filter(kind="stage").order_by("shard").values_list("result", flat=True))


class StageSpec(NamedTuple):
    """A stage: what a shard runs, in which queue, how it is cut into shards, and how it ends.

    `settle` answers the stage's result, or None while it waits for people.
    """

    name: str
    queue: str
    run: Callable[[JobRun], dict[str, Any]]
    plan: Callable[[Stage], dict[str, Shard]] = one_shard
    settle: Callable[[Stage], dict[str, Any] | None] = merge_results


STAGES: tuple[StageSpec, ...] = (
    StageSpec("ingest", "default", ingest.ingest),
    StageSpec("generate", "generation", generate.generate, plan=generate.plan),
    StageSpec("label_first", "default", label.send_first, settle=label.settle),
    StageSpec("aggregate_first", "default", aggregate.aggregate_round),
    StageSpec("train_baseline", "training", train.train_baseline),
    StageSpec("calibrate_baseline", "scoring", calibrate.calibrate_baseline),
    StageSpec(
        "attack", "generation", attack_stages.attack, plan=attack_stages.plan_before, settle=attack_stages.settle
    ),
    StageSpec("score", "scoring", score.score, plan=score.plan),
    StageSpec("embed", "scoring", embed.embed, plan=embed.plan),
    StageSpec("select", "default", select.select),
    StageSpec("label", "default", label.send_selected, settle=label.settle),
    StageSpec("aggregate", "default", aggregate.aggregate_round),
    StageSpec("train", "training", train.train_retrained),
    StageSpec("calibrate", "scoring", calibrate.calibrate_retrained),
    StageSpec("compare", "default", compare.send, settle=compare.settle),
    StageSpec("quality", "default", compare.measure),
    StageSpec(
        "attack_after", "generation", attack_stages.attack, plan=attack_stages.plan_after, settle=attack_stages.settle
    ),
    StageSpec("label_after", "default", label.send_measured, settle=label.settle),
    StageSpec("aggregate_after", "default", aggregate.aggregate_round),
    StageSpec("evaluate", "scoring", evaluate.evaluate, plan=evaluate.plan),
    StageSpec("certify", "default", certify.certify),
    StageSpec("report", "default", report.report),
)
_SPECS = {spec.name: spec for spec in STAGES}


def start(round_: Round) -> None:
    """Lays out the stages and sets the round going. Starting twice changes nothing."""
    with transaction.atomic():
        stages = [Stage(round=round_, name=spec.name, position=position) for position, spec in enumerate(STAGES)]
        Stage.objects.bulk_create(stages, ignore_conflicts=True)
        round_.start()
    advance(round_.pk)


def run_stage_job(run: JobRun) -> dict[str, Any]:
    """The job kind `stage`: one shard of one stage."""
    return _SPECS[run.stage.name].run(run)


def advance(round_id: uuid.UUID) -> None:
    """Moves a running round as far as it can go now. O(stages)."""
    round_ = Round.objects.get(pk=round_id)
    if round_.state != RoundState.RUNNING:
        return
    for stage in round_.stages.select_related("round").order_by("position"):
        if stage.state == StageState.SUCCEEDED:
            continue
        if not _step(stage):
            return
    with transaction.atomic():
        if round_.succeed():
            tell_end(round_, "succeeded")


def _step(stage: Stage) -> bool:
    """Whether the stage has ended well, after what could be done for it now."""
    if stage.state == StageState.PENDING:
        _begin(stage)
        return False
    if stage.state not in (StageState.RUNNING, StageState.WAITING):
        return False
    if stage.jobs.filter(kind="stage").exclude(state=JobState.SUCCEEDED).exists():
        return False
    result = _SPECS[stage.name].settle(stage)
    if result is None:
        stage.wait()
        return False
    with transaction.atomic():
        ended = stage.succeed(result)
        if ended:
            about = {"round": str(stage.round_id), "stage": stage.name}
            tell("round.stage_finished", f"{stage.pk} {stage.runs}", about)
    return ended


def fail(stage: Stage, error: str) -> None:
    """running -> failed, and the round with it. Nothing where it had ended otherwise."""
    with transaction.atomic():
        said = f"{stage.name}: {error}"
        if stage.fail(error) and stage.round.fail(said):
            attack_stages.end_unfinished(stage.round, AttackState.FAILED, said)
            tell_end(stage.round, "failed", said)


def tell_end(round_: Round, state: str, error: str = "") -> None:
    """Tells of a round's end. One that failed may be retried, and then ends again."""
    runs = sum(round_.stages.values_list("runs", flat=True))
    tell("round.finished", f"{round_.pk} {state} {runs}", {"round": str(round_.pk), "state": state, "error": error})


def _begin(stage: Stage) -> None:
    """pending -> running with its jobs, all or nothing. A retried stage runs only the shards that had not succeeded."""
    try:
        with transaction.atomic():
            if not stage.start():
                return
            stale = stage.jobs.exclude(state=JobState.SUCCEEDED)
            stale.filter(state__in=[JobState.FAILED, JobState.CANCELLED]).delete()
            for shard, args in _SPECS[stage.name].plan(stage).items():
                queue, attack = _SPECS[stage.name].queue, args.get("attack")
                enqueue("stage", args, stage=stage, attack=attack, shard=shard, queue=queue)
    except EngineError as error:
        if stage.start():
            fail(stage, str(error))


def unfinished_jobs(round_: Round) -> int:
    """How many of a round's jobs are queued or running."""
    return Job.objects.filter(stage__round=round_, state__in=[JobState.QUEUED, JobState.RUNNING]).count()
