"""Reads of batches: how far their labeling is."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db.models import Count, Q, Sum
from django.utils import timezone

from webapi.models import Label, Lease, LeaseState, Task, TaskState
from webapi.selectors.round_progress import RATE_WINDOW

STEP = 10


class BatchCounts(NamedTuple):
    """Counts of a batch. `done` of `total` labels are there, gold aside; `leased` tasks are held now, `rate` is
    labels a second, gold among them."""

    tasks: int = 0
    tasks_done: int = 0
    done: int = 0
    total: int = 0
    leased: int = 0
    rate: float | None = None
    eta: datetime | None = None


def batch_counts(batch_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, BatchCounts]:
    """The counts of each batch, without gold: labelers see them. Three queries that grow with these batches, not with
    the table."""
    ids, now = list(batch_ids), timezone.now()
    tasks = Task.objects.filter(batch__in=ids, gold=None).exclude(state=TaskState.CANCELLED).order_by()
    sums = tasks.values("batch").annotate(
        n=Count("pk"), ended=Count("pk", filter=Q(state=TaskState.DONE)), done=Sum("labelled"), total=Sum("wanted")
    )
    live = Lease.objects.filter(task__batch__in=ids, task__gold=None, state=LeaseState.LIVE).order_by()
    leased: dict[uuid.UUID, int] = dict(live.values_list("task__batch").annotate(n=Count("pk")))
    given = Label.objects.filter(task__batch__in=ids, task__gold=None, revision=0)
    late = given.filter(created_at__gt=now - RATE_WINDOW).order_by()
    recent: dict[uuid.UUID, int] = dict(late.values_list("task__batch").annotate(n=Count("pk")))
    counts = dict.fromkeys(ids, BatchCounts())
    for row in sums:
        key, left = row["batch"], row["total"] - row["done"]
        rate = recent.get(key, 0) / RATE_WINDOW.total_seconds() if left else 0.0
        counts[key] = BatchCounts(
            tasks=row["n"],
            tasks_done=row["ended"],
            done=row["done"],
            total=row["total"],
            leased=leased.get(key, 0),
            rate=rate or None,
            eta=now + timedelta(seconds=left / rate) if rate else None,
        )
    return counts


def roughly(counts: BatchCounts) -> BatchCounts:
    """The counts to the nearest ten below what is done and above what is wanted.

    To the label, they would tell the one who answers which answers count in the batch (gold does not) and which ask
    for another (a disagreement).
    """
    done, total = counts.done - counts.done % STEP, counts.total + -counts.total % STEP
    left = total - done
    return BatchCounts(
        tasks=counts.tasks,
        tasks_done=min(counts.tasks_done - counts.tasks_done % STEP, counts.tasks),
        done=done,
        total=total,
        leased=counts.leased,
        rate=counts.rate,
        eta=timezone.now() + timedelta(seconds=left / counts.rate) if counts.rate and left else None,
    )
