"""Leases: tasks handed to annotators, renewed, given back."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, TypeVar

from django.conf import settings
from django.core.cache import cache
from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from webapi.errors import DomainError
from webapi.models import (
    Annotator,
    Batch,
    BatchKind,
    Gold,
    Lease,
    LeaseState,
    Role,
    Standing,
    StandingState,
    Task,
    TaskState,
    User,
)
from webapi.models.base import locked
from webapi.models.compiled import Update, compiled, compiled_update, insert
from webapi.models.queue import leases_of
from webapi.permissions import STAFF, Actor, pull_vendor
from webapi.selectors.gold_answers import gold_record, qualification_size
from webapi.selectors.tasks import batches_to_lease, free_tasks, gold_for, leases_by_token, live_leases
from webapi.services.idempotency import answer_forestall
from workers.quality import judge, standing_of

Result = TypeVar("Result")
MAX_LEASES = 100
"""Tasks in one request."""
ATTEMPTS = 3
LEASE_REQUEST = "POST /api/v1/tasks/lease"
"""As idempotency keys know it."""


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
    known = _worker(vendor=pull_vendor(user), worker=worker) if worker else _annotator(user=user.pk)
    if known:
        return known[0]
    if worker:
        made, _ = Annotator.objects.get_or_create(
            vendor=pull_vendor(user), external_id=worker, defaults={"name": f"{user.username} {worker}"}
        )
    else:
        made, _ = Annotator.objects.get_or_create(
            user=user, defaults={"name": user.username, "staff": actor.role in STAFF}
        )
    return made


@compiled
def _annotator(*, user: uuid.UUID) -> QuerySet[Annotator]:
    return Annotator.objects.filter(user=user)


@compiled
def _worker(*, vendor: str, worker: str) -> QuerySet[Annotator]:
    return Annotator.objects.filter(vendor=vendor, external_id=worker)


def tasks_lease(
    *,
    annotator: Annotator,
    actor: Actor | None = None,
    policies: Sequence[uuid.UUID] | None = None,
    batch: uuid.UUID | None = None,
    count: int = 1,
    compare: bool = False,
) -> list[Lease]:
    """Up to `count` tasks, now held by the annotator until the lease runs out; none but of batches that `actor` sees.

    Batches of a higher priority first, then the oldest. New annotators get the policy's gold first, and everybody now
    and then. Any number of annotators may lease at once: on PostgreSQL rows that another request is taking are
    skipped, not waited for; on SQLite writers queue. Raises DomainError `annotator_paused` or `too_many_leases`.
    """

    def work() -> list[Lease]:
        (held,) = _annotator_held(annotator=annotator.pk)
        return lease(held, actor, count, compare, policies=policies, batch=batch)

    return retried(work)


def retried(work: Callable[[], Result]) -> Result:
    """Does the work in one transaction; again where another request was faster (IntegrityError)."""
    for _ in range(ATTEMPTS - 1):
        try:
            with transaction.atomic():
                return work()
        except IntegrityError:
            continue
    with transaction.atomic():
        return work()


def lease(
    annotator: Annotator,
    actor: Actor | None,
    count: int,
    compare: bool,
    *,
    policies: Sequence[uuid.UUID] | None = None,
    batch: uuid.UUID | None = None,
) -> list[Lease]:
    """`tasks_lease` as a part of a transaction that holds the annotator. Raises IntegrityError, to be `retried`."""
    wanted = min(count, MAX_LEASES, _room(annotator))
    batches = batches_to_lease(
        actor.role if actor else None,
        compare,
        annotator.staff,
        user=actor.user.pk if actor else None,
        policies=None if policies is None else list(policies),
        batch=batch,
    )
    leased: list[Lease] = []
    paused: Standing | None = None
    for open_ in batches:
        if len(leased) >= wanted:
            break
        standing = standing_of(annotator, open_.policy)
        if standing.state == StandingState.PAUSED:
            paused = standing
            continue
        leased += _lease_from(open_, standing, wanted - len(leased))
    if paused and not leased:
        raise DomainError("annotator_paused", f"No tasks under {paused.policy.name}: {paused.reason or 'paused'}.")
    return leased


@compiled
def _annotator_held(*, annotator: uuid.UUID) -> QuerySet[Annotator]:
    """Locked, so that nobody leases the same snippet in two requests at once."""
    return locked(Annotator.objects.filter(pk=annotator))


def _room(annotator: Annotator) -> int:
    """How many more leases the annotator, and their vendor, may hold; both are locked until the transaction ends."""
    room = settings.LEASES_PER_ANNOTATOR - live_leases(annotator)
    if annotator.vendor:
        list(locked(User.objects.filter(pk=annotator.vendor.partition(":")[2])).values_list("pk"))
        held = Lease.objects.filter(annotator__vendor=annotator.vendor, state=LeaseState.LIVE).count()
        room = min(room, settings.LEASES_PER_VENDOR - held)
    if room <= 0:
        raise DomainError("too_many_leases", "Answer or release some of the tasks that you hold first.")
    return room


def _lease_from(batch: Batch, standing: Standing, count: int) -> list[Lease]:
    """Gold and other tasks are leased in one go, in random order: neither the order nor the time of a lease tells."""
    annotator, quality = standing.annotator, batch.policy.rules.quality
    if batch.kind != "label" or annotator.staff:
        return _leases_of(_tasks(batch, annotator, count), annotator)
    if standing.state == StandingState.QUALIFYING:
        held, given = live_leases(annotator, gold_of=batch.policy), sum(gold_record(standing))
        size = qualification_size(batch.policy, standing)
        if not held and 0 < size <= given:  # gold was withdrawn in the middle of the test
            judge([(annotator.pk, batch.policy)])
        gold = gold_for(annotator, batch.policy, min(count, size - given - held))
        return _leases_of(_gold_tasks(gold, batch, annotator), annotator)
    hidden = sum(random.random() < quality.gold_rate for _ in range(count)) if quality.gold_rate else 0
    gold = gold_for(annotator, batch.policy, min(hidden, max(count - 1, 1)))
    if count == 1 and gold:  # stands for a task that waits: where there is no work, gold would say what it is
        tasks = _gold_tasks(gold, batch, annotator) if _task_waits(batch, annotator) else []
    else:
        tasks = _tasks(batch, annotator, count - len(gold))
        tasks += _gold_tasks(gold, batch, annotator) if tasks else []
    random.shuffle(tasks)
    return _leases_of(tasks, annotator)


def _gold_tasks(found: Sequence[Gold], batch: Batch, annotator: Annotator) -> list[Task]:
    """A task of its own for each piece of gold: its key tells as little as any other's.

    What the annotator gave back comes to them as the same task again, as others do.
    """
    if not found:
        return []
    back = Task.objects.filter(
        gold__in=found, batch=batch, state=TaskState.OPEN, taken=0, leases__annotator=annotator
    ).select_related("snippet")
    again = {task.gold_id: task for task in back}
    Task.objects.filter(pk__in=[task.pk for task in again.values()]).update(taken=1)
    new = [Task(batch=batch, snippet=one.snippet, gold=one, taken=1) for one in found if one.pk not in again]
    tasks = [*again.values(), *Task.objects.bulk_create(new)]
    for task in tasks:
        task.batch = batch
    return tasks


def _task_waits(batch: Batch, annotator: Annotator) -> bool:
    after, compare = cache.get(_hint(batch, annotator)), batch.kind == BatchKind.COMPARE
    ahead = after is not None and free_tasks(compare, 1, False, annotator=annotator.pk, batch=batch.pk, after=after)
    return bool(ahead or free_tasks(compare, 1, False, annotator=annotator.pk, batch=batch.pk))


def _hint(batch: Batch, annotator: Annotator) -> str:
    return f"leased-up-to:{annotator.pk}:{batch.pk}"


def _tasks(batch: Batch, annotator: Annotator, count: int) -> list[Task]:
    """Goes on after the last task that this annotator was given, then from the start: who is ahead of the others does
    not walk over their own answered tasks each time. The place is a hint; losing it costs time only."""
    if count <= 0:
        return []
    hint = _hint(batch, annotator)
    after = cache.get(hint)
    tasks = _take(batch, annotator, count, after=after)
    if after is not None and len(tasks) < count:
        tasks += _take(batch, annotator, count - len(tasks), besides=[task.pk for task in tasks])
    if tasks:
        cache.set(hint, tasks[-1].place, timeout=None)
    return tasks


def _take(
    batch: Batch,
    annotator: Annotator,
    count: int,
    *,
    after: int | None = None,
    besides: list[uuid.UUID] | None = None,
) -> list[Task]:
    """The first `count` free tasks, each with one more taken. Raises IntegrityError if another took one meanwhile."""
    compare = batch.kind == BatchKind.COMPARE
    tasks = free_tasks(compare, count, True, annotator=annotator.pk, batch=batch.pk, after=after, besides=besides)
    keys = [task.pk for task in tasks]
    if keys and _take_places(keys=keys) != len(keys):
        raise IntegrityError("another request took a task")
    for task in tasks:
        task.batch = batch
    return tasks


@compiled_update
def _take_places(*, keys: list[uuid.UUID]) -> Update:
    free = Task.objects.filter(pk__among=keys, state=TaskState.OPEN, taken__lt=F("wanted"))
    return free, {"taken": F("taken") + 1}


def _leases_of(tasks: Sequence[Task], annotator: Annotator) -> list[Lease]:
    """The annotator's leases of these tasks, taken up again where they had one."""
    expires_at = timezone.now() + timedelta(seconds=settings.TASK_LEASE_SECONDS)
    maybe = [task.pk for task in tasks if getattr(task, "leased_before", True)]
    others = leases_of(tasks=maybe) if maybe else []
    before = {lease.task_id: lease for lease in others if lease.annotator_id == annotator.pk}
    new = iter(_new_leases([task for task in tasks if task.pk not in before], annotator))
    leases = []
    for task in tasks:
        lease = before.get(task.pk)
        if lease is None:
            lease = next(new)
        else:
            if not lease.take_up_again(expires_at):
                raise IntegrityError("the lease is live or answered")
            lease.state, lease.expires_at = LeaseState.LIVE, expires_at
            lease.task, lease.annotator = task, annotator
        leases.append(lease)
    return leases


def _new_leases(tasks: Sequence[Task], annotator: Annotator) -> list[Lease]:
    expires_at = timezone.now() + timedelta(seconds=settings.TASK_LEASE_SECONDS)
    return insert(
        [
            Lease(
                task=task,
                annotator=annotator,
                token=uuid.uuid4(),
                expires_at=expires_at,
                flipped=task.rival_id is not None and random.random() < 0.5,
            )
            for task in tasks
        ]
    )


def leases_renew(*, user: User, tokens: Sequence[uuid.UUID]) -> list[LeaseOutcome]:
    """Holds the user's live leases as long again from now. What ran out and was given back is `not_held`."""
    expires_at = timezone.now() + timedelta(seconds=settings.TASK_LEASE_SECONDS)
    mine = leases_by_token(user, tokens)
    renewed = Lease.renew_all([lease.key for lease in mine.values()], expires_at)
    return [
        LeaseOutcome(token, "renewed", expires_at)
        if token in mine and mine[token].key in renewed
        else LeaseOutcome(token, "not_held")
        for token in tokens
    ]


def leases_release(*, user: User, tokens: Sequence[uuid.UUID]) -> list[LeaseOutcome]:
    """Gives the user's live leases back: their tasks are free at once, for the same annotator last."""
    mine = leases_by_token(user, tokens)
    released = Lease.end_all([lease.key for lease in mine.values()], LeaseState.RELEASED)
    first = {token: lease for token, lease in mine.items() if lease.key in released}
    return [LeaseOutcome(token, "released" if first.pop(token, None) else "not_held") for token in tokens]


def leases_release_asked(*, user: User, key: str) -> list[LeaseOutcome]:
    """Gives back what the lease request with this idempotency key took; if it has not come yet, it will take nothing.

    For a client that goes away before it has the answer.
    """
    answer = answer_forestall(user=user, key=key, request=LEASE_REQUEST)
    tokens = [uuid.UUID(task["lease"]["token"]) for task in (answer or {}).get("tasks", ())]
    return leases_release(user=user, tokens=tokens)
