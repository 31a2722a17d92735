"""How a worker runs a job: under its lease, with a heartbeat. Here is the registry of job kinds."""

from __future__ import annotations

import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection, transaction

from engine.errors import EngineError, UnknownName
from labeling_adapters.base import AdapterError
from webapi.models import Job
from webapi.models.attacks import ATTACK_SHARD, CHOOSE_SEEDS
from webapi.models.evaluations import BUY, DRAW, PLAN, PREPARE, REPORT
from webapi.models.generators import TUNE_GENERATOR
from webapi.models.sweeps import PREPARE_SWEEP, TRAINING_RUN
from workers import (
    aggregate,
    attack,
    attack_alone,
    audits,
    condition_data,
    condition_training,
    deepen,
    evaluation_buying,
    evaluation_report,
    evaluations,
    export_classifier,
    import_hatemoji,
    import_judgements,
    index_refresh,
    index_shards,
    judged,
    rounds,
    sample,
    training_sweeps,
    transfer,
    tune,
    vendors,
    webhooks,
)
from workers.jobs import JobEnded, JobRun, Later

logger = logging.getLogger(__name__)

JOBS: dict[str, Callable[[JobRun], dict[str, Any]]] = {
    "stage": rounds.run_stage_job,
    "send_batch": vendors.send_tasks,
    "deepen_batch": deepen.deepen_batch,
    "collect_labels": vendors.collect_labels,
    "move_batch": vendors.move_batch,
    "follow_labels": aggregate.follow,
    "import_snippets": transfer.import_snippets,
    "import_judgements": import_judgements.import_judgements,
    "import_hatemoji": import_hatemoji.import_hatemoji,
    "write_examples": condition_data.write_examples,
    "train_condition": condition_training.train_condition,
    "export_rows": transfer.export_rows,
    "export_classifier": export_classifier.export_classifier,
    "draw_audits": audits.draw_audits,
    CHOOSE_SEEDS: attack_alone.choose_seeds,
    ATTACK_SHARD: attack.attack_shard,
    TUNE_GENERATOR: tune.tune_generator,
    sample.SAMPLE_COMPLETIONS: sample.sample_completions,
    PREPARE_SWEEP: training_sweeps.prepare_sweep,
    TRAINING_RUN: training_sweeps.training_run,
    training_sweeps.MEASURE_PICKED: training_sweeps.measure_picked,
    judged.TRAIN_JUDGED: judged.train_judged,
    PREPARE: evaluations.prepare_evaluation,
    DRAW: evaluations.draw_outputs,
    PLAN: evaluation_buying.plan_labels,
    BUY: evaluation_buying.buy_labels,
    REPORT: evaluation_report.report_evaluation,
    "deliver_webhook": webhooks.deliver_webhook,
    index_refresh.REFRESH: index_refresh.refresh_index,
    index_refresh.EMBED: index_shards.embed_shard,
}


AFTER: dict[str, Callable[[Job], None]] = {
    "export_rows": transfer.export_ended,
    "export_classifier": transfer.export_ended,
    "deliver_webhook": webhooks.delivery_ended,
    CHOOSE_SEEDS: attack_alone.job_ended,
    ATTACK_SHARD: attack_alone.job_ended,
    PREPARE_SWEEP: training_sweeps.job_ended,
    TRAINING_RUN: training_sweeps.job_ended,
    **dict.fromkeys((PREPARE, DRAW, PLAN, BUY, REPORT), evaluations.job_ended),
}
"""What follows the end of a job, by kind, in the transaction that ends it."""

_at_hand: dict[uuid.UUID, Job] = {}


def jobs_at_hand() -> list[Job]:
    """The jobs that threads of this process run now."""
    return list(_at_hand.values())


def execute(job_id: uuid.UUID | str) -> bool:
    """Claims and runs one job. False if it was not to be had. Never raises for what the job does."""
    job = Job.claim(job_id, worker=f"{socket.gethostname()}:{os.getpid()}")
    if job is None:
        return False
    if job.attempts > settings.JOB_MAX_ATTEMPTS:
        _give_up(job, f"its worker died {job.attempts - 1} times: out of memory, or killed")
        return True
    _at_hand[job.pk] = job
    run = JobRun(job)
    stop = threading.Event()
    heart = threading.Thread(target=_beat, args=(run, stop), name=f"heartbeat-{job.pk}", daemon=True)
    heart.start()
    try:
        _run(run)
    finally:
        stop.set()
        heart.join()
        _at_hand.pop(job.pk, None)
    return True


def _beat(run: JobRun, stop: threading.Event) -> None:
    try:
        while not stop.wait(settings.JOB_LEASE_SECONDS / 3):
            try:
                run.beat()
            except DatabaseError as error:  # it may be back before the lease runs out
                logger.warning("heartbeat of job %s put off, database not reached: %s", run.job.pk, error)
                connection.close()
    finally:
        connection.close()


def _run(run: JobRun) -> None:
    job = run.job
    try:
        if job.kind not in JOBS:
            raise UnknownName("job kind", job.kind, JOBS)
        result = JOBS[job.kind](run)
    except Later as later:
        job.come_back(after_seconds=later.seconds)
    except JobEnded:
        job.cancel()
    except (EngineError, AdapterError) as error:
        _failed(job, str(error), permanent=error.permanent)
    except Exception as error:  # a worker outlives whatever a job does
        logger.exception("job %s (%s) failed", job.pk, job.kind)
        _failed(job, f"{type(error).__name__}: {error}", permanent=isinstance(error, OSError | ValueError))
    else:
        run.final_progress()
        if _end(job, lambda: job.succeed(result)) and job.stage is not None:
            rounds.advance(job.stage.round_id)


def _end(job: Job, move: Callable[[], bool]) -> bool:
    """Ends the job, with what follows. False if it was not ours any more."""
    with transaction.atomic():
        ended = move()
        if ended and job.kind in AFTER:
            job.refresh_from_db()
            AFTER[job.kind](job)
    return ended


def _failed(job: Job, error: str, *, permanent: bool) -> None:
    if permanent or job.attempts >= settings.JOB_MAX_ATTEMPTS:
        _give_up(job, error)
    else:
        job.put_back(after_seconds=2.0**job.attempts, error=error)


def _give_up(job: Job, error: str) -> None:
    if _end(job, lambda: job.fail(error)) and job.stage is not None:
        rounds.fail(job.stage, error)
