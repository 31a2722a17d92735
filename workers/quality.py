"""Quality control: gold answers decide who may go on, and what an unreliable annotator said is asked again."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from django.db import transaction
from django.db.models import Case, F, PositiveSmallIntegerField, Q, QuerySet, When
from django.utils import timezone

from engine.aggregation.gold import verdict
from webapi.models import (
    Annotator,
    Batch,
    BatchState,
    Label,
    Lease,
    LeaseState,
    Policy,
    Preference,
    Standing,
    StandingState,
    Task,
    TaskState,
)
from webapi.models.base import locked
from webapi.models.compiled import compiled
from webapi.permissions import vendor_of
from webapi.selectors.gold_answers import gold_answers, gold_record, qualification_size
from workers.jobs import chunked, enqueue
from workers.webhooks import tell

CHUNK = 1000
"""Tasks in one statement."""


def standing_of(annotator: Annotator, policy: Policy) -> Standing:
    """The annotator's standing under the policy; a new one is qualifying, or qualified where nothing is asked."""
    for found in _standing(annotator=annotator.pk, policy=policy.pk):
        found.annotator, found.policy = annotator, policy
        return found
    exempt = annotator.staff or annotator.simulated or not qualification_size(policy)
    state = StandingState.QUALIFIED if exempt else StandingState.QUALIFYING
    made, _ = Standing.objects.get_or_create(annotator=annotator, policy=policy, defaults={"state": state})
    return made


@compiled
def _standing(*, annotator: uuid.UUID, policy: uuid.UUID) -> QuerySet[Standing]:
    return Standing.objects.filter(annotator=annotator, policy=policy).order_by()


def judge(whom: Iterable[tuple[uuid.UUID, Policy]]) -> None:
    """Moves the standing of annotators who have just answered gold. A paused one's leases are given back."""
    for annotator_id, policy in whom:
        standing = standing_of(Annotator.objects.get(pk=annotator_id), policy)
        qualifying = standing.state == StandingState.QUALIFYING
        record = gold_record(standing)
        found = verdict(
            policy.rules.quality,
            right=record.right,
            wrong=record.wrong,
            qualifying=qualification_size(policy, standing) if qualifying else 0,
        )
        said = f"{record.right} of {record.right + record.wrong} gold answers right"
        if found == "paused" and not standing.annotator.staff:
            pause(standing, said)
        elif found == "qualified" and qualifying:
            standing.qualify(said)


def pause(standing: Standing, reason: str) -> bool:
    """Stops the annotator's work under the policy and gives back what they hold. False if they were paused before."""
    with transaction.atomic():
        list(locked(Annotator.objects.filter(pk=standing.annotator_id)).values_list("pk"))
        moved = standing.pause(reason)
        if moved:
            live = Lease.objects.filter(annotator=standing.annotator_id, state=LeaseState.LIVE)
            keys = live.filter(task__batch__policy=standing.policy_id).values_list("pk", flat=True)
            Lease.end_all(list(keys), LeaseState.RELEASED)
            _tell_pause(standing, reason)
    return moved


def _tell_pause(standing: Standing, reason: str) -> None:
    """A vendor learns of its own workers, by the name it gave them, what they are told when they ask for tasks."""
    annotator, why = standing.annotator, {"policy": str(standing.policy_id), "reason": reason}
    about = {"annotator": str(annotator.pk), "name": str(annotator), **why}
    vendor = vendor_of(annotator)
    vendors = {vendor: {"worker": annotator.external_id, **why}} if vendor else {}
    tell("annotator.paused", str(uuid.uuid4()), about, vendors=vendors)


class PutBack(NamedTuple):
    """What becomes of an unreliable annotator's labels and comparisons."""

    withdrawn: int
    """Those that count no more."""
    reopened: int
    """Tasks that want an answer again; tasks of batches that had ended stay as they are."""


class _Doubtful(NamedTuple):
    """An annotator's answers since the last right one to gold, gold aside."""

    labels: QuerySet[Label]
    comparisons: QuerySet[Preference]

    def tasks(self) -> list[uuid.UUID]:
        """Their tasks, in order. (A changed answer has had its task's place with the first.)"""
        given = (answers.filter(revision=0).exclude(task=None) for answers in self)
        return sorted({task for answers in given for task in answers.values_list("task_id", flat=True)})


def to_put_back(annotator: Annotator, policy: Policy) -> PutBack:
    """What `put_back` would do now."""
    doubtful = _doubtful(annotator.pk, policy)
    still = Q(batch__state=BatchState.OPEN)
    reopened = sum(_reopenable(chunk).filter(still).count() for chunk in chunked(doubtful.tasks(), CHUNK))
    return PutBack(sum(answers.count() for answers in doubtful), reopened)


def put_back(standing: Standing) -> PutBack:
    """Takes the answers since the annotator's last right one to gold out of the count, and asks them again.

    Labels and comparisons; all of the standing's where no gold was answered rightly. The consensus follows by a job of
    its own. Running it again changes nothing more.
    """
    with transaction.atomic():
        list(locked(Annotator.objects.filter(pk=standing.annotator_id)).values_list("pk"))
        doubtful = _doubtful(standing.annotator_id, standing.policy)
        tasks = list(chunked(doubtful.tasks(), CHUNK))
        batches = {task.batch_id for chunk in tasks for task in locked(Task.objects.filter(pk__in=chunk))}
        held = list(locked(Batch.objects.filter(pk__in=batches)))
        labels = doubtful.labels.update(counted=False, withdrawn_at=timezone.now())
        comparisons = doubtful.comparisons.update(counted=False)
        still = Q(batch__in=[batch for batch in held if batch.state == BatchState.OPEN])
        asked_anew = Case(
            When(asked_for__gt=0, then=F("asked_for") - 1),
            default=F("asked_for"),
            output_field=PositiveSmallIntegerField(),
        )
        reopened = sum(
            _reopenable(chunk)
            .filter(still)
            .update(labelled=F("labelled") - 1, taken=F("taken") - 1, asked_for=asked_anew, state=TaskState.OPEN)
            for chunk in tasks
        )
        if labels:
            enqueue("follow_labels", {"policy": str(standing.policy_id), "withdrawn_by": str(standing.annotator_id)})
    return PutBack(labels + comparisons, reopened)


def _doubtful(annotator_id: uuid.UUID, policy: Policy) -> _Doubtful:
    right = gold_answers(annotator_id, policy).filter(choice=F("task__gold__choice"))
    last = right.order_by("-pk").values_list("pk", flat=True).first()
    which = Q(annotator=annotator_id, snippet__policy=policy, counted=True)
    which &= Q(pk__gt=last) if last else Q()
    return _Doubtful(Label.objects.filter(which, task__gold=None), Preference.objects.filter(which))


def _reopenable(tasks: Sequence[uuid.UUID]) -> QuerySet[Task]:
    return Task.objects.filter(pk__in=tasks, state__in=(TaskState.OPEN, TaskState.DONE), labelled__gt=0)
