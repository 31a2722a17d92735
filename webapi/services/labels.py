"""Answers to tasks that somebody holds."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from django.utils import timezone

from webapi.errors import DomainError
from webapi.models import Annotator, Lease, LeaseState, User
from webapi.permissions import Actor
from webapi.selectors.tasks import Held, leases_by_token
from webapi.services.leases import lease, retried
from workers.record import Answer, hold_annotators, record

MAX_LABELS = 1000
"""Labels in one request."""

Outcome = Literal["recorded", "duplicate", "surplus", "unknown_choice", "lease_not_found"]


class LabelInput(NamedTuple):
    """An answer as a labeler gives it: under the token of the task's lease."""

    task: uuid.UUID
    lease: uuid.UUID
    choice: str
    seconds: float | None = None
    note: str = ""
    flagged: bool = False
    external_id: str = ""


class LabelOutcome(NamedTuple):
    """What became of an answer. `late`: its lease had run out."""

    task: uuid.UUID
    outcome: Outcome
    label: uuid.UUID | None = None
    late: bool = False


class Answered(NamedTuple):
    """What became of some answers, and the tasks that were leased with the same request."""

    outcomes: list[LabelOutcome]
    tasks: list[Lease]


def labels_record(*, user: User, answers: Sequence[LabelInput]) -> list[LabelOutcome]:
    """Records the user's answers, in order; each has its own outcome and one wrong answer stops no other.

    An answer whose lease ran out is late: it still counts if the task wants one, and is kept without counting if not.
    """
    leases = leases_by_token(user, [answer.lease for answer in answers])
    # Again when the same answer came by another request at the same time: then it is a duplicate.
    return retried(lambda: _record_under(answers, leases)[0])


def labels_record_and_lease(*, actor: Actor, answers: Sequence[LabelInput], count: int) -> Answered:
    """Records answers and leases up to `count` tasks, in one transaction: a labeler's whole turn.

    The tasks are such as `tasks_lease` gives to who answered last, under the same policy and of the same kind; none
    where they may have none, or where no answer was kept.
    """
    leases = leases_by_token(actor.user, [answer.lease for answer in answers], task=True)

    def turn() -> Answered:
        outcomes, annotators = _record_under(answers, leases)
        kept = [answer.lease for answer, done in zip(answers, outcomes, strict=True) if done.label is not None]
        if not kept:
            return Answered(outcomes, [])
        last = leases[kept[-1]]
        return Answered(outcomes, _lease_after(annotators[last.annotator], last, actor, count))

    return retried(turn)


def _lease_after(annotator: Annotator, last: Held, actor: Actor, count: int) -> list[Lease]:
    assert last.policy
    try:
        return lease(annotator, actor, count, last.rival is not None, policies=[last.policy])
    except DomainError:
        return []


def _record_under(
    answers: Sequence[LabelInput], leases: Mapping[uuid.UUID, Held]
) -> tuple[list[LabelOutcome], Mapping[uuid.UUID, Annotator]]:
    """What became of the answers, and the annotators, held until the transaction ends."""
    now = timezone.now()
    fits = {place: answer for place, answer in enumerate(answers) if _fits(answer, leases.get(answer.lease))}
    given = [_answer(answer, leases[answer.lease]) for answer in fits.values()]
    annotators = hold_annotators(given)
    recorded = dict(zip(fits, record(given, annotators), strict=True))
    outcomes = [
        LabelOutcome(a.task, recorded[p].outcome, recorded[p].label_id, _is_late(leases[a.lease], now))
        if p in recorded
        else LabelOutcome(a.task, "lease_not_found")
        for p, a in enumerate(answers)
    ]
    return outcomes, annotators


def _fits(answer: LabelInput, lease: Held | None) -> bool:
    return lease is not None and lease.task == answer.task


def _is_late(lease: Held, now: datetime) -> bool:
    return lease.state == LeaseState.EXPIRED or (lease.state == LeaseState.LIVE and lease.expires_at < now)


def _answer(given: LabelInput, lease: Held) -> Answer:
    return Answer(
        task_id=given.task,
        annotator_id=lease.annotator,
        choice=given.choice,
        seconds=given.seconds,
        note=given.note,
        external_id=given.external_id,
        lease_token=given.lease,
        flagged=given.flagged,
    )
