"""Reads of the labeling queue: what an annotator may be given, and what they hold."""

from __future__ import annotations

import uuid

from django.db.models import Exists, F, OuterRef, Q, QuerySet

from webapi.models import Annotator, Batch, BatchState, Label, Lease, LeaseState, Task, TaskState, User
from webapi.permissions import PULL, own_annotators

BUSY = (LeaseState.LIVE, LeaseState.ANSWERED)


def open_batches(batches: QuerySet[Batch]) -> QuerySet[Batch]:
    """Those of `batches` that tasks can be leased from, the oldest first."""
    return batches.filter(state=BatchState.OPEN, adapter=PULL).order_by("pk")


def tasks_for(annotator: Annotator, batch_id: uuid.UUID, *, after: uuid.UUID | None = None) -> QuerySet[Task]:
    """Free tasks of a batch that this annotator may be given, in order of their keys, from `after` on.

    Never a snippet that the annotator holds, has answered or wrote. The index `task_free` holds exactly the free tasks
    in this order and each exclusion is one look into a unique index, so that a page of them costs the same however
    long the batch is.
    """
    free = Task.objects.filter(batch=batch_id, state=TaskState.OPEN, taken__lt=F("wanted"))
    if after is not None:
        free = free.filter(pk__gt=after)
    mine = Lease.objects.filter(task=OuterRef("pk"), annotator=annotator, state__in=BUSY)
    # From the snippet's few tasks to this annotator's lease of each, never from all leases of the annotator.
    busy = Task.objects.filter(Exists(mine), snippet=OuterRef("snippet"))
    answered = Label.objects.filter(snippet=OuterRef("snippet"), annotator=annotator)
    others = Q(snippet__author=None) | ~Q(snippet__author=annotator)
    return free.filter(others, ~Exists(busy), ~Exists(answered)).order_by("pk")


def leases_held(user: User) -> QuerySet[Lease]:
    """Live leases of the user, or of the workers whom this vendor named, with what a labeler needs to see."""
    mine = Lease.objects.filter(own_annotators(user, "annotator__"), state=LeaseState.LIVE)
    return mine.select_related("annotator", "task__snippet", "task__batch__policy")


def leases_by_token(user: User, tokens: list[uuid.UUID]) -> dict[uuid.UUID, Lease]:
    """The user's leases with these tokens, whatever their state."""
    mine = Lease.objects.filter(own_annotators(user, "annotator__"), token__in=tokens)
    return {lease.token: lease for lease in mine.select_related("task")}
