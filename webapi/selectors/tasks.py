"""Reads of the labeling queue: what an annotator may be given, and what they hold."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection
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
from webapi.models.compiled import compiled
from webapi.permissions import PULL, Actor, own_annotators, pull_vendor, visible

BUSY = (LeaseState.LIVE, LeaseState.ANSWERED)


def open_batches(batches: QuerySet[Batch], *, compare: bool = False, trusted: bool = False) -> QuerySet[Batch]:
    """Those of `batches` that tasks can be leased from, the highest priority first, then the oldest.

    `trusted`: audits too. A paused batch gives nothing out; what is held of it may be answered.
    """
    kinds = [BatchKind.COMPARE] if compare else [BatchKind.LABEL, *([BatchKind.AUDIT] if trusted else [])]
    found = batches.filter(state=BatchState.OPEN, adapter=PULL, kind__in=kinds).exclude(asked="pause")
    return found.select_related("policy").order_by("-priority", "pk")


def tasks_for(annotator: uuid.UUID, batch: uuid.UUID, *, compare: bool = False) -> QuerySet[Task]:
    """Free tasks of a batch that this annotator may be given, in order of their places.

    Never a snippet (or pair) that the annotator holds, has answered or wrote. The index `task_free` holds exactly the
    free tasks in this order and each exclusion is one look into an index (from the snippet's few tasks to this
    annotator's lease of each), so that a page of them costs the same however long the batch is.
    """
    free = Task.objects.filter(batch=batch, state=TaskState.OPEN, gold=None, taken__lt=F("wanted"))
    mine = Lease.objects.filter(task=OuterRef("pk"), annotator=annotator, state__in=BUSY)
    busy = Task.objects.filter(Exists(mine), snippet=OuterRef("snippet"))
    if compare:
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


@compiled
def free_tasks(
    compare: bool,
    count: int,
    take: bool,
    *,
    annotator: uuid.UUID,
    batch: uuid.UUID,
    after: int | None = None,
    besides: list[uuid.UUID] | None = None,
) -> QuerySet[Task]:
    """The first `count` of `tasks_for` after the place `after`, but for those `besides`.

    `take`: for who takes them; rows that another request is taking are skipped, where the database can.
    """
    free = tasks_for(annotator, batch, compare=compare)
    if after is not None:
        free = free.filter(place__gt=after)
    if besides is not None:
        free = free.exclude(pk__among=besides)
    if take and connection.features.has_select_for_update_skip_locked:
        free = free.select_for_update(skip_locked=True, of=("self",), no_key=True)
    before = Lease.objects.filter(task=OuterRef("pk"), annotator=annotator)
    return free.select_related("snippet", "rival").annotate(leased_before=Exists(before))[:count]


def _none_of(*queries: QuerySet[Any]) -> Case:
    """Whether none of these has a row.

    Scalars in a CASE and not EXISTS: asked for each task in turn, never joined with all that the annotator ever did;
    and the planner takes it for a coin's toss, not for a rarity that is worth reading a whole table.
    """
    found = [IsNull(Subquery(query.order_by().values("pk")[:1]), True) for query in queries]
    return Case(When(Q(*found), then=Value(True)), default=Value(False))


def not_by(annotator: uuid.UUID, author: str) -> Q:
    """Whether the field `author` names nobody, or somebody else."""
    return Q(**{author: None}) | ~Q(**{author: annotator})


def gold_for(annotator: Annotator, policy: Policy, count: int) -> list[Gold]:
    """Up to `count` gold snippets of the policy that the annotator neither answered, holds nor wrote, in any order."""
    if count <= 0:
        return []
    answered = Label.objects.filter(snippet=OuterRef("snippet"), annotator=annotator)
    held = Lease.objects.filter(task__gold=OuterRef("pk"), annotator=annotator, state__in=BUSY)
    unwritten = not_by(annotator.pk, "snippet__author")
    free = Gold.objects.filter(unwritten, ~Exists(answered), ~Exists(held), policy=policy, active=True)
    return list(free.select_related("snippet").order_by("?")[:count])


def live_leases(annotator: Annotator, *, gold_of: Policy | None = None) -> int:
    """How many tasks the annotator holds; `gold_of`: of this policy's gold only."""
    return len(_live_leases(annotator=annotator.pk, gold_of=gold_of.pk if gold_of else None))


@compiled
def _live_leases(*, annotator: uuid.UUID, gold_of: uuid.UUID | None = None) -> QuerySet[Lease, tuple[uuid.UUID]]:
    live = Lease.objects.filter(annotator=annotator, state=LeaseState.LIVE)
    live = live if gold_of is None else live.filter(task__gold__policy=gold_of)
    return live.order_by().values_list("pk")


def leases_held(user: User) -> QuerySet[Lease]:
    """Live leases of the user, or of the workers whom this vendor named, with what a labeler needs to see."""
    mine = Lease.objects.filter(own_annotators(user, "annotator__"), state=LeaseState.LIVE)
    return mine.select_related("annotator", "task__snippet", "task__rival", "task__batch__policy")


class Held(NamedTuple):
    """What an answer under a lease needs to know of it, whatever its state."""

    key: uuid.UUID
    token: uuid.UUID
    task: uuid.UUID
    annotator: uuid.UUID
    state: str
    expires_at: datetime
    policy: uuid.UUID | None = None
    """Of the task; where it was asked for, and so is the `rival`."""
    rival: uuid.UUID | None = None


def leases_by_token(user: User, tokens: Sequence[uuid.UUID], *, task: bool = False) -> dict[uuid.UUID, Held]:
    """The user's leases with these tokens; `task`: with what is asked."""
    vendor = pull_vendor(user)
    found = _leases_by_token(task, tokens=list(tokens))
    return {row[1]: Held(*row) for owner, namer, *row in found if owner == user.pk or namer == vendor}


@compiled
def _leases_by_token(task: bool, *, tokens: list[uuid.UUID]) -> QuerySet[Lease, Any]:
    """Whose they are is looked at afterwards: as a condition it would be answered from all that the user ever held."""
    found = Lease.objects.filter(token__among=tokens).order_by()
    whose = ("annotator__user_id", "annotator__vendor")
    asked = ("task__batch__policy_id", "task__rival_id") if task else ()
    return found.values_list(*whose, "pk", "token", "task_id", "annotator_id", "state", "expires_at", *asked)


@compiled
def batches_to_lease(
    role: str | None,
    compare: bool,
    trusted: bool,
    *,
    user: uuid.UUID | None = None,
    policies: list[uuid.UUID] | None = None,
    batch: uuid.UUID | None = None,
) -> QuerySet[Batch]:
    """The `open_batches` that a user in this role sees; no role: all. Of these policies; this one only."""
    found = Batch.objects.all() if role is None else visible(Batch.objects.all(), "batches", Actor(User(pk=user), role))
    if policies is not None:
        found = found.filter(policy__among=policies)
    if batch is not None:
        found = found.filter(pk=batch)
    return open_batches(found, compare=compare, trusted=trusted)
