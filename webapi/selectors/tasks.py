"""Reads of the labeling queue: what an annotator may be given, and what they hold."""

from __future__ import annotations

import uuid
from typing import Any

from django.db.models import Case, Exists, F, OuterRef, Q, QuerySet, Subquery, Value, When
from django.db.models.functions import Coalesce
from django.db.models.lookups import IsNull

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
    free tasks in this order and each exclusion is one look into an index (from the snippet's few tasks to this
    annotator's lease of each), so that a page of them costs the same however long the batch is.
    """
    free = Task.objects.filter(batch=batch.pk, state=TaskState.OPEN, gold=None, taken__lt=F("wanted"))
    if after is not None:
        free = free.filter(place__gt=after)
    mine = Lease.objects.filter(task=OuterRef("pk"), annotator=annotator, state__in=BUSY)
    busy = Task.objects.filter(Exists(mine), snippet=OuterRef("snippet"))
    if batch.kind == BatchKind.COMPARE:
        given: QuerySet[Any] = Preference.objects.filter(
            snippet=OuterRef("snippet"), rival=OuterRef("rival"), annotator=annotator
        )
        unwritten = not_by(annotator, "snippet__author") & not_by(annotator, "rival__author")
        busy = busy.filter(rival=OuterRef("rival"))
    else:
        given = Label.objects.filter(snippet=OuterRef("snippet"), annotator=annotator)
        unwritten = not_by(annotator, "snippet__author")
        # Of no pair; said so that the planner does not read the index of rivals, where most tasks have none.
        busy = busy.alias(other=Coalesce("rival", "snippet")).filter(other=F("snippet"))
    return free.filter(unwritten, _none_of(busy, given)).order_by("place")


def _none_of(*queries: QuerySet[Any]) -> Case:
    """Whether none of these has a row.

    Scalars in a CASE and not EXISTS: asked for each task in turn, never joined with all that the annotator ever did;
    and the planner takes it for a coin's toss, not for a rarity that is worth reading a whole table.
    """
    found = [IsNull(Subquery(query.order_by().values("pk")[:1]), True) for query in queries]
    return Case(When(Q(*found), then=Value(True)), default=Value(False))


def not_by(annotator: Annotator, author: str) -> Q:
    """Whether the field `author` names nobody, or somebody else."""
    return Q(**{author: None}) | ~Q(**{author: annotator})


def gold_for(annotator: Annotator, policy: Policy, count: int) -> list[Gold]:
    """Up to `count` gold snippets of the policy that the annotator neither answered, holds nor wrote, in any order."""
    if count <= 0:
        return []
    answered = Label.objects.filter(snippet=OuterRef("snippet"), annotator=annotator)
    held = Lease.objects.filter(task__gold=OuterRef("pk"), annotator=annotator, state__in=BUSY)
    unwritten = not_by(annotator, "snippet__author")
    free = Gold.objects.filter(unwritten, ~Exists(answered), ~Exists(held), policy=policy, active=True)
    return list(free.select_related("snippet").order_by("?")[:count])


def live_leases(annotator: Annotator, *, gold_of: Policy | None = None) -> int:
    """How many tasks the annotator holds; `gold_of`: of this policy's gold only."""
    live = Lease.objects.filter(annotator=annotator, state=LeaseState.LIVE)
    return (live.filter(task__gold__policy=gold_of) if gold_of else live).count()


def leases_held(user: User) -> QuerySet[Lease]:
    """Live leases of the user, or of the workers whom this vendor named, with what a labeler needs to see."""
    mine = Lease.objects.filter(own_annotators(user, "annotator__"), state=LeaseState.LIVE)
    return mine.select_related("annotator", "task__snippet", "task__rival", "task__batch__policy")


def leases_by_token(user: User, tokens: list[uuid.UUID], *related: str) -> dict[uuid.UUID, Lease]:
    """The user's leases with these tokens, whatever their state, and what of them is `related`."""
    mine = Lease.objects.filter(own_annotators(user, "annotator__"), token__in=tokens)
    return {lease.token: lease for lease in (mine.select_related(*related) if related else mine)}
