"""Watching the labeling: the queue of batches."""

from __future__ import annotations

from django.db.models import Sum
from django.http import HttpResponse
from django.shortcuts import render

from webapi.models import BatchState, Task, TaskState
from webapi.pages.access import PageRequest, is_open_to, page
from webapi.selectors import dashboard


@page("metrics")
def queue(request: PageRequest) -> HttpResponse:
    """The batches with their progress; the first line says how much is open."""
    batches = dashboard.queue(limit=100)
    still = Task.objects.filter(state=TaskState.OPEN, batch__state=BatchState.OPEN)
    sums = still.aggregate(wanted=Sum("wanted", default=0), given=Sum("labelled", default=0))
    context = {
        "batches": batches,
        "left": sums["wanted"] - sums["given"],
        "open_batches": sum(batch.state == BatchState.OPEN for batch in batches),
        "may_label": is_open_to(request.user, "tasks", "lease"),
    }
    return render(request, "pages/queue.html", context)
