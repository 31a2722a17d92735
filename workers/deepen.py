"""Tasks at vendors that came to want more answers than their vendor was asked for: where those given differ, say."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import F, QuerySet

from engine.errors import BadInput
from labeling_adapters.base import AdapterError, Pushed
from labeling_adapters.sending import deepen
from webapi.models import Batch, BatchState, Task, TaskState
from webapi.models.base import locked
from workers.jobs import JobRun, Later, enqueue
from workers.vendors import adapter_of, at_work, batch_of, note_pushed, outgoing, outgoing_batch, troubles

ASK_AGAIN = 600.0
"""Seconds until a vendor that refused to give more answers is asked again."""


def batches_deepen() -> int:
    """Queues `deepen_batch` for each open batch of which a vendor holds tasks that want more than it was asked for,
    unless it is queued already. Returns how many. Any number of workers may call it at once."""
    queued = 0
    wanting = _to_deepen(Task.objects.all()).order_by().values("batch")
    for batch in Batch.objects.filter(pk__in=wanting, state=BatchState.OPEN):
        with transaction.atomic():
            list(locked(Batch.objects.filter(pk=batch.pk)).values_list("pk"))
            if not at_work(batch, "deepen_batch"):
                enqueue("deepen_batch", {"batch": str(batch.pk)})
                queued += 1
    return queued


def _to_deepen(tasks: QuerySet[Task]) -> QuerySet[Task]:
    return tasks.filter(state=TaskState.OPEN, gold=None, asked_for__lt=F("wanted"))


def deepen_batch(run: JobRun) -> dict[str, Any]:
    """Job `deepen_batch`: asks a batch's vendor for the answers that its tasks came to want since they were sent.

    Where the answers given differ, say, or were taken out of the count. What the vendor was asked for is noted after it
    said yes; asked again after a crash, it is named the same totals. One that refuses is asked again later.
    """
    batch = batch_of(run)
    if batch.state != BatchState.OPEN:
        return {"tasks": 0}
    try:
        with troubles(batch):
            return {"tasks": _ask_for_more(batch, run)}
    except (AdapterError, BadInput) as error:
        wished = error.retry_after if isinstance(error, AdapterError) else None
        raise Later(max(wished or 0.0, ASK_AGAIN)) from error


def _ask_for_more(batch: Batch, run: JobRun) -> int:
    adapter = adapter_of(batch)
    tasks = list(_to_deepen(batch.tasks.all()).select_related("snippet", "gold").order_by("place", "pk"))
    by_id = {str(task.pk): task for task in tasks}

    def note(found: Pushed) -> None:
        task = by_id[found.task_id]  # one of which answers were taken out of the count meanwhile is asked for again
        Task.objects.filter(pk=task.pk, asked_for=task.asked_for).update(asked_for=task.wanted)

    answers = deepen(adapter, outgoing_batch(batch), outgoing(tasks, adapter))
    return note_pushed(batch, answers, note, run, len(tasks))
