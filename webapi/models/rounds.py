"""Rounds and their stages, with their state moves: one conditional UPDATE each; no rows changed = another won."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone

from webapi.models.base import Row
from webapi.models.corpora import Corpus
from webapi.models.policies import Policy


class RoundState(models.TextChoices):
    """A round's life."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StageState(models.TextChoices):
    """A stage's life. `waiting` is for people: no worker is held."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Round(Row):
    """One turn of the loop."""

    name = models.CharField(max_length=200)
    policy = models.ForeignKey(Policy, on_delete=models.PROTECT, related_name="rounds")
    corpus = models.ForeignKey(Corpus, on_delete=models.PROTECT, related_name="rounds")
    config = models.JSONField(default=dict)
    """Checked by `workers.round_settings.RoundSettings`."""
    seed = models.PositiveIntegerField(default=0)
    state = models.CharField(max_length=16, choices=RoundState, default=RoundState.PENDING, db_index=True)
    error = models.TextField(blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    summary = models.JSONField(default=dict, blank=True)
    """The before/after figures, once the report stage has run."""

    def __str__(self) -> str:
        return self.name

    def _move(self, *, to: str, since: tuple[str, ...], **fields: object) -> bool:
        return bool(Round.objects.filter(pk=self.pk, state__in=since).update(state=to, **fields))

    def start(self) -> bool:
        """pending -> running."""
        return self._move(to=RoundState.RUNNING, since=(RoundState.PENDING,), started_at=timezone.now())

    def pause(self) -> bool:
        """running -> paused. Jobs under way end; no further job begins."""
        return self._move(to=RoundState.PAUSED, since=(RoundState.RUNNING,))

    def resume(self) -> bool:
        """paused -> running."""
        return self._move(to=RoundState.RUNNING, since=(RoundState.PAUSED,))

    def retry(self) -> bool:
        """failed -> running, and its failed stage -> pending."""
        moved = self._move(to=RoundState.RUNNING, since=(RoundState.FAILED,), error="", finished_at=None)
        if moved:
            self.stages.filter(state=StageState.FAILED).update(state=StageState.PENDING, error="")
        return moved

    def cancel(self) -> bool:
        """Anything unfinished -> cancelled."""
        unfinished = (RoundState.PENDING, RoundState.RUNNING, RoundState.PAUSED, RoundState.FAILED)
        return self._move(to=RoundState.CANCELLED, since=unfinished, finished_at=timezone.now())

    def succeed(self) -> bool:
        """running -> succeeded."""
        return self._move(to=RoundState.SUCCEEDED, since=(RoundState.RUNNING,), finished_at=timezone.now())

    def fail(self, error: str) -> bool:
        """running or paused -> failed."""
        since = (RoundState.RUNNING, RoundState.PAUSED)
        return self._move(to=RoundState.FAILED, since=since, error=error, finished_at=timezone.now())


class Stage(Row):
    """One step of a round. Jobs run it."""

    round = models.ForeignKey(Round, on_delete=models.CASCADE, related_name="stages")
    name = models.CharField(max_length=32)
    position = models.PositiveSmallIntegerField()
    state = models.CharField(max_length=16, choices=StageState, default=StageState.PENDING)
    error = models.TextField(blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    runs = models.PositiveSmallIntegerField(default=0)
    """How often it began: 1 in a round where nothing failed, whatever was killed."""
    result = models.JSONField(default=dict, blank=True)

    class Meta(Row.Meta):
        ordering = ["round", "position"]
        constraints = [
            models.UniqueConstraint(fields=["round", "name"], name="stage_once_per_round"),
            models.UniqueConstraint(fields=["round", "position"], name="stage_position_once"),
        ]

    def __str__(self) -> str:
        return self.name

    def _move(self, *, to: str, since: tuple[str, ...], **fields: object) -> bool:
        return bool(Stage.objects.filter(pk=self.pk, state__in=since).update(state=to, **fields))

    def start(self) -> bool:
        """pending -> running."""
        fields = {"started_at": timezone.now(), "finished_at": None, "runs": models.F("runs") + 1}
        return self._move(to=StageState.RUNNING, since=(StageState.PENDING,), **fields)

    def wait(self) -> bool:
        """running -> waiting (for people)."""
        return self._move(to=StageState.WAITING, since=(StageState.RUNNING,))

    def succeed(self, result: dict[str, object]) -> bool:
        """running or waiting -> succeeded."""
        since = (StageState.RUNNING, StageState.WAITING)
        return self._move(to=StageState.SUCCEEDED, since=since, result=result, finished_at=timezone.now())

    def fail(self, error: str) -> bool:
        """running or waiting -> failed."""
        since = (StageState.RUNNING, StageState.WAITING)
        return self._move(to=StageState.FAILED, since=since, error=error, finished_at=timezone.now())
