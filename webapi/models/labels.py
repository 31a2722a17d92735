"""Batches, tasks, leases, labels and consensus: how snippets go out to annotators and answers come back."""

from __future__ import annotations

from datetime import datetime

from django.db import models, transaction
from django.db.models import F, Q
from django.utils import timezone

from webapi.models.accounts import Annotator
from webapi.models.base import Row
from webapi.models.policies import Policy
from webapi.models.rounds import Round
from webapi.models.snippets import Snippet


class BatchState(models.TextChoices):
    """Open until every task has the labels it wants."""

    OPEN = "open"
    DONE = "done"
    CANCELLED = "cancelled"


class TaskState(models.TextChoices):
    """Open until it has the labels it wants."""

    OPEN = "open"
    DONE = "done"
    CANCELLED = "cancelled"


class LeaseState(models.TextChoices):
    """Live until answered, released or expired."""

    LIVE = "live"
    ANSWERED = "answered"
    RELEASED = "released"
    EXPIRED = "expired"


class Batch(Row):
    """The snippets that a round (or a person) sends out for labels."""

    policy = models.ForeignKey(Policy, on_delete=models.PROTECT, related_name="batches")
    round = models.ForeignKey(Round, null=True, blank=True, on_delete=models.CASCADE, related_name="batches")
    name = models.CharField(max_length=100)
    adapter = models.CharField(max_length=32, default="pull")
    """Name in `labeling_adapters.ADAPTERS`: who labels."""
    state = models.CharField(max_length=16, choices=BatchState, default=BatchState.OPEN, db_index=True)
    vendor_user = models.ForeignKey(
        "User", null=True, blank=True, on_delete=models.SET_NULL, related_name="vendor_batches"
    )
    """The vendor that may pull from this batch; empty: everybody who labels."""
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta(Row.Meta):
        verbose_name_plural = "batches"
        constraints = [
            models.UniqueConstraint(fields=["round", "name"], condition=~Q(round=None), name="batch_once_per_round")
        ]

    def __str__(self) -> str:
        return self.name

    def cancel(self) -> bool:
        """open -> cancelled, and its open tasks with it: nobody is given them any more. Labels stay."""
        moved = Batch.objects.filter(pk=self.pk, state=BatchState.OPEN).update(
            state=BatchState.CANCELLED, finished_at=timezone.now()
        )
        if moved:
            self.tasks.filter(state=TaskState.OPEN).update(state=TaskState.CANCELLED)
        return bool(moved)

    def finish_if_complete(self) -> bool:
        """open -> done once no task is open. True for the one caller that moved it.

        The row is locked first: of two who close the last tasks at once, the second to commit sees both closed.
        """
        with transaction.atomic():
            Batch.objects.select_for_update().filter(pk=self.pk).first()
            complete = Batch.objects.filter(pk=self.pk, state=BatchState.OPEN).exclude(tasks__state=TaskState.OPEN)
            return bool(
                Batch.objects.filter(pk__in=complete.values("pk"), state=BatchState.OPEN).update(
                    state=BatchState.DONE, finished_at=timezone.now()
                )
            )


class Task(Row):
    """A snippet to be labelled by `wanted` annotators. `taken` counts live leases and labels, never above `wanted`."""

    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="tasks")
    snippet = models.ForeignKey(Snippet, on_delete=models.CASCADE, related_name="tasks")
    state = models.CharField(max_length=16, choices=TaskState, default=TaskState.OPEN)
    wanted = models.PositiveSmallIntegerField(default=1)
    taken = models.PositiveSmallIntegerField(default=0)
    labelled = models.PositiveSmallIntegerField(default=0)

    class Meta(Row.Meta):
        constraints = [
            models.UniqueConstraint(fields=["batch", "snippet"], name="task_once_per_batch"),
            models.CheckConstraint(condition=Q(taken__lte=F("wanted")), name="task_never_above_wanted"),
            models.CheckConstraint(condition=Q(labelled__lte=F("taken")), name="task_labels_are_taken"),
        ]
        indexes = [
            models.Index(fields=["batch", "id"], condition=Q(state="open", taken__lt=F("wanted")), name="task_free"),
        ]

    def __str__(self) -> str:
        return f"task {self.pk}"

    def take(self) -> bool:
        """One more lease, if the task still wants one."""
        free = Task.objects.filter(pk=self.pk, state=TaskState.OPEN, taken__lt=F("wanted"))
        return bool(free.update(taken=F("taken") + 1))

    def lock(self) -> None:
        """Holds the row until the transaction ends. Who changes a task and its leases locks the task first."""
        Task.objects.select_for_update().filter(pk=self.pk).first()

    def give_back(self) -> bool:
        """One lease less. Only who ended the lease may call it, once."""
        return bool(Task.objects.filter(pk=self.pk, taken__gt=F("labelled")).update(taken=F("taken") - 1))


class Lease(Row):
    """A task held by one annotator until a time. An annotator has one lease of a task, and may take it up again."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="leases")
    annotator = models.ForeignKey(Annotator, on_delete=models.CASCADE, related_name="leases")
    state = models.CharField(max_length=16, choices=LeaseState, default=LeaseState.LIVE)
    token = models.UUIDField(unique=True)
    expires_at = models.DateTimeField()

    class Meta(Row.Meta):
        constraints = [models.UniqueConstraint(fields=["task", "annotator"], name="lease_once_per_annotator")]
        indexes = [models.Index(fields=["state", "expires_at"], name="lease_due")]

    def __str__(self) -> str:
        return f"lease {self.pk}"

    def end(self, state: LeaseState) -> bool:
        """live -> answered, released or expired."""
        return bool(Lease.objects.filter(pk=self.pk, state=LeaseState.LIVE).update(state=state))

    def expire(self, now: datetime) -> bool:
        """live -> expired, unless it was renewed meanwhile."""
        due = Lease.objects.filter(pk=self.pk, state=LeaseState.LIVE, expires_at__lt=now)
        return bool(due.update(state=LeaseState.EXPIRED))

    def renew(self, expires_at: datetime) -> bool:
        """Stays live until `expires_at`."""
        return bool(Lease.objects.filter(pk=self.pk, state=LeaseState.LIVE).update(expires_at=expires_at))

    def take_up_again(self, expires_at: datetime) -> bool:
        """released or expired -> live, under the same token."""
        ended = Lease.objects.filter(pk=self.pk, state__in=(LeaseState.RELEASED, LeaseState.EXPIRED))
        return bool(ended.update(state=LeaseState.LIVE, expires_at=expires_at))


class Label(Row):
    """One annotator's answer to one task. Never overwritten: a change is a new row with the next revision."""

    task = models.ForeignKey(Task, null=True, blank=True, on_delete=models.PROTECT, related_name="labels")
    snippet = models.ForeignKey(Snippet, on_delete=models.PROTECT, related_name="labels")
    annotator = models.ForeignKey(Annotator, on_delete=models.PROTECT, related_name="labels")
    choice = models.CharField(max_length=64)
    revision = models.PositiveSmallIntegerField(default=0)
    seconds = models.FloatField(null=True, blank=True)
    note = models.TextField(blank=True)
    external_id = models.CharField(max_length=200, blank=True)

    class Meta(Row.Meta):
        constraints = [
            models.UniqueConstraint(fields=["snippet", "annotator", "revision"], name="label_once_per_revision")
        ]

    def __str__(self) -> str:
        return self.choice


class Consensus(Row):
    """The policy's aggregation of a snippet's labels."""

    snippet = models.OneToOneField(Snippet, on_delete=models.CASCADE, related_name="consensus")
    choice = models.CharField(max_length=64, db_index=True)
    rule = models.CharField(max_length=32)
    labels = models.PositiveSmallIntegerField()
    """How many labels it rests on."""
    updated_at = models.DateTimeField(auto_now=True)

    class Meta(Row.Meta):
        verbose_name_plural = "consensus"

    def __str__(self) -> str:
        return self.choice
