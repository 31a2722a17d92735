"""The queue: batches, tasks and leases; how snippets go out to annotators."""

from __future__ import annotations

import random
import uuid
from collections import Counter, defaultdict
from collections.abc import Collection
from datetime import datetime

from django.db import models, transaction
from django.db.models import F, Q, QuerySet, Value
from django.utils import timezone

from webapi.models.accounts import Annotator
from webapi.models.base import Row, locked
from webapi.models.compiled import compiled
from webapi.models.policies import Policy
from webapi.models.quality import Gold
from webapi.models.rounds import Round
from webapi.models.snippets import Pool, Snippet

FEW = 100
"""Tasks that other requests may be closing at this moment."""
PLACES = 2**32
"""Places of one priority."""


def new_place(priority: int = 0) -> int:
    """A random place in the queue, before every place of a lower priority.

    Random, so that neither a task's place nor its key says when it was made or of what: gold made while somebody
    labels stands anywhere.
    """
    return random.randrange(PLACES) - priority * PLACES


BATCHES: dict[str, tuple[str, ...]] = {
    "label_first": (Pool.INITIAL.value, Pool.TEST.value, Pool.SEED.value),
    "label": ("selected", "held_out_attack", "measured"),
    "compare": ("comparisons",),
    "label_after": ("measured_after",),
}
"""The batches that each stage of a round that asks people sends out and waits for."""


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


class BatchKind(models.TextChoices):
    """What is asked. Labelers are told only whether they compare."""

    LABEL = "label"
    """One completion, one of the policy's choices."""
    COMPARE = "compare"
    """Two completions of one prompt: the better one, Equally Good or Equally Bad (paper, A.7)."""
    AUDIT = "audit"
    """A label that only trusted labelers give, on what others labelled before."""


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
    evaluation = models.ForeignKey(
        "Evaluation", null=True, blank=True, on_delete=models.SET_NULL, related_name="batches"
    )
    """What its labels are bought for; it says by itself how many labels it wants."""
    name = models.CharField(max_length=100)
    kind = models.CharField(max_length=8, choices=BatchKind, default=BatchKind.LABEL)
    adapter = models.CharField(max_length=32, default="pull")
    """Name in `labeling_adapters.ADAPTERS`: who labels."""
    state = models.CharField(max_length=16, choices=BatchState, default=BatchState.OPEN, db_index=True)
    vendor_user = models.ForeignKey(
        "User", null=True, blank=True, on_delete=models.SET_NULL, related_name="vendor_batches"
    )
    """The vendor that may pull from this batch; empty: everybody who labels."""
    finished_at = models.DateTimeField(null=True, blank=True)
    followed_at = models.DateTimeField(null=True, blank=True)
    """When what follows its end was queued: webhooks, audits."""
    priority = models.SmallIntegerField(default=0)
    """Batches of a higher priority are leased first."""
    config = models.JSONField(default=dict, blank=True)
    """The adapter's own settings. Secrets are named by environment variable, never kept."""
    remote_id = models.CharField(max_length=200, blank=True)
    """The vendor's id of it, once it was opened there."""
    asked = models.CharField(max_length=8, blank=True)
    """Which of launch, pause, resume and cancel somebody asked for last."""
    told = models.CharField(max_length=8, blank=True)
    """Which of them the vendor was told last."""
    vendor_error = models.TextField(blank=True)
    """Why the vendor could not be sent or told everything; empty once it could."""

    class Meta(Row.Meta):
        verbose_name_plural = "batches"
        constraints = [
            models.UniqueConstraint(fields=["round", "name"], condition=~Q(round=None), name="batch_once_per_round"),
            models.UniqueConstraint(
                fields=["evaluation", "name"],
                condition=~Q(evaluation=None),
                name="batch_once_per_evaluation",
            ),
        ]
        indexes = [models.Index(fields=["id"], condition=Q(followed_at=None), name="batch_to_follow")]

    def __str__(self) -> str:
        return self.name

    def cancel(self) -> bool:
        """open -> cancelled, and its open tasks with it: nobody is given them any more. Labels stay."""
        still_open = self.tasks.filter(state=TaskState.OPEN)
        with transaction.atomic():
            for _ in locked(still_open).values_list("pk").iterator():
                pass
            moved = Batch.objects.filter(pk=self.pk, state=BatchState.OPEN).update(
                state=BatchState.CANCELLED, finished_at=timezone.now()
            )
            if moved:
                still_open.update(state=TaskState.CANCELLED)
        return bool(moved)

    def ask(self, move: str, *, since: Collection[str]) -> bool:
        """Notes that the batch is to be launched, paused, resumed or cancelled, if one of `since` was asked before."""
        moved = Batch.objects.filter(pk=self.pk, asked__in=since).update(asked=move, vendor_error="")
        return bool(moved)

    def ask_again(self) -> bool:
        """Forgets what stood in the way. True for the one caller that may try again."""
        failed = Batch.objects.filter(pk=self.pk).exclude(vendor_error="")
        return bool(failed.update(vendor_error=""))

    def finish_if_complete(self) -> bool:
        """open -> done once no task is open. True for the one caller that moved it.

        Of two who close the last tasks at once, neither sees the other's close: where few are left, one looks again
        after the transaction (and the sweeper each second). Who opens tasks again holds the batch's row, so that the
        last look sees them.
        """
        if left := len(_still_open(FEW, batch=self.pk)):
            if left < FEW and transaction.get_connection().in_atomic_block:
                transaction.on_commit(self.finish_if_complete, robust=True)
            return False
        with transaction.atomic():
            held = locked(Batch.objects.filter(pk=self.pk, state=BatchState.OPEN))
            if not list(held.values_list("pk")) or _still_open(1, batch=self.pk):
                return False
            return bool(held.update(state=BatchState.DONE, finished_at=timezone.now()))


class Task(Row):
    """A snippet to be labelled by `wanted` annotators. `taken` counts live leases and labels, never above `wanted`."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    """Random, not sortable: see `new_place`."""
    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="tasks")
    snippet = models.ForeignKey(Snippet, on_delete=models.CASCADE, related_name="tasks")
    rival = models.ForeignKey(
        Snippet, null=True, blank=True, on_delete=models.CASCADE, related_name="rival_tasks", db_index=False
    )
    """The other completion, in a comparison."""
    gold = models.ForeignKey(
        Gold, null=True, blank=True, on_delete=models.CASCADE, related_name="tasks", db_index=False
    )
    """The right answer is known: the task tests one annotator and no batch waits for it."""
    place = models.BigIntegerField(default=new_place)
    """Tasks of a batch are leased in this order."""
    remote_id = models.CharField(max_length=200, blank=True)
    """The vendor's id of it, once it was sent."""
    state = models.CharField(max_length=16, choices=TaskState, default=TaskState.OPEN)
    wanted = models.PositiveSmallIntegerField(default=1)
    taken = models.PositiveSmallIntegerField(default=0)
    labelled = models.PositiveSmallIntegerField(default=0)
    asked_for = models.PositiveSmallIntegerField(null=True, blank=True)
    """How many answers that count its vendor was asked for: where these are fewer than `wanted`, it is to be asked for
    more. Empty: nobody was, or the vendor sees by itself what is wanted."""

    class Meta(Row.Meta):
        constraints = [
            models.UniqueConstraint(
                fields=["batch", "snippet"], condition=Q(rival=None, gold=None), name="task_once_per_batch"
            ),
            models.UniqueConstraint(
                fields=["batch", "snippet", "rival"], condition=~Q(rival=None), name="pair_once_per_batch"
            ),
            models.CheckConstraint(condition=~Q(rival=F("snippet")), name="task_compares_two"),
            models.CheckConstraint(condition=Q(taken__lte=F("wanted")), name="task_never_above_wanted"),
            models.CheckConstraint(condition=Q(labelled__lte=F("taken")), name="task_labels_are_taken"),
        ]
        indexes = [
            models.Index(
                fields=["batch", "place"], condition=Q(state="open", gold=None, taken__lt=F("wanted")), name="task_free"
            ),
            models.Index(fields=["batch"], condition=Q(state="open", gold=None), name="task_open"),
            # Few tasks have one, and each lease and each answer writes a task into all indexes that it is in.
            models.Index(fields=["rival"], condition=~Q(rival=None), name="task_of_rival"),
            models.Index(fields=["gold"], condition=~Q(gold=None), name="task_of_gold"),
            models.Index(
                fields=["batch"], condition=Q(state="open", gold=None, asked_for__lt=F("wanted")), name="task_to_deepen"
            ),
        ]

    def __str__(self) -> str:
        return f"task {self.pk}"


@compiled
def _still_open(most: int, *, batch: uuid.UUID) -> QuerySet[Task, tuple[int]]:
    """A row for each of the batch's tasks that want answers; gold is nobody's work."""
    return Task.objects.filter(batch=batch, state=TaskState.OPEN, gold=None).order_by().values_list(Value(1))[:most]


@compiled
def leases_of(*, tasks: list[uuid.UUID]) -> QuerySet[Lease]:
    """Everybody's leases of these tasks, which are few: those of one annotator are looked for among them, and never by
    a query that could be answered from all that the annotator ever held."""
    return Lease.objects.filter(task__among=tasks).order_by()


class Lease(Row):
    """A task held by one annotator until a time. An annotator has one lease of a task, and may take it up again."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="leases", db_index=False)
    annotator = models.ForeignKey(Annotator, on_delete=models.CASCADE, related_name="leases", db_index=False)
    """No index of its own: the planner would walk all that an annotator ever held, for one of them."""
    state = models.CharField(max_length=16, choices=LeaseState, default=LeaseState.LIVE)
    token = models.UUIDField(unique=True)
    expires_at = models.DateTimeField()
    flipped = models.BooleanField(default=False)
    """In a comparison: whether the rival stands on the left."""

    class Meta(Row.Meta):
        constraints = [models.UniqueConstraint(fields=["task", "annotator"], name="lease_once_per_annotator")]
        indexes = [
            models.Index(fields=["state", "expires_at"], name="lease_due"),
            models.Index(fields=["annotator"], condition=Q(state="live"), name="lease_live"),
        ]

    def __str__(self) -> str:
        return f"lease {self.pk}"

    @classmethod
    def live(cls, keys: Collection[uuid.UUID]) -> QuerySet[Lease]:
        """Those of the leases that are live. Their tasks are held until the transaction ends, and who changes a task's
        leases holds the task: they stay as they are."""
        list(locked(Task.objects.filter(pk__in=cls.objects.filter(pk__in=keys).values("task"))).values_list("pk"))
        return cls.objects.filter(pk__in=keys, state=LeaseState.LIVE)

    @classmethod
    def end_all(cls, keys: Collection[uuid.UUID], state: LeaseState, *, due: datetime | None = None) -> set[uuid.UUID]:
        """live -> released or expired, and their places are free again. `due`: only what runs out before.

        Returns which were ended; each is by one caller.
        """
        with transaction.atomic():
            live = cls.live(keys)
            ended = dict((live if due is None else live.filter(expires_at__lt=due)).values_list("pk", "task_id"))
            cls.objects.filter(pk__in=ended).update(state=state)
            alike: dict[int, list[uuid.UUID]] = defaultdict(list)
            for task, places in Counter(ended.values()).items():
                alike[places].append(task)
            for places, tasks in alike.items():
                free = Task.objects.filter(pk__in=tasks, taken__gte=F("labelled") + places)
                free.update(taken=F("taken") - places)
        return set(ended)

    @classmethod
    def renew_all(cls, keys: Collection[uuid.UUID], expires_at: datetime) -> set[uuid.UUID]:
        """Those of the leases that are live stay so until `expires_at`. Returns which."""
        with transaction.atomic():
            renewed = set(cls.live(keys).values_list("pk", flat=True))
            cls.objects.filter(pk__in=renewed).update(expires_at=expires_at)
        return renewed

    @property
    def left(self) -> Snippet:
        """The completion on the left of a comparison."""
        return self.task.rival if self.flipped and self.task.rival else self.task.snippet

    @property
    def right(self) -> Snippet | None:
        """The completion on the right of a comparison; None where nothing is compared."""
        return self.task.snippet if self.flipped else self.task.rival

    def take_up_again(self, expires_at: datetime) -> bool:
        """released or expired -> live, under the same token."""
        ended = Lease.objects.filter(pk=self.pk, state__in=(LeaseState.RELEASED, LeaseState.EXPIRED))
        return bool(ended.update(state=LeaseState.LIVE, expires_at=expires_at))
