"""What follows the end of a batch: whom it concerns is told, and trusted labelers judge a share again."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable
from typing import Any

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.utils import timezone

from webapi.models import Batch, BatchKind, BatchState, Label, Task, TaskState, User
from webapi.models.base import locked
from webapi.models.queue import new_place
from webapi.permissions import PULL, STAFF
from workers.jobs import JobRun, chunked, enqueue
from workers.webhooks import tell

CHUNK = 1000


def batches_follow() -> int:
    """For each batch that has ended, once: tells whom it concerns and queues the drawing of audits. Returns how many.

    Any number of workers may call it at once: each batch is marked by one of them, in the job's own transaction.
    """
    ended = Batch.objects.filter(state__in=(BatchState.DONE, BatchState.CANCELLED), followed_at=None)
    followed = 0
    for batch in ended.select_related("policy")[:100]:
        with transaction.atomic():
            if not Batch.objects.filter(pk=batch.pk, followed_at=None).update(followed_at=timezone.now()):
                continue
            followed += 1
            _tell_end(batch)
            audits = batch.policy.rules.quality.audit_rate and batch.state == BatchState.DONE
            if audits and batch.kind == BatchKind.LABEL:
                enqueue("draw_audits", {"batch": str(batch.pk)})
    return followed


def _tell_end(batch: Batch) -> None:
    """The vendor that pulled it learns what it sees of a batch over the API: not what it is for."""
    seen = {"batch": str(batch.pk), "policy": str(batch.policy_id), "state": batch.state}
    more = {"name": batch.name, "kind": batch.kind, "round": str(batch.round_id) if batch.round_id else None}
    pulls = batch.vendor_user_id if batch.adapter == PULL else None
    vendors = {pulls: seen} if pulls else {}
    tell("batch.finished", f"{batch.pk} {batch.finished_at}", {**seen, **more}, vendors=vendors)


def draw_audits(run: JobRun) -> dict[str, Any]:
    """Job `draw_audits`: a batch of audits for the policy's share of what no trusted labeler has judged in a batch.

    Which, the snippets' hashes decide. The audits' batch appears with all its tasks or not at all, under a key that
    follows from the batch's: running it again adds nothing. No round waits for audits; the answers enter consensus by
    the aggregation rule, as any staff label.
    """
    batch = Batch.objects.select_related("policy").get(pk=run.args["batch"])
    audits = _batch_of(batch)
    rate, chosen, done = batch.policy.rules.quality.audit_rate, [], 0
    tasks = _to_check(batch, audits)
    total = tasks.count()
    for chunk in chunked(tasks.values_list("snippet_id", "snippet__content_hash").iterator(CHUNK), CHUNK):
        chosen += [snippet_id for snippet_id, content in chunk if _share(batch, content) < rate]
        done += len(chunk)
        run.progress(done, total)
    with transaction.atomic():
        if chosen and not Batch.objects.filter(pk=audits.pk).exists():
            audits.save(force_insert=True)
            places = [Task(batch=audits, snippet_id=one, place=new_place(batch.priority)) for one in chosen]
            Task.objects.bulk_create(places, batch_size=CHUNK)
    return {"audits": audits.tasks.count(), "of": total}


def _to_check(batch: Batch, audits: Batch) -> QuerySet[Task]:
    """Tasks whose snippets a trusted labeler may be given, and none has judged except in these audits."""
    trusted = Label.objects.filter(snippet=OuterRef("snippet"), annotator__staff=True).exclude(task__batch=audits.pk)
    tasks = batch.tasks.filter(~Exists(trusted), gold=None, labelled__gt=0)
    users = User.objects.filter(Q(role__in=STAFF) | Q(is_superuser=True), is_active=True)[:2]
    if len(users) == 1:
        tasks = tasks.exclude(snippet__author__user=users[0])
    return tasks.order_by("pk")


def audits_answered(snippets: Iterable[uuid.UUID]) -> int:
    """Cancels what an audit still asks for where a trusted labeler has answered the snippet elsewhere since.

    Nobody judges a snippet twice: where no other trusted labeler comes, the audits would never end. What somebody holds
    stays. Returns how many tasks.
    """
    elsewhere = Label.objects.filter(
        snippet=OuterRef("snippet"), annotator__staff=True, created_at__gt=OuterRef("created_at")
    ).exclude(task__batch=OuterRef("batch"))
    waiting = Task.objects.filter(
        Exists(elsewhere),
        batch__kind=BatchKind.AUDIT,
        state=TaskState.OPEN,
        taken=F("labelled"),
        wanted=F("labelled") + 1,
    )
    cancelled = 0
    for chunk in chunked(snippets, CHUNK):
        with transaction.atomic():
            keys = list(locked(waiting.filter(snippet__in=chunk)).values_list("pk", flat=True))
            still = Task.objects.filter(pk__in=keys, state=TaskState.OPEN, taken=F("labelled"))
            cancelled += still.update(state=TaskState.CANCELLED)
    return cancelled


def _share(batch: Batch, content: str) -> float:
    """A number in [0, 1) that the batch and the text decide, uniform over texts."""
    digest = hashlib.sha256(f"audit {batch.pk} {content}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64


def _batch_of(batch: Batch) -> Batch:
    """The batch of its audits, not yet written."""
    return Batch(
        pk=uuid.uuid5(batch.pk, "audits"),
        policy=batch.policy,
        name=f"{batch.name}, audits"[:100],
        kind=BatchKind.AUDIT,
        priority=batch.priority,
    )
