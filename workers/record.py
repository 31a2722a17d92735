"""Answers become labels: each once, in one transaction, however many come together."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from django.db import transaction
from django.db.models import F

from engine.aggregation.depth import wants_another
from webapi.models import (
    BatchState,
    Label,
    Lease,
    LeaseState,
    Preference,
    Preferred,
    SplitName,
    Standing,
    StandingState,
    Task,
    TaskState,
)
from workers.aggregate import posteriors
from workers.feedback import is_told
from workers.quality import judge
from workers.votes import Voted, votes_of

Outcome = Literal["recorded", "duplicate", "surplus", "unknown_choice"]
SIDES = ("left", "right", Preferred.EQUALLY_GOOD.value, Preferred.EQUALLY_BAD.value)
"""Answers to a comparison as labelers give them."""


class Answer(NamedTuple):
    """An annotator's answer to a task, under a lease or, from a vendor, without one."""

    task_id: uuid.UUID
    annotator_id: uuid.UUID
    choice: str
    seconds: float | None = None
    note: str = ""
    external_id: str = ""
    lease_token: uuid.UUID | None = None
    flagged: bool = False


class Recorded(NamedTuple):
    """What became of an answer."""

    task_id: uuid.UUID
    outcome: Outcome
    label_id: uuid.UUID | None


@dataclass(slots=True)
class _Open:
    """A task under lock, with what is to be written of it."""

    row: Task
    taken: int = 0
    labelled: int = 0
    wanted: int = 0
    done: bool = False

    def takes(self) -> bool:
        """Whether there is a free place for one more answer."""
        return self.row.state == TaskState.OPEN and self.row.taken + self.taken < self.row.wanted + self.wanted

    def is_full(self) -> bool:
        """Whether it has the answers that it wants."""
        return self.row.labelled + self.labelled >= self.row.wanted + self.wanted


Given = Label | Preference
Key = tuple[uuid.UUID, uuid.UUID | None, uuid.UUID]
"""Snippet, rival and annotator."""


def record_labels(answers: Sequence[Answer]) -> list[Recorded]:
    """Writes answers as labels, and closes tasks and batches that have what they want. One transaction; O(answers).

    An answer that came before is a `duplicate` (with the label's id). One that comes when none is wanted any more is
    `surplus`: kept, and no vote. Another choice under the same lease, while the batch is open, is a new revision; but
    gold is closed (`duplicate`) once the annotator may know its right answer. Answers to unknown tasks are left out.
    """
    with transaction.atomic():
        # Locked in one order: of the same answer sent twice at once, the second sees the first's label.
        locked = Task.objects.select_for_update(of=("self",)).order_by("pk")
        rows = locked.select_related("batch__policy", "snippet", "gold").in_bulk({a.task_id for a in answers})
        tasks = {pk: _Open(row) for pk, row in rows.items()}
        writing = _Writing(tasks, [answer for answer in answers if answer.task_id in tasks])
        recorded = [writing.take(answer) for answer in writing.answers]
        writing.write()
        _deepen(tasks.values())
        _update(tasks.values())
        judge({(answer.annotator_id, tasks[answer.task_id].row.batch.policy) for answer in writing.gold})
        full = {task.row.batch_id: task.row.batch for task in tasks.values() if task.done}
        for batch in full.values():
            batch.finish_if_complete()
    return recorded


class _Writing:
    """The rows that some answers become."""

    def __init__(self, tasks: dict[uuid.UUID, _Open], answers: list[Answer]) -> None:
        self.tasks, self.answers = tasks, answers
        self.gold: list[Answer] = []
        self._new: list[Given] = []
        self._answered: list[uuid.UUID] = []
        annotators = {answer.annotator_id for answer in answers}
        leases = Lease.objects.filter(task__in=tasks, annotator__in=annotators)
        self._leases = {(lease.task_id, lease.annotator_id): lease for lease in leases}
        self._latest = _latest([task.row for task in tasks.values()], annotators)
        policies = {task.row.batch.policy_id for task in tasks.values()}
        paused = Standing.objects.filter(annotator__in=annotators, policy__in=policies, state=StandingState.PAUSED)
        self._paused = set(paused.values_list("annotator_id", "policy_id"))

    def take(self, answer: Answer) -> Recorded:
        """What becomes of the answer; nothing is written yet."""
        task = self.tasks[answer.task_id]
        if answer.choice not in (SIDES if task.row.rival_id else task.row.batch.policy.rules.choices):
            return Recorded(answer.task_id, "unknown_choice", None)
        lease = self._leases.get((answer.task_id, answer.annotator_id))
        if lease and answer.lease_token not in (None, lease.token):
            lease = None
        key = (task.row.snippet_id, task.row.rival_id, answer.annotator_id)
        before = self._latest.get(key)
        made = _row(answer, task.row, lease)
        if before is not None:
            if not _changes(made, before, task.row, lease) or _is_closed(before, task.row):
                return Recorded(answer.task_id, "duplicate", before.pk)
            made.revision, made.counted = before.revision + 1, before.counted
        else:
            made.counted = self._place(task, lease, answer)
        self._new.append(made)
        self._latest[key] = made
        if task.row.gold is not None:
            self.gold.append(answer)
        return Recorded(answer.task_id, "recorded" if made.counted else "surplus", made.pk)

    def write(self) -> None:
        """Labels, preferences and answered leases; one statement each."""
        Label.objects.bulk_create([row for row in self._new if isinstance(row, Label)])
        Preference.objects.bulk_create([row for row in self._new if isinstance(row, Preference)])
        if self._answered:
            Lease.objects.filter(pk__in=self._answered).update(state=LeaseState.ANSWERED)

    def _place(self, task: _Open, lease: Lease | None, answer: Answer) -> bool:
        """Uses up the annotator's live lease; without one takes a free place, if the task still wants an answer."""
        if (answer.annotator_id, task.row.batch.policy_id) in self._paused:
            return False
        if lease is not None and lease.state == LeaseState.LIVE:
            lease.state = LeaseState.ANSWERED
            self._answered.append(lease.pk)
        elif task.takes():
            task.taken += 1
        else:
            return False
        task.labelled += 1
        return True


def _latest(
    tasks: Sequence[Task], annotators: set[uuid.UUID]
) -> dict[tuple[uuid.UUID, uuid.UUID | None, uuid.UUID], Given]:
    found: dict[tuple[uuid.UUID, uuid.UUID | None, uuid.UUID], Given] = {}
    snippets = {task.snippet_id for task in tasks if task.rival_id is None}
    if snippets:
        for label in Label.objects.filter(snippet__in=snippets, annotator__in=annotators).order_by("revision"):
            found[label.snippet_id, None, label.annotator_id] = label
    pairs = {(task.snippet_id, task.rival_id) for task in tasks if task.rival_id}
    if pairs:
        given = Preference.objects.filter(snippet__in={first for first, _ in pairs}, annotator__in=annotators)
        for one in given.order_by("revision"):
            found[one.snippet_id, one.rival_id, one.annotator_id] = one
    return found


def _row(answer: Answer, task: Task, lease: Lease | None) -> Given:
    common = {
        "task": task,
        "snippet_id": task.snippet_id,
        "annotator_id": answer.annotator_id,
        "seconds": answer.seconds,
        "note": answer.note,
        "flagged": answer.flagged,
        "external_id": answer.external_id,
    }
    if task.rival_id is None:
        return Label(choice=answer.choice, **common)
    flipped = bool(lease and lease.flipped)
    return Preference(rival_id=task.rival_id, flipped=flipped, choice=unflipped(answer.choice, flipped), **common)


def unflipped(side: str, flipped: bool) -> str:
    """The answer to a comparison in terms of first and second."""
    if side not in ("left", "right"):
        return side
    return Preferred.FIRST.value if (side == "left") != flipped else Preferred.SECOND.value


def _changes(made: Given, before: Given, task: Task, lease: Lease | None) -> bool:
    """Whether annotators change what they said under the lease they answered, while the batch is open."""
    same = (made.choice, made.note, made.flagged) == (before.choice, before.note, before.flagged)
    return not same and lease is not None and before.task_id == task.pk and task.batch.state == BatchState.OPEN


def _is_closed(before: Given, task: Task) -> bool:
    """Whether this is gold whose right answer the annotator may know by now."""
    if task.gold_id is None or not isinstance(before, Label):
        return False
    return is_told(before, before.annotator, task.batch.policy)


def _deepen(tasks: Iterable[_Open]) -> None:
    """Tasks that have what they wanted want one more where the policy's depth says so; the others are done."""
    full = [task for task in tasks if task.labelled and task.is_full() and task.row.state == TaskState.OPEN]
    plain = [task.row.snippet_id for task in full if task.row.gold_id is None and task.row.rival_id is None]
    votes = votes_of(plain) if plain else {}
    for task in full:
        given = votes.get(task.row.snippet_id, []) if task.row.rival_id is None and task.row.gold_id is None else []
        if _wants_another(task.row, given):
            task.wanted += 1
        else:
            task.done = True


def _wants_another(task: Task, given: Sequence[Voted]) -> bool:
    policy = task.batch.policy
    asks_rule = given and "low_confidence" in policy.rules.depth.more_on
    known = posteriors(policy, {task.snippet_id: given})[task.snippet_id] if asks_rule else None
    answers = [voted.vote.choice for voted in given]
    return wants_another(policy.rules, answers, test=task.snippet.split == SplitName.TEST, posterior=known)


def _update(tasks: Iterable[_Open]) -> None:
    """One statement for all tasks that change in the same way."""
    alike: dict[tuple[int, int, int, bool], list[uuid.UUID]] = defaultdict(list)
    for task in tasks:
        alike[task.taken, task.labelled, task.wanted, task.done].append(task.row.pk)
    for (taken, labelled, wanted, done), keys in alike.items():
        if taken or labelled or wanted or done:
            Task.objects.filter(pk__in=keys).update(
                taken=F("taken") + taken,
                labelled=F("labelled") + labelled,
                wanted=F("wanted") + wanted,
                **({"state": TaskState.DONE} if done else {}),
            )
