"""Labeling stages: send snippets out and wait for their labels. A stage waits for people without holding a worker."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import Count, Q, QuerySet

from webapi.models import Batch, BatchState, Label, Pool, RoundSnippet, Stage, Task
from webapi.models.queue import BATCHES, new_place
from workers.jobs import JobRun, chunked, enqueue
from workers.round_settings import round_settings
from workers.vendors import adapter_of, send_batch


def send_first(run: JobRun) -> dict[str, Any]:
    """Stage `label_first`: the initial training snippets, the test snippets and the seeds of the held-out attack."""
    labeling, depth = round_settings(run.round.config).labeling, run.round.policy.rules.depth
    first, test = labeling.initial or depth.first, labeling.test or depth.test
    wanted = {Pool.INITIAL: first, Pool.TEST: test, Pool.SEED: test}
    return _send(run, {pool.value: (run.round.members.filter(pool=pool), number) for pool, number in wanted.items()})


def send_selected(run: JobRun) -> dict[str, Any]:
    """Stage `label`: what selection chose, the held-out re-tellings, and what measures attacks on the baseline."""
    labeling, depth = round_settings(run.round.config).labeling, run.round.policy.rules.depth
    chosen = run.round.members.filter(selected=True)
    held_out = run.round.members.filter(pool=Pool.ATTACK_TEST)
    return _send(
        run,
        {
            "selected": (chosen, labeling.selected or depth.first),
            "held_out_attack": (held_out, labeling.test or depth.test),
            "measured": (run.round.members.filter(pool=Pool.MEASURED), labeling.test or depth.test),
        },
    )


def send_measured(run: JobRun) -> dict[str, Any]:
    """Stage `label_after`: what attacks on the retrained classifier found and the first ones had not."""
    labeling, depth = round_settings(run.round.config).labeling, run.round.policy.rules.depth
    measured = run.round.members.filter(pool=Pool.MEASURED)
    return _send(run, {"measured_after": (measured, labeling.test or depth.test)})


def _send(run: JobRun, batches: dict[str, tuple[QuerySet[RoundSnippet], int]]) -> dict[str, Any]:
    labeling = round_settings(run.round.config).labeling
    sent = 0
    for name, (members, wanted) in batches.items():
        with transaction.atomic():  # a sweep in between would find a batch without open tasks, and end it
            batch, _ = Batch.objects.get_or_create(
                round=run.round,
                name=name,
                defaults={"policy": run.round.policy, "adapter": labeling.adapter, "config": labeling.config},
            )
            sent += _make_tasks(batch, members, wanted)
        send_out(batch, run)
    return {"tasks": sent}


def send_out(batch: Batch, run: JobRun) -> None:
    """Sends a round's batch to its vendor, whose answers are fetched from then on; one without tasks ends."""
    batch.finish_if_complete()
    batch.refresh_from_db()
    if batch.state == BatchState.OPEN:
        send_batch(batch, run)
        if adapter_of(batch).poll_seconds is not None:
            enqueue("collect_labels", {"batch": str(batch.pk)}, stage=run.stage, shard=batch.name)


def _make_tasks(batch: Batch, members: QuerySet[RoundSnippet], wanted: int) -> int:
    """A task for each member that has fewer labels than wanted. Running it again adds what is missing."""
    given = Count("snippet__labels__annotator", filter=Q(snippet__labels__counted=True), distinct=True)
    lacking = members.annotate(have=given).filter(have__lt=wanted)
    made = 0
    for chunk in chunked(lacking.order_by("snippet_id").values_list("snippet_id", "have"), 1000):
        rows = [
            Task(batch=batch, snippet_id=snippet_id, wanted=wanted - have, place=new_place(batch.priority))
            for snippet_id, have in chunk
        ]
        Task.objects.bulk_create(rows, ignore_conflicts=True)
        made += len(rows)
    return made


def settle(stage: Stage) -> dict[str, Any] | None:
    """Ends a labeling stage once none of its batches is open; until then it waits."""
    batches = Batch.objects.filter(round=stage.round, name__in=BATCHES[stage.name])
    if batches.filter(state=BatchState.OPEN).exists():
        return None
    return {"labels": Label.objects.filter(task__batch__in=batches, task__gold=None).count()}
