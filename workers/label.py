"""Labels: send snippets out, take answers in, aggregate them. A stage waits for people without holding a worker."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

from django.db import transaction
from django.db.models import Count, F, QuerySet

from engine.aggregation import Vote, aggregate_many, rule_named
from labeling_adapters import adapter_named
from labeling_adapters.base import IncomingLabel, LabelingAdapter, OutgoingBatch, OutgoingTask
from webapi.models import (
    Annotator,
    Batch,
    BatchState,
    Consensus,
    Label,
    Lease,
    LeaseState,
    Policy,
    Pool,
    RoundSnippet,
    Snippet,
    Stage,
    Task,
    TaskState,
)
from workers.jobs import JobRun, Later, chunked, enqueue
from workers.round_settings import round_settings

CHUNK = 250

BATCHES: dict[str, tuple[str, ...]] = {
    "label_first": (Pool.INITIAL.value, Pool.TEST.value, Pool.SEED.value),
    "label": ("selected", "held_out_attack"),
}
"""The batches that each labeling stage sends out and waits for."""

Outcome = Literal["recorded", "duplicate", "not_wanted", "unknown_choice"]


class Answer(NamedTuple):
    """An annotator's answer to a task, under a lease or, from a vendor, without one."""

    task_id: uuid.UUID
    annotator_id: uuid.UUID
    choice: str
    seconds: float | None = None
    note: str = ""
    external_id: str = ""
    lease_token: uuid.UUID | None = None


class Recorded(NamedTuple):
    """What became of an answer."""

    task_id: uuid.UUID
    outcome: Outcome
    label_id: uuid.UUID | None


def record_labels(answers: Sequence[Answer]) -> list[Recorded]:
    """Writes answers as labels and closes tasks and batches that have what they wanted. One transaction.

    An answer that came before is `duplicate` (with the label's id), one beyond the wanted number `not_wanted`. Another
    choice under the same lease, while the batch is open, is a new revision.
    """
    with transaction.atomic():
        # Locked in one order: of the same answer sent twice at once, the second sees the first's label.
        locked = Task.objects.select_for_update(of=("self",)).order_by("pk").select_related("batch__policy")
        tasks = locked.in_bulk({a.task_id for a in answers})
        recorded = [_record(answer, tasks[answer.task_id]) for answer in answers if answer.task_id in tasks]
        touched = {tasks[r.task_id].pk for r in recorded if r.outcome == "recorded"}
        Task.objects.filter(pk__in=touched, state=TaskState.OPEN, labelled__gte=F("wanted")).update(
            state=TaskState.DONE
        )
        for batch in sorted({tasks[pk].batch for pk in touched}, key=lambda batch: batch.pk):
            batch.finish_if_complete()
    return recorded


def _record(answer: Answer, task: Task) -> Recorded:
    if answer.choice not in task.batch.policy.rules.choices:
        return Recorded(task.pk, "unknown_choice", None)
    given = Label.objects.filter(snippet_id=task.snippet_id, annotator_id=answer.annotator_id)
    before = given.order_by("revision").last()
    if before and not _changes(answer, before, task):
        return Recorded(task.pk, "duplicate", before.pk)
    if before is None and not _takes_place(answer, task):
        return Recorded(task.pk, "not_wanted", None)
    label = Label.objects.create(
        task=task,
        snippet_id=task.snippet_id,
        annotator_id=answer.annotator_id,
        choice=answer.choice,
        revision=before.revision + 1 if before else 0,
        seconds=answer.seconds,
        note=answer.note,
        external_id=answer.external_id,
    )
    if before is None:
        Task.objects.filter(pk=task.pk).update(labelled=F("labelled") + 1)
    return Recorded(task.pk, "recorded", label.pk)


def _changes(answer: Answer, before: Label, task: Task) -> bool:
    """Whether annotators change what they said under the lease they answered, while the batch is open."""
    same = (answer.choice, answer.note) == (before.choice, before.note)
    if answer.lease_token is None or same or task.batch.state != BatchState.OPEN:
        return False
    return before.task_id == task.pk and Lease.objects.filter(task=task, token=answer.lease_token).exists()


def _takes_place(answer: Answer, task: Task) -> bool:
    """Uses up the annotator's live lease; without one takes a free place, if the task still wants a label."""
    held = Lease.objects.filter(task=task, annotator_id=answer.annotator_id, state=LeaseState.LIVE)
    if answer.lease_token is not None:
        held = held.filter(token=answer.lease_token)
    return bool(held.update(state=LeaseState.ANSWERED)) or task.take()


def send_first(run: JobRun) -> dict[str, Any]:
    """Stage `label_first`: the initial training snippets, the test snippets and the seeds of the held-out attack."""
    labeling = round_settings(run.round.config).labeling
    wanted = {Pool.INITIAL: labeling.initial, Pool.TEST: labeling.test, Pool.SEED: labeling.test}
    return _send(run, {pool.value: (run.round.members.filter(pool=pool), number) for pool, number in wanted.items()})


def send_selected(run: JobRun) -> dict[str, Any]:
    """Stage `label`: what selection chose, and the held-out re-tellings."""
    labeling = round_settings(run.round.config).labeling
    chosen = run.round.members.filter(selected=True)
    held_out = run.round.members.filter(pool=Pool.ATTACK_TEST)
    return _send(run, {"selected": (chosen, labeling.selected), "held_out_attack": (held_out, labeling.test)})


def _send(run: JobRun, batches: dict[str, tuple[QuerySet[RoundSnippet], int]]) -> dict[str, Any]:
    adapter_name = round_settings(run.round.config).labeling.adapter
    sent = 0
    for name, (members, wanted) in batches.items():
        batch, _ = Batch.objects.get_or_create(
            round=run.round, name=name, defaults={"policy": run.round.policy, "adapter": adapter_name}
        )
        sent += _make_tasks(batch, members, wanted)
        batch.finish_if_complete()
        adapter = adapter_named(adapter_name, run.round.policy.rules, seed=run.round.seed)
        for tasks in chunked(_open_tasks(batch), CHUNK):
            adapter.push(_outgoing_batch(batch), _outgoing(tasks, adapter))
        if adapter.poll_seconds is not None:
            enqueue("collect_labels", {"batch": str(batch.pk)}, stage=run.stage, shard=batch.name)
    return {"tasks": sent}


def _make_tasks(batch: Batch, members: QuerySet[RoundSnippet], wanted: int) -> int:
    """A task for each member that has fewer labels than wanted. Running it again adds what is missing.

    In order of their hashes: in order of their making, what an attack made would come last and be known by its place.
    """
    lacking = members.annotate(have=Count("snippet__labels__annotator", distinct=True)).filter(have__lt=wanted)
    made = 0
    for chunk in chunked(
        lacking.order_by("snippet__content_hash", "snippet_id").values_list("snippet_id", "have"), 1000
    ):
        rows = [Task(batch=batch, snippet_id=snippet_id, wanted=wanted - have) for snippet_id, have in chunk]
        Task.objects.bulk_create(rows, ignore_conflicts=True)
        made += len(rows)
    return made


def _open_tasks(batch: Batch) -> Iterable[Task]:
    return batch.tasks.filter(state=TaskState.OPEN).select_related("snippet").order_by("pk")


def _outgoing_batch(batch: Batch) -> OutgoingBatch:
    return OutgoingBatch(batch_id=str(batch.pk), name=batch.name, policy=batch.policy.rules)


def _outgoing(tasks: Sequence[Task], adapter: LabelingAdapter) -> list[OutgoingTask]:
    judged: dict[uuid.UUID, set[str]] = defaultdict(set)
    labels = Label.objects.filter(snippet__in=[t.snippet_id for t in tasks], annotator__vendor=adapter.name)
    for snippet_id, annotator in labels.values_list("snippet_id", "annotator__external_id"):
        judged[snippet_id].add(annotator)
    return [
        OutgoingTask(str(t.pk), t.snippet.text, t.wanted - t.labelled, frozenset(judged[t.snippet_id])) for t in tasks
    ]


def settle(stage: Stage) -> dict[str, Any] | None:
    """Ends a labeling stage once none of its batches is open; until then it waits."""
    batches = Batch.objects.filter(round=stage.round, name__in=BATCHES[stage.name])
    if batches.filter(state=BatchState.OPEN).exists():
        return None
    return {"labels": Label.objects.filter(task__batch__in=batches).count()}


def collect_labels(run: JobRun) -> dict[str, Any]:
    """Job `collect_labels`: fetches a vendor's answers to a batch's open tasks; comes back until none is open."""
    batch = Batch.objects.select_related("policy", "round").get(pk=run.args["batch"])
    adapter = adapter_named(batch.adapter, batch.policy.rules, seed=batch.round.seed if batch.round else 0)
    total = batch.tasks.count()
    done = total - batch.tasks.filter(state=TaskState.OPEN).count()
    for tasks in chunked(list(_open_tasks(batch)), CHUNK):
        incoming = list(adapter.collect(_outgoing_batch(batch), _outgoing(tasks, adapter)))
        record_labels(_answers(incoming, adapter))
        done += len(tasks)
        run.progress(done, total)
    batch.refresh_from_db()
    if batch.state == BatchState.OPEN:
        raise Later(adapter.poll_seconds or 60.0)
    return {"tasks": total}


def _answers(incoming: Sequence[IncomingLabel], adapter: LabelingAdapter) -> list[Answer]:
    names = {label.annotator for label in incoming}
    known = Annotator.objects.filter(vendor=adapter.name, external_id__in=names)
    missing = names - set(known.values_list("external_id", flat=True))
    Annotator.objects.bulk_create(
        [Annotator(vendor=adapter.name, external_id=n, name=n, simulated=adapter.simulated) for n in sorted(missing)],
        ignore_conflicts=True,
    )
    ids = dict(known.all().values_list("external_id", "pk"))
    return [
        Answer(uuid.UUID(label.task_id), ids[label.annotator], label.choice, label.seconds, "", label.external_id)
        for label in incoming
    ]


def aggregate_round(run: JobRun) -> dict[str, Any]:
    """Stages `aggregate_first` and `aggregate`: the consensus of every snippet labelled in the round."""
    snippets = Snippet.objects.filter(tasks__batch__round=run.round).distinct()
    return {"consensus": aggregate(run.round.policy, list(snippets.values_list("pk", flat=True)), run)}


def aggregate(policy_row: Policy, ids: Sequence[uuid.UUID], run: JobRun) -> int:
    """Writes the consensus of each snippet by the policy's rule, from the latest label of each annotator.

    Rules that estimate annotators do so from all labels under the policy, whichever snippets are written.
    """
    policy = policy_row.rules
    together = _decide_together(policy_row) if rule_named(policy.aggregation).joint else None
    for done, chunk in enumerate(chunked(ids, 1000)):
        run.progress(done * 1000, len(ids))
        votes = {str(pk): given for pk, given in _votes(chunk).items()}
        decided = aggregate_many(policy.aggregation, votes, policy.choices) if together is None else together
        rows = [
            Consensus(snippet_id=uuid.UUID(pk), choice=choice, rule=policy.aggregation, labels=len(given))
            for pk, given in votes.items()
            if (choice := decided.get(pk)) is not None
        ]
        Consensus.objects.bulk_create(
            rows,
            update_conflicts=True,
            unique_fields=["snippet"],
            update_fields=["choice", "rule", "labels", "updated_at"],
        )
    run.progress(len(ids), len(ids))
    return len(ids)


def _decide_together(policy_row: Policy) -> dict[str, str | None]:
    labelled = Label.objects.filter(snippet__policy=policy_row).order_by().values_list("snippet", flat=True).distinct()
    votes = {str(pk): given for chunk in chunked(list(labelled), 1000) for pk, given in _votes(chunk).items()}
    return aggregate_many(policy_row.rules.aggregation, votes, policy_row.rules.choices)


def _votes(snippet_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, list[Vote]]:
    """The latest answer of each annotator, by snippet."""
    latest: dict[tuple[uuid.UUID, uuid.UUID], Vote] = {}
    labels = Label.objects.filter(snippet__in=snippet_ids).order_by("revision")
    for row in labels.values_list("snippet_id", "annotator_id", "choice", "annotator__staff"):
        latest[row[0], row[1]] = Vote(str(row[1]), row[2], row[3])
    votes: dict[uuid.UUID, list[Vote]] = defaultdict(list)
    for (snippet_id, _), vote in latest.items():
        votes[snippet_id].append(vote)
    return votes
