"""Jobs: the truth about work to do, in every mode. A broker only says "look at this job now".

A job is claimed by lease, renewed by heartbeat and ended by a move conditional on the lease's token, so that two
workers never both finish it and a dead worker's job comes back.
"""

from __future__ import annotations

import uuid
from datetime import timedelta

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from webapi.models.base import Row
from webapi.models.rounds import RoundState, Stage


class JobState(models.TextChoices):
    """A job's life."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Job(Row):
    """One piece of work for a worker."""

    kind = models.CharField(max_length=32)
    args = models.JSONField(default=dict, blank=True)
    queue = models.CharField(max_length=16, default="default")
    stage = models.ForeignKey(Stage, null=True, blank=True, on_delete=models.CASCADE, related_name="jobs")
    attack = models.ForeignKey("Attack", null=True, blank=True, on_delete=models.CASCADE, related_name="jobs")
    sweep = models.ForeignKey("Sweep", null=True, blank=True, on_delete=models.CASCADE, related_name="jobs")
    evaluation = models.ForeignKey("Evaluation", null=True, blank=True, on_delete=models.CASCADE, related_name="jobs")
    shard = models.CharField(max_length=64, default="0")
    """Which part of its stage; unique in it, so that planning twice makes no job twice."""
    state = models.CharField(max_length=16, choices=JobState, default=JobState.QUEUED)
    done = models.PositiveIntegerField(default=0)
    total = models.PositiveIntegerField(default=0)
    error = models.TextField(blank=True)
    result = models.JSONField(default=dict, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL)
    attempts = models.PositiveSmallIntegerField(default=0)
    not_before = models.DateTimeField(default=timezone.now)
    published_at = models.DateTimeField(null=True, blank=True)
    lease_token = models.UUIDField(null=True, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    worker = models.CharField(max_length=200, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta(Row.Meta):
        constraints = [
            models.UniqueConstraint(
                fields=["stage", "kind", "shard"], condition=~Q(stage=None), name="job_once_per_shard"
            ),
            models.UniqueConstraint(
                fields=["sweep", "kind", "shard"], condition=~Q(sweep=None), name="job_once_per_run_of_a_sweep"
            ),
            models.UniqueConstraint(
                fields=["evaluation", "kind", "shard"],
                condition=~Q(evaluation=None),
                name="job_once_per_shard_of_an_evaluation",
            ),
        ]
        indexes = [models.Index(fields=["state", "not_before"], name="job_due")]

    def __str__(self) -> str:
        return f"{self.kind}/{self.shard}"

    @classmethod
    def claim(cls, job_id: uuid.UUID | str, *, worker: str) -> Job | None:
        """queued (or running under a lease that ran out) -> running under a new lease. None: not to be had now."""
        now = timezone.now()
        token = uuid.uuid4()
        free = Q(state=JobState.QUEUED, not_before__lte=now) | Q(state=JobState.RUNNING, lease_expires_at__lt=now)
        held_back = Q(stage__round__state__in=[RoundState.PAUSED, RoundState.CANCELLED, RoundState.FAILED])
        ids = cls.objects.filter(free, pk=job_id).exclude(held_back).values("pk")
        claimed = cls.objects.filter(free, pk__in=ids).update(
            state=JobState.RUNNING,
            lease_token=token,
            lease_expires_at=now + timedelta(seconds=settings.JOB_LEASE_SECONDS),
            attempts=F("attempts") + 1,
            worker=worker,
            started_at=now,
            error="",
        )
        if not claimed:
            return None
        return cls.objects.select_related("stage__round", "attack", "sweep", "evaluation").get(pk=job_id)

    def _move(self, **fields: object) -> bool:
        mine = Job.objects.filter(pk=self.pk, state=JobState.RUNNING, lease_token=self.lease_token)
        return bool(mine.update(**fields))

    def renew(self, *, done: int, total: int) -> bool:
        """Keeps the lease and notes progress. False: the lease was lost, stop."""
        expires_at = timezone.now() + timedelta(seconds=settings.JOB_LEASE_SECONDS)
        return self._move(lease_expires_at=expires_at, done=done, total=total)

    def succeed(self, result: dict[str, object]) -> bool:
        """running under this lease -> succeeded."""
        return self._move(
            state=JobState.SUCCEEDED, result=result, done=F("total"), finished_at=timezone.now(), lease_expires_at=None
        )

    def fail(self, error: str) -> bool:
        """running under this lease -> failed."""
        return self._move(state=JobState.FAILED, error=error, finished_at=timezone.now(), lease_expires_at=None)

    def cancel(self) -> bool:
        """running under this lease -> cancelled."""
        return self._move(state=JobState.CANCELLED, finished_at=timezone.now(), lease_expires_at=None)

    def put_back(self, *, after_seconds: float, error: str = "") -> bool:
        """running under this lease -> queued, not before `after_seconds` from now."""
        not_before = timezone.now() + timedelta(seconds=after_seconds)
        return self._move(
            state=JobState.QUEUED, error=error, not_before=not_before, published_at=None, lease_expires_at=None
        )

    def come_back(self, *, after_seconds: float) -> bool:
        """As `put_back`, but nothing went wrong: what waits for people may look any number of times."""
        not_before = timezone.now() + timedelta(seconds=after_seconds)
        fields = {"attempts": 0, "published_at": None, "lease_expires_at": None}
        return self._move(state=JobState.QUEUED, not_before=not_before, **fields)

    def hurry(self) -> bool:
        """Queued stays so, but is due now. False if it runs or has ended."""
        queued = Job.objects.filter(pk=self.pk, state=JobState.QUEUED)
        return bool(queued.update(not_before=timezone.now(), published_at=None))

    def hand_back(self) -> bool:
        """running under this lease -> queued and due, this attempt uncounted: its worker stops, nothing went wrong."""
        fields = {"published_at": None, "lease_token": None, "lease_expires_at": None}
        return self._move(state=JobState.QUEUED, attempts=F("attempts") - 1, **fields)
