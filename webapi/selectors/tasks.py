"""Reads of the labeling queue: what an annotator may be given, and what they hold."""

from __future__ import annotations

import uuid
from typing import Any

from django.db.models import Exists, F, OuterRef, Q, QuerySet

from webapi.models import (
    Annotator,
    Batch,
    BatchKind,
    BatchState,
    Gold,
    Label,
    Lease,
    LeaseState,
    Policy,
    Preference,
    Task,
    TaskState,
    User,
)
from webapi.permissions import PULL, own_annotators

BUSY = (LeaseState.LIVE, LeaseState.ANSWERED)


def open_batches(batches: QuerySet[Batch], *, compare: bool = False, trusted: bool = False) -> QuerySet[Batch]:
    """Those of `batches` that tasks can be leased from, the highest priority first, then the oldest.

    `trusted`: audits too. A paused batch gives nothing out; what is held of it may be answered.
    """
    kinds = [BatchKind.COMPARE] if compare else [BatchKind.LABEL, *([BatchKind.AUDIT] if trusted else [])]
    found = batches.filter(state=BatchState.OPEN, adapter=PULL, kind__in=kinds).exclude(asked="pause")
    return found.select_related("policy").order_by("-priority", "pk")


def tasks_for(annotator: Annotator, batch: Batch, *, after: int | None = None) -> QuerySet[Task]:
    """Free tasks of a batch that this annotator may be given, in order of their places, after `after`.

    Never a snippet (or pair) that the annotator holds, has answered or wrote. The index `task_free` holds exactly the
    free tasks in this order and each exclusion is one look into a unique index, so that a page of them costs the same
    however long the batch is.
    """
    free = Task.objects.filter(batch=batch.pk, state=TaskState.OPEN, gold=None, taken__lt=F("wanted"))
    if after is not None:
        free = free.filter(place__gt=after)
    mine = Lease.objects.filter(task=OuterRef("pk"), annotator=annotator, state__in=BUSY)
    same: dict[str, Any] = {"snippet": OuterRef("snippet")}
    if batch.kind == BatchKind.COMPARE:
        answered = Exists(
            Preference.objects.filter(snippet=OuterRef("snippet"), rival=OuterRef("rival"), annotator=annotator)
        )
        unwritten = not_by(annotator, "snippet__author") & not_by(annotator, "rival__author")
        same["rival"] = OuterRef("rival")
    else:
        answered = Exists(Label.objects.filter(snippet=OuterRef("snippet"), annotator=annotator))
        unwritten = not_by(annotator, "snippet__author")
        same["rival"] = None
    # From the snippet's few tasks to this annotator's lease of each, never from all leases of the annotator.
    busy = Task.objects.filter(Exists(mine), **same)
    return free.filter(unwritten, ~Exists(busy), ~answered).order_by("place")


def not_by(annotator: Annotator, author: str) -> Q:
    """Whether the field `author` names nobody, or somebody else."""
    return Q(**{author: None}) | ~Q(**{author: annotator})


def gold_for(annotator: Annotator, policy: Policy, count: int) -> list[Gold]:
    """Up to `count` gold snippets of the policy that the annotator has neither answered nor holds, in random order."""
    answered = Label.objects.filter(snippet=OuterRef("snippet"), annotator=annotator)
    held = Lease.objects.filter(task__gold=OuterRef("pk"), annotator=annotator, state__in=BUSY)
    free = Gold.objects.filter(~Exists(answered), ~Exists(held), policy=policy, active=True)
    return list(free.select_related("snippet").order_by("?")[:count])


def live_leases(annotator: Annotator, *, gold_of: Policy | None = None) -> int:
    """How many tasks the annotator holds; `gold_of`: of this policy's gold only."""
    live = Lease.objects.filter(annotator=annotator, state=LeaseState.LIVE)
    return (live.filter(task__gold__policy=gold_of) if gold_of else live).count()


def leases_held(user: User) -> QuerySet[Lease]:
    """Live leases of the user, or of the workers whom this vendor named, with what a labeler needs to see."""
    mine = Lease.objects.filter(own_annotators(user, "annotator__"), state=LeaseState.LIVE)
    return mine.select_related("annotator", "task__snippet", "task__rival", "task__batch__policy")


def leases_by_token(user: User, tokens: list[uuid.UUID]) -> dict[uuid.UUID, Lease]:
    """The user's leases with these tokens, whatever their state."""
    mine = Lease.objects.filter(own_annotators(user, "annotator__"), token__in=tokens)
    return {lease.token: lease for lease in mine.select_related("task")}
