"""Sweeps: one training for each learning rate and seed, of which the one that misses least is picked."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from webapi.models.artifacts import Artifact
from webapi.models.base import Row
from webapi.models.classifiers import Classifier
from webapi.models.policies import Policy
from webapi.models.snapshots import DatasetSnapshot


class SweepState(models.TextChoices):
    """A sweep's life. Pending: what its runs are measured on is being put together."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class RunState(models.TextChoices):
    """A training run's life."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


PREPARE_SWEEP, TRAINING_RUN = "prepare_sweep", "training_run"
"""Kinds of job of a sweep: one that puts the validation mix together, then one for each run."""
UNFINISHED = (SweepState.PENDING, SweepState.RUNNING)
STOPPED = (SweepState.FAILED, SweepState.CANCELLED)


class Sweep(Row):
    """Learning rates x seeds on one dataset snapshot. Each pair is a `TrainingRun`, and a job."""

    policy = models.ForeignKey(Policy, on_delete=models.PROTECT, related_name="sweeps")
    snapshot = models.ForeignKey(DatasetSnapshot, on_delete=models.PROTECT, related_name="sweeps")
    """What every run trains on."""
    round = models.ForeignKey("Round", on_delete=models.CASCADE, related_name="sweeps")
    """Whose validation prompts set the thresholds."""
    swept_from = models.ForeignKey(
        Classifier, null=True, blank=True, on_delete=models.SET_NULL, related_name="sweeps_from"
    )
    """The classifier whose snapshot and recipe it takes: the parent of the one that is picked."""
    name = models.CharField(max_length=64)
    """Condition of the classifier that is picked."""
    config = models.JSONField(default=dict)
    """Checked by `workers.sweep_settings.SweepSettings`."""
    mix = models.ForeignKey(Artifact, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    """The labelled validation snippets that runs are compared on: written once, the same for all."""
    state = models.CharField(max_length=16, choices=SweepState, default=SweepState.PENDING, db_index=True)
    error = models.TextField(blank=True)
    result = models.JSONField(default=dict, blank=True)
    """What was picked and how sure that is, once it has ended well."""
    picked = models.OneToOneField("TrainingRun", null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta(Row.Meta):
        constraints = [models.UniqueConstraint(fields=["round", "name"], name="sweep_name_once_per_round")]

    def __str__(self) -> str:
        return self.name

    def _move(self, *, to: str, since: tuple[str, ...], **fields: object) -> bool:
        return bool(Sweep.objects.filter(pk=self.pk, state__in=since).update(state=to, **fields))

    def start(self, mix: Artifact) -> bool:
        """pending -> running, with what the runs are measured on."""
        return self._move(to=SweepState.RUNNING, since=(SweepState.PENDING,), mix=mix)

    def succeed(self, picked: TrainingRun, result: dict[str, object]) -> bool:
        """running -> succeeded."""
        ended = {"picked": picked, "result": result, "finished_at": timezone.now()}
        return self._move(to=SweepState.SUCCEEDED, since=(SweepState.RUNNING,), **ended)

    def fail(self, error: str) -> bool:
        """Unfinished -> failed. Runs that succeeded stay."""
        return self._move(to=SweepState.FAILED, since=UNFINISHED, error=error, finished_at=timezone.now())

    def cancel(self) -> bool:
        """Unfinished -> cancelled. Runs that succeeded stay."""
        return self._move(to=SweepState.CANCELLED, since=UNFINISHED, finished_at=timezone.now())

    def retry(self) -> bool:
        """failed or cancelled -> where it stood: running if it has its mix, else pending."""
        fresh = {"error": "", "finished_at": None}
        rows = Sweep.objects.filter(pk=self.pk, state__in=STOPPED)
        return bool(
            rows.filter(mix=None).update(state=SweepState.PENDING, **fresh)
            or rows.exclude(mix=None).update(state=SweepState.RUNNING, **fresh)
        )


class TrainingRun(Row):
    """One training of a sweep: its recipe, its curve, and what it misses on the validation mix."""

    sweep = models.ForeignKey(Sweep, on_delete=models.CASCADE, related_name="runs")
    position = models.PositiveSmallIntegerField()
    learning_rate = models.FloatField()
    seed = models.PositiveIntegerField()
    recipe = models.JSONField(default=dict)
    """The whole of it."""
    state = models.CharField(max_length=16, choices=RunState, default=RunState.PENDING)
    error = models.TextField(blank=True)
    curve = models.JSONField(default=list, blank=True)
    """Points of the training: step, examples seen, losses."""
    metrics = models.JSONField(default=dict, blank=True)
    """`training`, `calibration`, `choosing` and `confirming`: rates with counts and intervals."""
    fnr = models.FloatField(null=True, blank=True)
    """Mean over sources on the half of the mix that chooses, at the threshold that costs the wanted KL."""
    log_loss = models.FloatField(null=True, blank=True)
    """On the same half: between runs with an equal `fnr` the lower one is picked."""
    threshold = models.FloatField(null=True, blank=True)
    artifact = models.ForeignKey(Artifact, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    environment = models.JSONField(default=dict, blank=True)
    classifier = models.OneToOneField(
        Classifier, null=True, blank=True, on_delete=models.SET_NULL, related_name="training_run"
    )
    """Of the run that was picked."""
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta(Row.Meta):
        ordering = ["sweep", "position"]
        constraints = [
            models.UniqueConstraint(fields=["sweep", "position"], name="training_run_once"),
            models.CheckConstraint(
                condition=~Q(state=RunState.SUCCEEDED) | Q(fnr__isnull=False), name="training_run_is_measured"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.sweep} {self.position}"

    def _move(self, *, to: str, since: tuple[str, ...], **fields: object) -> bool:
        return bool(TrainingRun.objects.filter(pk=self.pk, state__in=since).update(state=to, **fields))

    def start(self) -> bool:
        """pending (or running, where a worker died) -> running."""
        since = (RunState.PENDING, RunState.RUNNING)
        return self._move(to=RunState.RUNNING, since=since, started_at=timezone.now(), error="")

    def succeed(self, **found: object) -> bool:
        """running -> succeeded, with what was found."""
        return self._move(to=RunState.SUCCEEDED, since=(RunState.RUNNING,), finished_at=timezone.now(), **found)

    def fail(self, error: str) -> bool:
        """Unfinished -> failed; the sweep goes on with the others."""
        since = (RunState.PENDING, RunState.RUNNING)
        return self._move(to=RunState.FAILED, since=since, error=error, finished_at=timezone.now())
