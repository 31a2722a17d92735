"""Batches at vendors: opened, sent, collected, moved. Each may be killed anywhere and run again."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from django.conf import settings
from django.db.models import Count, Q, QuerySet
from django.utils.crypto import salted_hmac

from engine.errors import BadInput
from labeling_adapters import adapter_named
from labeling_adapters.base import (
    AdapterError,
    Delivery,
    IncomingLabel,
    LabelingAdapter,
    Move,
    OutgoingBatch,
    OutgoingTask,
    Pushed,
    Said,
)
from labeling_adapters.sending import persistently, send
from webapi.models import Batch, BatchState, Job, JobState, Label, Preference, Task, TaskState
from webapi.permissions import PULL
from workers.jobs import JobRun, Later, chunked, enqueue
from workers.vendor_answers import Taken, take

CHUNK = 250
"""Answers that are recorded together."""
SHOWN = 3
"""Refusals that an error message repeats."""
SOON = 2.0
"""Seconds until a move looks again whether its batch was sent."""


def adapter_of(batch: Batch) -> LabelingAdapter:
    """The batch's adapter with the batch's settings. Raises BadInput for a wrong one."""
    seed = batch.round.seed if batch.round else 0
    return adapter_named(batch.adapter, batch.policy.rules, seed=seed, config=batch.config)


def outgoing_batch(batch: Batch) -> OutgoingBatch:
    """The batch as its adapter takes it."""
    return OutgoingBatch(
        batch_id=str(batch.pk),
        name=batch.name,
        policy=batch.policy.rules,
        remote_id=batch.remote_id,
        overlap=max(batch.tasks.order_by("-wanted").values_list("wanted", flat=True).first() or 1, 1),
        callback_url=callback_url(batch),
    )


def callback_url(batch: Batch) -> str:
    """Where the batch's vendor announces answers; empty while this server knows no address of its own."""
    if not settings.PUBLIC_URL:
        return ""
    return f"{settings.PUBLIC_URL}/api/v1/callbacks/{batch.pk}/{callback_secret(batch.pk)}"


def callback_secret(batch_id: uuid.UUID) -> str:
    """What the path of the batch's callback address ends in: nobody can guess it, and nothing has to keep it."""
    return salted_hmac("gauntlet.callback", str(batch_id), algorithm="sha256").hexdigest()


def send_batch(batch: Batch, run: JobRun) -> int:
    """Opens the batch at its vendor and sends the open tasks that it does not hold. Returns how many it took.

    Raises AdapterError (permanent) where the vendor refused tasks: those before and beside them are sent.
    """
    adapter = adapter_of(batch)
    if not batch.remote_id:
        batch.remote_id = persistently(lambda: adapter.open(outgoing_batch(batch)))
        Batch.objects.filter(pk=batch.pk).update(remote_id=batch.remote_id)
    waiting = [task for task in open_tasks(batch) if not task.remote_id]
    if not waiting:
        return 0
    by_id = {str(task.pk): task for task in waiting}

    def note(found: Pushed) -> None:
        # One that the vendor turns out to hold since a crash may have been answered and deepened meanwhile: what its
        # answers say was asked for is sure.
        task = by_id[found.task_id]
        asked_for = (task.labelled or task.wanted) if adapter.deepens else None
        Task.objects.filter(pk=task.pk).update(remote_id=found.remote_id, asked_for=asked_for)

    return note_pushed(batch, send(adapter, outgoing_batch(batch), outgoing(waiting, adapter)), note, run, len(waiting))


def note_pushed(
    batch: Batch, answers: Iterable[Pushed], note: Callable[[Pushed], None], run: JobRun, total: int
) -> int:
    """Notes of tasks that the vendor took them. Returns how many; raises AdapterError where there are others."""
    refused, done = [], 0
    for found in answers:
        if found.error is not None:
            refused.append(found)
            continue
        note(found)
        done += 1
        run.progress(done, total)
    if refused:
        reasons = "; ".join(f"task {one.task_id}: {one.error}" for one in refused[:SHOWN])
        raise AdapterError(f"{batch.adapter} refused {len(refused)} of {total} tasks: {reasons}", permanent=True)
    return done


def open_tasks(batch: Batch) -> list[Task]:
    """The batch's tasks that still want answers."""
    return list(_open_tasks(batch).select_related("snippet", "rival", "gold").order_by("place", "pk"))


def _open_tasks(batch: Batch) -> QuerySet[Task]:
    return batch.tasks.filter(state=TaskState.OPEN, gold=None)


def outgoing(tasks: Sequence[Task], adapter: LabelingAdapter) -> list[OutgoingTask]:
    """Tasks as an adapter takes them: never a snippet's source, score or target."""
    judged: dict[tuple[uuid.UUID, uuid.UUID | None], set[str]] = defaultdict(set)
    said: dict[uuid.UUID | None, dict[str, Said]] = defaultdict(dict)
    depths: dict[uuid.UUID, _Depth] = {}
    for chunk in chunked(tasks, 1000):
        labels = Label.objects.filter(snippet__in=[t.snippet_id for t in chunk], annotator__vendor=adapter.name)
        fields = ("snippet_id", "annotator__external_id", "task_id", "external_id", "choice", "note")
        for snippet_id, annotator, task_id, *answer in labels.order_by("revision").values_list(*fields):
            judged[snippet_id, None].add(annotator)
            said[task_id][annotator] = Said(*answer)
        pairs = [task.snippet_id for task in chunk if task.rival_id]
        given = Preference.objects.filter(snippet__in=pairs, annotator__vendor=adapter.name)
        for key in given.values_list("snippet_id", "rival_id", "annotator__external_id"):
            judged[key[:2]].add(key[2])
        depths |= _depths(chunk)
    return [
        OutgoingTask(
            task_id=str(task.pk),
            snippet=task.snippet.text,
            wanted=depths[task.pk].wanted,
            answered_by=frozenset(judged[task.snippet_id, task.rival_id]),
            said=frozenset(said[task.pk].values()),
            remote_id=task.remote_id,
            gold=task.gold.choice if task.gold else None,
            total=depths[task.pk].total,
            more=depths[task.pk].more,
            rival=task.rival.text if task.rival else None,
        )
        for task in tasks
    ]


class _Depth(NamedTuple):
    """How many answers a task wants still and in all, and how many its vendor was not asked for."""

    wanted: int
    total: int
    more: int


def _depths(tasks: Iterable[Task]) -> dict[uuid.UUID, _Depth]:
    """Read in one statement: of an answer that comes meanwhile, both counts know or neither does."""
    rows = Task.objects.filter(pk__in=[task.pk for task in tasks]).order_by()
    rows = rows.annotate(given=Count("labels", filter=Q(labels__revision=0)))
    return {
        pk: _Depth(wanted - labelled, given + wanted - labelled, 0 if asked is None else max(wanted - asked, 0))
        for pk, wanted, labelled, given, asked in rows.values_list("pk", "wanted", "labelled", "given", "asked_for")
    }


def follow_batch(batch: Batch) -> None:
    """Queues what a batch at a vendor wants, unless it is queued already: sending its tasks, collecting its labels."""
    if batch.tasks.filter(state=TaskState.OPEN, gold=None, remote_id="").exists() and not at_work(batch, "send_batch"):
        enqueue("send_batch", {"batch": str(batch.pk)})
    if adapter_of(batch).poll_seconds is not None and not at_work(batch, "collect_labels"):
        enqueue("collect_labels", {"batch": str(batch.pk)})


def at_work(batch: Batch, kind: str) -> bool:
    """Whether a job of this kind is queued or running for the batch. The index finds the few unfinished jobs."""
    unfinished = Job.objects.filter(state__in=[JobState.QUEUED, JobState.RUNNING], kind=kind)
    return unfinished.filter(args__batch=str(batch.pk)).exists()


def send_tasks(run: JobRun) -> dict[str, Any]:
    """Job `send_batch`: opens a batch that no round sends, and sends its tasks. It is launched only when asked."""
    batch = batch_of(run)
    if batch.state != BatchState.OPEN:
        return {"sent": 0}
    with troubles(batch):
        return {"sent": send_batch(batch, run)}


def collect_labels(run: JobRun) -> dict[str, Any]:
    """Job `collect_labels`: fetches a vendor's answers to a batch's open tasks; comes back until none is open.

    The vendor is asked once for all of them, for many list all that they hold at each asking. A vendor that is away for
    a while is asked again at the next look, for as long as it takes.
    """
    batch = batch_of(run)
    adapter = adapter_of(batch)
    total = batch.tasks.filter(gold=None).count()
    waiting = open_tasks(batch) if batch.remote_id else []
    run.progress(total - len(waiting), total)
    pause = adapter.poll_seconds or 60.0
    try:
        with troubles(batch):
            answers = adapter.collect(outgoing_batch(batch), outgoing(waiting, adapter)) if waiting else ()
            for chunk in _streamed(answers, run):
                take(batch, chunk, adapter)
                run.progress(total - _open_tasks(batch).count(), total)
    except AdapterError as error:
        if error.permanent:
            raise
        raise Later(max(error.retry_after or 0.0, pause)) from error
    batch.refresh_from_db()
    if batch.state == BatchState.OPEN:
        raise Later(pause)
    return {"tasks": total}


def _streamed(answers: Iterable[IncomingLabel], run: JobRun) -> Iterator[list[IncomingLabel]]:
    """Answers in chunks as they come. Those before a failure of the vendor's are not lost by it. Raises JobEnded if the
    job is no longer ours."""
    chunk: list[IncomingLabel] = []
    try:
        for answer in answers:
            run.look()
            chunk.append(answer)
            if len(chunk) == CHUNK:
                yield chunk
                chunk = []
    except AdapterError:
        yield chunk
        raise
    yield chunk


def batch_of(run: JobRun) -> Batch:
    return Batch.objects.select_related("policy", "round").get(pk=run.args["batch"])


@contextmanager
def troubles(batch: Batch) -> Iterator[None]:
    """Notes on the batch what goes wrong with its vendor, for people to see, and that it went well again."""
    try:
        yield
    except (AdapterError, BadInput) as error:
        Batch.objects.filter(pk=batch.pk).update(vendor_error=str(error))
        raise
    if batch.vendor_error:
        Batch.objects.filter(pk=batch.pk, vendor_error=batch.vendor_error).update(vendor_error="")


def take_callback(batch: Batch, delivery: Delivery) -> Taken:
    """Records what a vendor brings or announces at the batch's callback address: the good, whatever the others are.

    Asks the vendor once, where the adapter asks back, and waits for it. Raises AdapterError, or Forged.
    """
    adapter = adapter_of(batch)
    return take(batch, adapter.receive(outgoing_batch(batch), delivery), adapter)


def move_batch(run: JobRun) -> dict[str, Any]:
    """Job `move_batch`: launches, pauses, resumes or cancels a batch at its vendor, after all was sent.

    Of two moves asked shortly one after the other the later one holds, whichever job comes first.
    """
    batch = batch_of(run)
    move: Move = run.args["move"]
    if batch.asked != move:
        return {"move": move, "instead": batch.asked}
    if at_work(batch, "send_batch"):
        raise Later(SOON)
    if batch.remote_id:
        adapter = adapter_of(batch)
        with troubles(batch):
            persistently(lambda: adapter.move(outgoing_batch(batch), move))
    elif move != "cancel" and batch.adapter != PULL:  # whoever pulls is told when it asks
        raise AdapterError(f"{batch.adapter}: the batch was never sent: {batch.vendor_error}", permanent=True)
    Batch.objects.filter(pk=batch.pk, asked=move).update(told=move)
    return {"move": move}
