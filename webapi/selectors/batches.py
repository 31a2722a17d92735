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
    """Counts of a batch. `done` of `total` labels are there, gold aside; `leased` tasks are held now, `sent` are at the
    vendor; `rate` is labels a second, gold aside, `pace` the same with gold."""

    tasks: int = 0
    tasks_done: int = 0
    done: int = 0
    total: int = 0
    leased: int = 0
    sent: int = 0
    rate: float | None = None
    eta: datetime | None = None
    pace: float = 0.0


def batch_counts(batch_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, BatchCounts]:
    """The counts of each batch; labelers see them `roughly`. Three queries that grow with these batches, not with the
    table."""
    ids, now = list(batch_ids), timezone.now()
    tasks = Task.objects.filter(batch__in=ids, gold=None).exclude(state=TaskState.CANCELLED).order_by()
    sums = tasks.values("batch").annotate(
        n=Count("pk"),
        ended=Count("pk", filter=Q(state=TaskState.DONE)),
        done=Sum("labelled"),
        total=Sum("wanted"),
        sent=Count("pk", filter=~Q(remote_id="")),
    )
    live = Lease.objects.filter(task__batch__in=ids, state=LeaseState.LIVE).order_by()
    leased: dict[uuid.UUID, int] = dict(live.values_list("task__batch").annotate(n=Count("pk")))
    late = Label.objects.filter(task__batch__in=ids, revision=0, created_at__gt=now - RATE_WINDOW).order_by()
    plain = Count("pk", filter=Q(task__gold=None))
    recent = {key: (n, every) for key, n, every in late.values_list("task__batch").annotate(n=plain, all=Count("pk"))}
    counts = dict.fromkeys(ids, BatchCounts())
    for row in sums:
        key, left = row["batch"], row["total"] - row["done"]
        rate, pace = (n / RATE_WINDOW.total_seconds() if left else 0.0 for n in recent.get(key, (0, 0)))
        counts[key] = BatchCounts(
            tasks=row["n"],
            tasks_done=row["ended"],
            done=row["done"],
            total=row["total"],
            leased=leased.get(key, 0),
            sent=row["sent"],
            rate=rate or None,
            eta=now + timedelta(seconds=left / rate) if rate else None,
            pace=pace,
        )
    return counts


def roughly(counts: BatchCounts) -> BatchCounts:
    """The counts in steps of ten: down, but what is wanted up.

    To the label, they would tell the one who answers which answers count in the batch (gold does not) and which ask
    for another (a disagreement). What is held, and the pace, count gold: they move alike for all tasks.
    """
    done, total = _down(counts.done), counts.total + -counts.total % STEP
    rate = _down(round(counts.pace * RATE_WINDOW.total_seconds())) / RATE_WINDOW.total_seconds()
    return BatchCounts(
        tasks=counts.tasks,
        tasks_done=_down(counts.tasks_done),
        done=done,
        total=total,
        leased=_down(counts.leased),
        rate=rate or None,
        eta=timezone.now() + timedelta(seconds=(total - done) / rate) if rate and total > done else None,
    )


def _down(count: int) -> int:
    return count - count % STEP
