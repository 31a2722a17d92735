"""Batches at vendors: opened, sent, collected, moved. Each may be killed anywhere and run again."""

from __future__ import annotations

import logging
import math
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from django.conf import settings
from django.utils.crypto import salted_hmac

from labeling_adapters import adapter_named
from labeling_adapters.base import (
    AdapterError,
    Delivery,
    IncomingLabel,
    LabelingAdapter,
    Move,
    OutgoingBatch,
    OutgoingTask,
    RefusedLabel,
)
from labeling_adapters.sending import persistently, send
from webapi.models import Annotator, Batch, BatchState, Job, JobState, Label, Task, TaskState
from workers.jobs import JobRun, Later, chunked, enqueue
from workers.record import Answer, record_labels

logger = logging.getLogger(__name__)
CHUNK = 250
SHOWN = 3
"""Refusals that an error message repeats."""
NAME_CHARS = 200
"""Longest name of an annotator, and of an answer, that is kept."""
SOON = 2.0
"""Seconds until a move looks again whether its batch was sent."""


class Taken(NamedTuple):
    """What became of a vendor's answers: how many by outcome, and those that were not taken, by their place."""

    counts: dict[str, int]
    refused: dict[int, RefusedLabel]


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
    """Opens the batch at its vendor and sends its open tasks. Returns how many the vendor has.

    Raises AdapterError (permanent) where the vendor refused tasks: those before and beside them are sent.
    """
    adapter = adapter_of(batch)
    if not batch.remote_id:
        batch.remote_id = persistently(lambda: adapter.open(outgoing_batch(batch)))
        Batch.objects.filter(pk=batch.pk).update(remote_id=batch.remote_id)
    waiting = [task for task in open_tasks(batch) if not task.remote_id]
    refused, sent = [], 0
    for found in send(adapter, outgoing_batch(batch), outgoing(waiting, adapter)) if waiting else ():
        if found.error is not None:
            refused.append(found)
            continue
        Task.objects.filter(pk=found.task_id).update(remote_id=found.remote_id)
        sent += 1
        run.progress(sent, len(waiting))
    if refused:
        reasons = "; ".join(f"task {one.task_id}: {one.error}" for one in refused[:SHOWN])
        raise AdapterError(f"{batch.adapter} refused {len(refused)} of {len(waiting)} tasks: {reasons}", permanent=True)
    return sent


def open_tasks(batch: Batch) -> list[Task]:
    """The batch's tasks that still want answers."""
    tasks = batch.tasks.filter(state=TaskState.OPEN, gold=None).select_related("snippet", "gold")
    return list(tasks.order_by("place", "pk"))


def outgoing(tasks: Sequence[Task], adapter: LabelingAdapter) -> list[OutgoingTask]:
    """Tasks as an adapter takes them: never a snippet's source, score or target."""
    judged: dict[uuid.UUID, set[str]] = defaultdict(set)
    for chunk in chunked(tasks, 1000):
        labels = Label.objects.filter(snippet__in=[t.snippet_id for t in chunk], annotator__vendor=adapter.name)
        for snippet_id, annotator in labels.values_list("snippet_id", "annotator__external_id"):
            judged[snippet_id].add(annotator)
    return [
        OutgoingTask(
            task_id=str(task.pk),
            snippet=task.snippet.text,
            wanted=task.wanted - task.labelled,
            answered_by=frozenset(judged[task.snippet_id]),
            remote_id=task.remote_id,
            gold=task.gold.choice if task.gold else None,
        )
        for task in tasks
    ]


def follow_batch(batch: Batch) -> None:
    """Queues what a batch at a vendor wants, unless it is queued already: sending its tasks, collecting its labels."""
    if batch.tasks.filter(state=TaskState.OPEN, gold=None, remote_id="").exists() and not _at_work(batch, "send_batch"):
        enqueue("send_batch", {"batch": str(batch.pk)})
    if adapter_of(batch).poll_seconds is not None and not _at_work(batch, "collect_labels"):
        enqueue("collect_labels", {"batch": str(batch.pk)})


def _at_work(batch: Batch, kind: str) -> bool:
    """Whether a job of this kind is queued or running for the batch. The index finds the few unfinished jobs."""
    unfinished = Job.objects.filter(state__in=[JobState.QUEUED, JobState.RUNNING], kind=kind)
    return unfinished.filter(args__batch=str(batch.pk)).exists()


def send_tasks(run: JobRun) -> dict[str, Any]:
    """Job `send_batch`: opens a batch that no round sends, and sends its tasks. It is launched only when asked."""
    batch = _batch(run)
    if batch.state != BatchState.OPEN:
        return {"sent": 0}
    with _troubles(batch):
        return {"sent": send_batch(batch, run)}


def collect_labels(run: JobRun) -> dict[str, Any]:
    """Job `collect_labels`: fetches a vendor's answers to a batch's open tasks; comes back until none is open.

    A vendor that is away for a while is asked again at the next look, for as long as it takes.
    """
    batch = _batch(run)
    adapter = adapter_of(batch)
    total = batch.tasks.filter(gold=None).count()
    waiting = open_tasks(batch) if batch.remote_id else []
    done = total - len(waiting)
    pause = adapter.poll_seconds or 60.0
    try:
        with _troubles(batch):
            for tasks in chunked(waiting, CHUNK):
                _record(batch, adapter.collect(outgoing_batch(batch), outgoing(tasks, adapter)), adapter)
                done += len(tasks)
                run.progress(done, total)
    except AdapterError as error:
        if error.permanent:
            raise
        raise Later(max(error.retry_after or 0.0, pause)) from error
    batch.refresh_from_db()
    if batch.state == BatchState.OPEN:
        raise Later(pause)
    return {"tasks": total}


def _batch(run: JobRun) -> Batch:
    return Batch.objects.select_related("policy", "round").get(pk=run.args["batch"])


@contextmanager
def _troubles(batch: Batch) -> Iterator[None]:
    """Notes on the batch what goes wrong with its vendor, for people to see, and that it went well again."""
    try:
        yield
    except AdapterError as error:
        Batch.objects.filter(pk=batch.pk).update(vendor_error=str(error))
        raise
    if batch.vendor_error:
        Batch.objects.filter(pk=batch.pk, vendor_error=batch.vendor_error).update(vendor_error="")


def take_callback(batch: Batch, delivery: Delivery) -> Taken:
    """Records what a vendor brings or announces at the batch's callback address: the good, whatever the others are.

    Asks the vendor once, where the adapter asks back, and waits for it. Raises AdapterError, or Forged.
    """
    adapter = adapter_of(batch)
    return _record(batch, adapter.receive(outgoing_batch(batch), delivery), adapter)


def move_batch(run: JobRun) -> dict[str, Any]:
    """Job `move_batch`: launches, pauses, resumes or cancels a batch at its vendor, after all was sent.

    Of two moves asked shortly one after the other the later one holds, whichever job comes first.
    """
    batch = _batch(run)
    move: Move = run.args["move"]
    if batch.asked != move:
        return {"move": move, "instead": batch.asked}
    if _at_work(batch, "send_batch"):
        raise Later(SOON)
    if batch.remote_id:
        adapter = adapter_of(batch)
        with _troubles(batch):
            persistently(lambda: adapter.move(outgoing_batch(batch), move))
    elif move != "cancel":
        raise AdapterError(f"{batch.adapter}: the batch was never sent: {batch.vendor_error}", permanent=True)
    Batch.objects.filter(pk=batch.pk, asked=move).update(told=move)
    return {"move": move}


def answers_from(incoming: Sequence[IncomingLabel], adapter: LabelingAdapter) -> list[Answer]:
    """A vendor's answers as ours; annotators whom we did not know are added under the vendor's own ids."""
    names = {label.annotator for label in incoming}
    known = Annotator.objects.filter(vendor=adapter.name, external_id__in=names)
    missing = names - set(known.values_list("external_id", flat=True))
    Annotator.objects.bulk_create(
        [Annotator(vendor=adapter.name, external_id=n, name=n, simulated=adapter.simulated) for n in sorted(missing)],
        ignore_conflicts=True,
    )
    ids = dict(known.all().values_list("external_id", "pk"))
    return [
        Answer(
            uuid.UUID(label.task_id),
            ids[label.annotator],
            label.choice,
            label.seconds,
            label.note,
            label.external_id,
        )
        for label in incoming
    ]


def _record(batch: Batch, labels: Iterable[IncomingLabel | RefusedLabel], adapter: LabelingAdapter) -> Taken:
    """Records a vendor's answers to this batch's tasks. What a vendor sends is data: what is none of this batch's, or
    cannot be kept, is left out and logged, and so is what is no choice of the policy."""
    given = list(labels)
    known = batch.tasks.filter(pk__in=_keys(given)).values_list("pk", flat=True)
    mine = {str(pk) for pk in known}
    looked_at = [_fit(one, mine) for one in given]
    good = [one for one in looked_at if isinstance(one, IncomingLabel)]
    refused = {place: one for place, one in enumerate(looked_at) if isinstance(one, RefusedLabel)}
    counts: Counter[str] = Counter(one.outcome for one in record_labels(answers_from(good, adapter)))
    if refused:
        counts["refused"] = len(refused)
    if refused or counts["unknown_choice"]:
        reasons = "; ".join(sorted({one.reason for one in refused.values()})[:SHOWN])
        logger.warning("%s, batch %s: not all answers could be taken: %s %s", adapter.name, batch.pk, +counts, reasons)
    return Taken(dict(+counts), refused)


def _fit(label: IncomingLabel | RefusedLabel, tasks: set[str]) -> IncomingLabel | RefusedLabel:
    """The label, or why it cannot be kept: one that the database refuses would take those beside it along."""
    if isinstance(label, RefusedLabel):
        return label
    named = {"annotator": label.annotator, "id": label.external_id}
    texts = {**named, "note": label.note}
    if label.task_id not in tasks:
        reason = "task: none of this batch"
    elif not label.annotator:
        reason = "annotator: nobody is named"
    elif long := next((name for name, text in named.items() if len(text) > NAME_CHARS), ""):
        reason = f"{long}: longer than {NAME_CHARS} characters"
    elif broken := next((name for name, text in texts.items() if not _is_text(text)), ""):
        reason = f"{broken}: holds a null character or half a surrogate pair"
    elif label.seconds is not None and not math.isfinite(label.seconds):
        reason = "seconds: not a number of seconds"
    else:
        return label
    return RefusedLabel(label.task_id, reason)


def _is_text(text: str) -> bool:
    """Whether a database can keep it."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _keys(labels: Iterable[IncomingLabel | RefusedLabel]) -> set[uuid.UUID]:
    """The task keys that are keys at all."""
    keys = set()
    for label in labels:
        try:
            keys.add(uuid.UUID(label.task_id))
        except ValueError:
            continue
    return keys
