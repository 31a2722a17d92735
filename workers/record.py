"""Answers become labels: each once, in one transaction, however many come together."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from django.db import transaction
from django.db.models import Exists, F, Q, QuerySet

from engine.aggregation import Vote
from engine.aggregation.depth import wants_another
from webapi.models import (
    Annotator,
    Batch,
    BatchKind,
    BatchState,
    Label,
    Lease,
    LeaseState,
    Policy,
    Preference,
    Preferred,
    SplitName,
    Standing,
    StandingState,
    Task,
    TaskState,
)
from webapi.models.base import locked
from webapi.models.compiled import Update, compiled, compiled_update, insert
from webapi.models.queue import leases_of
from webapi.selectors.feedback import is_told
from workers.aggregate import Votes, posteriors
from workers.quality import judge
from workers.votes import Voted
from workers.webhooks import tell_labels

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
    `surplus`: kept, and no vote. Another choice under the same lease, or under the same id of a vendor's own, is a new
    revision while the batch is open; but gold is closed (`duplicate`) once the annotator may know its right answer.
    Answers to unknown tasks are left out.
    """
    if not answers:
        return []
    with transaction.atomic():
        return record(answers, hold_annotators(answers))


def record(answers: Sequence[Answer], annotators: Mapping[uuid.UUID, Annotator]) -> list[Recorded]:
    """`record_labels` as a part of a transaction that holds the `annotators`."""
    if not answers:
        return []
    staff = {pk: annotator.staff for pk, annotator in annotators.items()}
    rows = _hold_tasks({answer.task_id for answer in answers})
    tasks = {pk: _Open(row) for pk, row in rows.items()}
    writing = _Writing(tasks, [answer for answer in answers if answer.task_id in tasks], staff)
    recorded = [writing.take(answer) for answer in writing.answers]
    writing.write()
    _deepen(tasks.values(), writing.votes)
    _update(tasks.values())
    judge({(answer.annotator_id, tasks[answer.task_id].row.batch.policy) for answer in writing.gold})
    full = {task.row.batch_id: task.row.batch for task in tasks.values() if task.done and not task.row.gold_id}
    for key in sorted(full):
        full[key].finish_if_complete()
    tell_labels(writing.new)
    return recorded


def hold_annotators(answers: Sequence[Answer]) -> dict[uuid.UUID, Annotator]:
    """Who answers; nobody else changes what they hold until the transaction ends.

    So of the same answer sent twice at once the second sees the first's label, and while somebody answers, no other
    task with the same snippet comes to them. Who answers gold may be paused for it: then what they hold is given back,
    so its tasks are held with the answered ones, in one order.
    """
    tasks = list({answer.task_id for answer in answers})
    found = _annotators_held(annotators=list({answer.annotator_id for answer in answers}), tasks=tasks)
    if any(annotator.answers_gold for annotator in found):  # type: ignore[attr-defined]  # by `_annotators_held`
        live = Lease.objects.filter(annotator__in=found, state=LeaseState.LIVE)
        kept = Q(pk__in=list(live.values_list("task", flat=True))) | Q(pk__in=tasks)
        list(locked(Task.objects.filter(kept)).values_list("pk"))
    return {annotator.pk: annotator for annotator in found}


@compiled
def _annotators_held(*, annotators: list[uuid.UUID], tasks: list[uuid.UUID]) -> QuerySet[Annotator]:
    gold = Task.objects.filter(pk__among=tasks, gold__isnull=False)
    return locked(Annotator.objects.filter(pk__among=annotators)).annotate(answers_gold=Exists(gold))


def _hold_tasks(keys: set[uuid.UUID]) -> dict[uuid.UUID, Task]:
    """With their batches, of which those of one batch share one."""
    tasks = {task.pk: task for task in _tasks_held(tasks=list(keys))}
    batches = {batch.pk: batch for batch in _batches(batches=list({task.batch_id for task in tasks.values()}))}
    for task in tasks.values():
        task.batch = batches[task.batch_id]
    return tasks


@compiled
def _tasks_held(*, tasks: list[uuid.UUID]) -> QuerySet[Task]:
    return locked(Task.objects.filter(pk__among=tasks)).annotate(split=F("snippet__split"))


@compiled
def _batches(*, batches: list[uuid.UUID]) -> QuerySet[Batch]:
    return Batch.objects.filter(pk__among=batches).select_related("policy")


class _Writing:
    """The rows that some answers become."""

    def __init__(self, tasks: dict[uuid.UUID, _Open], answers: list[Answer], staff: Mapping[uuid.UUID, bool]) -> None:
        self.tasks, self.answers, self._staff = tasks, answers, staff
        self.gold: list[Answer] = []
        self.votes: dict[uuid.UUID, dict[uuid.UUID, Voted]] = defaultdict(dict)
        """Snippet -> annotator -> their vote, as it stands after these answers."""
        self.new: list[Given] = []
        """What is written, in the order of the answers."""
        self._ended: dict[LeaseState, list[uuid.UUID]] = defaultdict(list)
        leases = leases_of(tasks=list(tasks))
        self._leases = {(lease.task_id, lease.annotator_id): lease for lease in leases}
        self._latest: dict[Key, Given] = {}
        self._read([task.row for task in tasks.values()])
        policies = {task.row.batch.policy_id: task.row.batch.policy for task in tasks.values()}
        self._choices = {pk: policy.rules.choices for pk, policy in policies.items()}
        self._paused = set(_paused(annotators=list(staff), policies=list(policies)))

    def _read(self, tasks: Sequence[Task]) -> None:
        """What was answered before: of gold by these annotators, of other snippets by all, for their votes."""
        plain = {task.snippet_id for task in tasks if task.rival_id is None and task.gold_id is None}
        gold = {task.snippet_id for task in tasks if task.gold_id is not None}
        pairs = {(task.snippet_id, task.rival_id) for task in tasks if task.rival_id}
        labels = _labels(snippets=list(plain)) if plain else []
        labels += _labels(snippets=list(gold), annotators=list(self._staff)) if gold else []
        for label in labels:
            self._latest[label.snippet_id, None, label.annotator_id] = label
            self._vote(label, staff=label.staff)  # type: ignore[attr-defined]  # annotated by `_labels`
        if pairs:
            given = Preference.objects.filter(snippet__in={first for first, _ in pairs}, annotator__in=self._staff)
            for one in given.order_by("revision"):
                self._latest[one.snippet_id, one.rival_id, one.annotator_id] = one

    def _vote(self, label: Label, *, staff: bool) -> None:
        if label.counted:
            vote = Vote(str(label.annotator_id), label.choice, staff)
            self.votes[label.snippet_id][label.annotator_id] = Voted(label.pk, vote)

    def take(self, answer: Answer) -> Recorded:
        """What becomes of the answer; nothing is written yet."""
        task = self.tasks[answer.task_id]
        if answer.choice not in (SIDES if task.row.rival_id else self._choices[task.row.batch.policy_id]):
            return Recorded(answer.task_id, "unknown_choice", None)
        lease = self._leases.get((answer.task_id, answer.annotator_id))
        if lease and answer.lease_token not in (None, lease.token):
            lease = None
        key = (task.row.snippet_id, task.row.rival_id, answer.annotator_id)
        before = self._latest.get(key)
        made = _row(answer, task.row, lease)
        if before is not None:
            if not _changes(made, before, task.row, lease) or _is_closed(before, task.row):
                self._give_back(task, lease)
                return Recorded(answer.task_id, "duplicate", before.pk)
            made.revision, made.counted = before.revision + 1, before.counted
        else:
            made.counted = self._place(task, lease, answer)
        self.new.append(made)
        self._latest[key] = made
        if isinstance(made, Label):
            self._vote(made, staff=self._staff[answer.annotator_id])
        if task.row.gold_id is not None:
            self.gold.append(answer)
        return Recorded(answer.task_id, "recorded" if made.counted else "surplus", made.pk)

    def write(self) -> None:
        """Labels, preferences and ended leases; one statement each."""
        insert([row for row in self.new if isinstance(row, Label)])
        insert([row for row in self.new if isinstance(row, Preference)])
        for state, keys in self._ended.items():
            _end(state, keys=keys)

    def _place(self, task: _Open, lease: Lease | None, answer: Answer) -> bool:
        """Uses up the annotator's live lease; without one takes a free place, if the task still wants an answer."""
        if (answer.annotator_id, task.row.batch.policy_id) in self._paused:
            return False
        if lease is not None and lease.state == LeaseState.LIVE:
            self._end(lease, LeaseState.ANSWERED)
        elif task.takes():
            task.taken += 1
        else:
            return False
        task.labelled += 1
        return True

    def _give_back(self, task: _Open, lease: Lease | None) -> None:
        """A lease of a task whose snippet its annotator answered elsewhere meanwhile is of no use any more."""
        if lease is not None and lease.state == LeaseState.LIVE:
            self._end(lease, LeaseState.RELEASED)
            task.taken -= 1

    def _end(self, lease: Lease, state: LeaseState) -> None:
        lease.state = state
        self._ended[state].append(lease.pk)


@compiled
def _paused(
    *, annotators: list[uuid.UUID], policies: list[uuid.UUID]
) -> QuerySet[Standing, tuple[uuid.UUID, uuid.UUID]]:
    paused = Standing.objects.filter(annotator__among=annotators, policy__among=policies, state=StandingState.PAUSED)
    return paused.order_by().values_list("annotator_id", "policy_id")


@compiled
def _labels(*, snippets: list[uuid.UUID], annotators: list[uuid.UUID] | None = None) -> QuerySet[Label]:
    given = Label.objects.filter(snippet__among=snippets)
    given = given if annotators is None else given.filter(annotator__among=annotators)
    return given.annotate(staff=F("annotator__staff")).order_by("revision", "pk")


@compiled_update
def _end(state: LeaseState, *, keys: list[uuid.UUID]) -> Update:
    return Lease.objects.filter(pk__among=keys), {"state": state}


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
    """Whether annotators change what they said under the lease they answered, or a vendor says that they changed the
    answer that it gives the same id, while the batch is open."""
    same = (made.choice, made.note, made.flagged) == (before.choice, before.note, before.flagged)
    known = lease is not None or (made.external_id != "" and made.external_id == before.external_id)
    return not same and known and before.task_id == task.pk and task.batch.state == BatchState.OPEN


def _is_closed(before: Given, task: Task) -> bool:
    """Whether this is gold whose right answer the annotator may know by now."""
    if task.gold_id is None or not isinstance(before, Label):
        return False
    return is_told(before, before.annotator, task.batch.policy)


def _deepen(tasks: Iterable[_Open], votes: Mapping[uuid.UUID, Mapping[uuid.UUID, Voted]]) -> None:
    """Tasks that have what they wanted want one more where the policy's depth says so; the others are done."""
    full = [task for task in tasks if task.labelled and task.is_full() and task.row.state == TaskState.OPEN]
    plain = [task.row for task in full if _may_deepen(task.row)]
    given = {row.snippet_id: list(votes[row.snippet_id].values()) for row in plain}
    policies = {row.batch.policy_id: row.batch.policy for row in plain}
    deeper: set[uuid.UUID] = set()
    for policy in policies.values():
        rows = [row for row in plain if row.batch.policy_id == policy.pk]
        deeper |= _wanting(policy, rows, {row.snippet_id: given[row.snippet_id] for row in rows})
    for task in full:
        if task.row.pk in deeper:
            task.wanted += 1
        else:
            task.done = True


def _may_deepen(task: Task) -> bool:
    """Gold and comparisons have no depth, and an audit none either: a trusted labeler has the last word. An evaluation
    asks by itself for the labels that it wants."""
    plain = task.gold_id is None and task.rival_id is None
    return plain and task.batch.kind != BatchKind.AUDIT and task.batch.evaluation_id is None


def _wanting(policy: Policy, tasks: Sequence[Task], given: Votes) -> set[uuid.UUID]:
    """Those of a policy's tasks that want one more label."""
    rules = policy.rules
    known = posteriors(policy, given) if "low_confidence" in rules.depth.more_on else {}
    found = set()
    for task in tasks:
        answers = [voted.vote.choice for voted in given[task.snippet_id]]
        test = task.split == SplitName.TEST  # type: ignore[attr-defined]  # annotated by `_tasks_held`
        if wants_another(rules, answers, test=test, posterior=known.get(task.snippet_id)):
            found.add(task.pk)
    return found


def _update(tasks: Iterable[_Open]) -> None:
    """One statement for all tasks that change in the same way."""
    alike: dict[tuple[int, int, int, bool], list[uuid.UUID]] = defaultdict(list)
    for task in tasks:
        alike[task.taken, task.labelled, task.wanted, task.done].append(task.row.pk)
    for (taken, labelled, wanted, done), keys in alike.items():
        if taken or labelled or wanted or done:
            _change(done, keys=keys, taken=taken, labelled=labelled, wanted=wanted)


@compiled_update
def _change(done: bool, *, keys: list[uuid.UUID], taken: int, labelled: int, wanted: int) -> Update:
    counts = {"taken": F("taken") + taken, "labelled": F("labelled") + labelled, "wanted": F("wanted") + wanted}
    return Task.objects.filter(pk__among=keys), {**counts, **({"state": TaskState.DONE} if done else {})}
