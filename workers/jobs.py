"""Jobs: how one is queued, and what a job function gets while a worker runs it.

A job function takes a `JobRun`, loads rows by the ids in `run.args`, calls the engine or an adapter, and writes back so
that running it twice changes nothing.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

from django.db import transaction
from django.db.models import Q

from webapi.models import Attack, AttackState, Evaluation, Job, JobState, Round, RoundState, Stage, Sweep, User
from webapi.models import evaluations as evaluation_states
from webapi.models.sweeps import STOPPED
from workers.publish import publish

T = TypeVar("T")


class JobEnded(Exception):
    """The job's lease was lost, or its round was cancelled: stop at once and write nothing more."""


class Later(Exception):
    """Not done and nothing wrong: run the job again after so many seconds, holding no worker meanwhile."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"again in {seconds} s")


class JobRun:
    """What a job function gets: its arguments, its round, and a way to tell how far it is."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.args: Mapping[str, Any] = job.args
        self._done, self._total = 0, 0
        self._noted = time.monotonic()
        self._ended = threading.Event()

    @property
    def stage(self) -> Stage:
        """The stage that this job is part of."""
        if self.job.stage is None:
            raise ValueError(f"job {self.job.pk} belongs to no stage")
        return self.job.stage

    @property
    def round(self) -> Round:
        """The round that this job is part of."""
        return self.stage.round

    @property
    def attack(self) -> Attack:
        """The attack that this job is part of."""
        if self.job.attack is None:
            raise ValueError(f"job {self.job.pk} belongs to no attack")
        return self.job.attack

    @property
    def sweep(self) -> Sweep:
        """The sweep that this job is part of."""
        if self.job.sweep is None:
            raise ValueError(f"job {self.job.pk} belongs to no sweep")
        return self.job.sweep

    @property
    def evaluation(self) -> Evaluation:
        """The evaluation that this job is part of."""
        if self.job.evaluation is None:
            raise ValueError(f"job {self.job.pk} belongs to no evaluation")
        return self.job.evaluation

    def progress(self, done: int, total: int) -> None:
        """Notes progress, at most once a second in the database. Raises JobEnded if the job is no longer ours."""
        self._done, self._total = done, total
        self.look()

    def look(self) -> None:
        """As `progress`, where nothing more is done yet."""
        if time.monotonic() - self._noted >= 1:
            self.beat()
        if self._ended.is_set():
            raise JobEnded

    def beat(self) -> None:
        """Renews the lease with the latest progress; notices that it was lost or the round cancelled."""
        self._noted = time.monotonic()
        if self._cancelled() or not self.job.renew(done=self._done, total=self._total):
            self._ended.set()

    def _cancelled(self) -> bool:
        """Whether what this job is part of was cancelled, or is a sweep, an evaluation or an attack outside rounds that
        failed elsewhere."""
        stage, attack = self.job.stage, self.job.attack_id
        if stage is not None and Round.objects.filter(pk=stage.round_id, state=RoundState.CANCELLED).exists():
            return True
        if self.job.sweep_id is not None and Sweep.objects.filter(pk=self.job.sweep_id, state__in=STOPPED).exists():
            return True
        if (mine := self.job.evaluation_id) is not None:
            return Evaluation.objects.filter(pk=mine, state__in=evaluation_states.STOPPED).exists()
        # A round that failed may be retried and has its shards then; what an attack alone goes on to find is lost.
        ended = Q(state=AttackState.CANCELLED) | Q(state=AttackState.FAILED, round=None)
        return attack is not None and Attack.objects.filter(ended, pk=attack).exists()

    def final_progress(self) -> None:
        """Writes the last figures, so that a short job's counts are kept too."""
        self.job.renew(done=self._done, total=max(self._total, 1))


def enqueue(
    kind: str,
    args: Mapping[str, Any],
    *,
    stage: Stage | None = None,
    attack: uuid.UUID | str | None = None,
    sweep: Sweep | None = None,
    evaluation: Evaluation | None = None,
    shard: str = "0",
    queue: str = "default",
    created_by: User | None = None,
) -> Job:
    """A new job, announced once the surrounding transaction commits. Of a stage, a sweep or an evaluation a shard is
    queued once."""
    fields = {"args": dict(args), "attack_id": attack, "queue": queue, "created_by": created_by}
    if sweep is not None:
        job, _ = Job.objects.get_or_create(sweep=sweep, kind=kind, shard=shard, defaults=fields)
    elif evaluation is not None:
        job, _ = Job.objects.get_or_create(evaluation=evaluation, kind=kind, shard=shard, defaults=fields)
    elif stage is not None:
        job, _ = Job.objects.get_or_create(stage=stage, kind=kind, shard=shard, defaults=fields)
    else:
        job = Job.objects.create(kind=kind, **fields)
    transaction.on_commit(lambda: publish([job.pk]))
    return job


def cancel_queued(round_id: uuid.UUID) -> int:
    """Cancels a round's jobs that nobody has begun."""
    return Job.objects.filter(stage__round_id=round_id, state=JobState.QUEUED).update(state=JobState.CANCELLED)


def chunked(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of up to `size` items, in order, holding one list at a time."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
