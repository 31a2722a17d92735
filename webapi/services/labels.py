"""The labeling queue: tasks leased to annotators, renewed, released and answered."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Literal, NamedTuple

from django.conf import settings
from django.core.cache import cache
from django.db import IntegrityError, connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from webapi.errors import DomainError
from webapi.models import Annotator, Batch, Lease, LeaseState, Role, Task, User
from webapi.permissions import Actor, pull_vendor
from webapi.selectors.tasks import leases_by_token, open_batches, tasks_for
from workers.label import Answer, Recorded, record_labels

MAX_LEASES = 100
"""Tasks in one request."""
MAX_LABELS = 1000
"""Labels in one request."""
RECORD_ATTEMPTS = 3

Outcome = Literal["recorded", "duplicate", "not_wanted", "unknown_choice", "lease_not_found"]


class LabelInput(NamedTuple):
    """An answer as a labeler gives it: under the token of the task's lease."""

    task: uuid.UUID
    lease: uuid.UUID
    choice: str
    seconds: float | None = None
    note: str = ""
    external_id: str = ""


class LabelOutcome(NamedTuple):
    """What became of an answer. `late`: its lease had run out."""

    task: uuid.UUID
    outcome: Outcome
    label: uuid.UUID | None = None
    late: bool = False


class LeaseOutcome(NamedTuple):
    """What became of a lease that was to be renewed or released."""

    token: uuid.UUID
    outcome: Literal["renewed", "released", "not_held"]
    expires_at: datetime | None = None


def annotator_for(*, actor: Actor, worker: str = "") -> Annotator:
    """Who labels: the user, or the worker whom a vendor names by its own stable id.

    Raises DomainError `not_an_annotator` where anybody else names a worker.
    """
    user = actor.user
    if worker and actor.role != Role.VENDOR:
        raise DomainError("not_an_annotator", "Only vendors name the worker whom they lease for.")
    if worker:
        made, _ = Annotator.objects.get_or_create(
            vendor=pull_vendor(user), external_id=worker, defaults={"name": f"{user.username} {worker}"}
        )
    else:
        staff = actor.role in (Role.STAFF_LABELER, Role.RESEARCHER, Role.ADMIN)
        made, _ = Annotator.objects.get_or_create(user=user, defaults={"name": user.username, "staff": staff})
    return made


def tasks_lease(*, annotator: Annotator, batches: QuerySet[Batch], count: int = 1) -> list[Lease]:
    """Up to `count` tasks of the open ones among `batches`, now held by the annotator until the lease runs out.

    Oldest batch first. Any number of annotators may lease at once: the conditional UPDATE of `Task.take` and the
    unique lease decide, and on PostgreSQL rows that another request is taking are skipped, not waited for.
    """
    leased: list[Lease] = []
    for batch_id in open_batches(batches).values_list("pk", flat=True):
        leased += _lease_from(batch_id, annotator, min(count, MAX_LEASES) - len(leased))
        if len(leased) >= min(count, MAX_LEASES):
            break
    return leased


def _lease_from(batch_id: uuid.UUID, annotator: Annotator, count: int) -> list[Lease]:
    """Goes on after the last task that this annotator was given, then from the start: who is ahead of the others does
    not walk over their own answered tasks each time. The place is a hint; losing it costs time only."""
    hint = f"leased-up-to:{annotator.pk}:{batch_id}"
    after = cache.get(hint)
    with transaction.atomic():
        leased = list(islice(_take(tasks_for(annotator, batch_id, after=after), annotator, count), count))
        if after is not None and len(leased) < count:
            rest = count - len(leased)
            leased += list(islice(_take(tasks_for(annotator, batch_id), annotator, rest), rest))
    if leased:
        cache.set(hint, leased[-1].task_id, timeout=None)
    return leased


def _take(free: QuerySet[Task], annotator: Annotator, count: int) -> Iterator[Lease]:
    if connection.features.has_select_for_update_skip_locked:
        free = free.select_for_update(skip_locked=True, of=("self",))
    expires_at = timezone.now() + timedelta(seconds=settings.TASK_LEASE_SECONDS)
    for task in free.select_related("snippet", "batch__policy")[:count]:
        lease = _lease(task, annotator, expires_at)
        if lease:
            yield lease


def _lease(task: Task, annotator: Annotator, expires_at: datetime) -> Lease | None:
    """The annotator's lease of a task, taken up again if they had one; None if others took it meanwhile."""
    try:
        with transaction.atomic():
            if not task.take():
                return None
            before = Lease.objects.filter(task=task, annotator=annotator).first()
            if before is None:
                return Lease.objects.create(task=task, annotator=annotator, token=uuid.uuid4(), expires_at=expires_at)
            if not before.take_up_again(expires_at):
                raise IntegrityError("the lease is live or answered")
    except IntegrityError:
        return None
    before.task, before.state, before.expires_at = task, LeaseState.LIVE, expires_at
    return before


def leases_renew(*, user: User, tokens: Sequence[uuid.UUID]) -> list[LeaseOutcome]:
    """Holds the user's live leases as long again from now. What ran out and was given back is `not_held`."""
    expires_at = timezone.now() + timedelta(seconds=settings.TASK_LEASE_SECONDS)
    mine = leases_by_token(user, list(tokens))
    return [
        LeaseOutcome(token, "renewed", expires_at)
        if token in mine and mine[token].renew(expires_at)
        else LeaseOutcome(token, "not_held")
        for token in tokens
    ]


def leases_release(*, user: User, tokens: Sequence[uuid.UUID]) -> list[LeaseOutcome]:
    """Gives the user's live leases back: their tasks are free at once, for the same annotator last."""
    mine = leases_by_token(user, list(tokens))
    return [
        LeaseOutcome(token, "released" if token in mine and _release(mine[token]) else "not_held") for token in tokens
    ]


def _release(lease: Lease) -> bool:
    with transaction.atomic():
        lease.task.lock()
        return lease.end(LeaseState.RELEASED) and lease.task.give_back()


def labels_record(*, user: User, answers: Sequence[LabelInput]) -> list[LabelOutcome]:
    """Records the user's answers, in order; each has its own outcome and one wrong answer stops no other.

    An answer whose lease ran out is late: it still counts if the task wants one.
    """
    leases = leases_by_token(user, [answer.lease for answer in answers])
    now = timezone.now()
    held = {place: answer for place, answer in enumerate(answers) if _fits(answer, leases.get(answer.lease))}
    recorded = dict(zip(held, _record([_answer(a, leases[a.lease]) for a in held.values()]), strict=True))
    return [
        LabelOutcome(a.task, recorded[p].outcome, recorded[p].label_id, _is_late(leases[a.lease], now))
        if p in recorded
        else LabelOutcome(a.task, "lease_not_found")
        for p, a in enumerate(answers)
    ]


def _fits(answer: LabelInput, lease: Lease | None) -> bool:
    return lease is not None and lease.task_id == answer.task


def _is_late(lease: Lease, now: datetime) -> bool:
    return lease.state == LeaseState.EXPIRED or (lease.state == LeaseState.LIVE and lease.expires_at < now)


def _record(answers: Sequence[Answer]) -> list[Recorded]:
    """Again when the same answer came by another request at the same time: then it is a duplicate."""
    for _ in range(RECORD_ATTEMPTS - 1):
        try:
            return record_labels(answers)
        except IntegrityError:
            continue
    return record_labels(answers)


def _answer(given: LabelInput, lease: Lease) -> Answer:
    return Answer(
        task_id=given.task,
        annotator_id=lease.annotator_id,
        choice=given.choice,
        seconds=given.seconds,
        note=given.note,
        external_id=given.external_id,
        lease_token=given.lease,
    )
