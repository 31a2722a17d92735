"""Buying labels for outputs: sent out in batches, and what the labels there are say. No snippet is bought twice."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from django.db import transaction
from django.db.models import QuerySet
from numpy.typing import NDArray

from engine.aggregation import Vote
from engine.errors import BadInput
from engine.evaluation.confirming import Standing, standing
from engine.snippets import Snippet as SnippetText
from labeling_adapters import adapter_named
from labeling_adapters.base import InHouse, LabelingAdapter, Limited
from webapi.models import (
    Batch,
    BatchState,
    Consensus,
    Evaluation,
    Lease,
    LeaseState,
    Policy,
    Snippet,
    Source,
    Task,
    TaskState,
)
from webapi.models.base import locked
from webapi.models.evaluations import BUYING
from webapi.models.queue import new_place
from workers.aggregate import aggregate
from workers.attack import snippet_from
from workers.evaluation_pool import Outputs
from workers.evaluation_settings import EvaluationSettings
from workers.generate import add_snippets
from workers.jobs import JobEnded, JobRun, Later, chunked, enqueue
from workers.vendors import adapter_of, follow_batch
from workers.votes import votes_of

Ints = NDArray[np.int64]
WITH_PEOPLE = 10.0
"""Seconds between two looks for labels that people give."""
CHUNK = 1000


class Purchase(NamedTuple):
    """What is bought, for which evaluation, from whom."""

    evaluation: Evaluation
    wanted: EvaluationSettings
    outputs: Outputs
    adapter: LabelingAdapter


class Standings(NamedTuple):
    """Where outputs stand, in the order asked for."""

    keys: list[uuid.UUID]
    """Of their snippets; outputs of one text share one."""
    each: list[Standing]

    @property
    def lacking(self) -> dict[uuid.UUID, int]:
        """Labels that snippets still want."""
        return {key: one.lacking for key, one in zip(self.keys, self.each, strict=True) if one.lacking}


def purchase_of(evaluation: Evaluation, wanted: EvaluationSettings, outputs: Outputs) -> Purchase:
    """Raises BadInput for wrong settings of the adapter."""
    adapter = adapter_named(wanted.adapter, evaluation.classifier.policy.rules, config=config_of(evaluation, wanted))
    return Purchase(evaluation, wanted, outputs, adapter)


def config_of(evaluation: Evaluation, wanted: EvaluationSettings) -> dict[str, object]:
    """The adapter's settings; simulated annotators are the round's own."""
    round_ = evaluation.round
    seeds = {"seed": round_.seed if round_ else wanted.seed} if wanted.adapter == "simulated" else {}
    return {**seeds, **wanted.config}


def await_batches(run: JobRun, evaluation: Evaluation) -> None:
    """Raises Later while labels that were asked for are still to come, and BadInput for a batch cancelled since the job
    was queued: of those before, whoever set the evaluation going again knows."""
    for batch in evaluation.batches.filter(state=BatchState.OPEN):
        batch.finish_if_complete()
    if evaluation.batches.filter(state=BatchState.CANCELLED, finished_at__gt=run.job.created_at).exists():
        raise BadInput("a batch of its was cancelled", where=str(evaluation))
    waiting = evaluation.batches.filter(state=BatchState.OPEN).first()
    if waiting is None:
        return
    if waiting.adapter != "pull":
        follow_batch(waiting)
    raise Later(adapter_of(waiting).poll_seconds or WITH_PEOPLE)


def standings(run: JobRun, buying: Purchase, indices: Ints) -> Standings:
    """Where these outputs stand by all labels that their snippets have; their consensus is brought up to date."""
    keys = snippets_of(buying, indices)
    distinct = list(dict.fromkeys(keys))
    policy, wanted = buying.evaluation.classifier.policy, buying.wanted
    aggregate(policy, distinct, run.progress)
    found: dict[uuid.UUID, Standing] = {}
    for chunk in chunked(distinct, CHUNK):
        votes = votes_of(chunk)
        said = dict(Consensus.objects.filter(snippet__in=chunk).values_list("snippet_id", "choice"))
        limits = _limits(buying, chunk)
        for key in chunk:
            given: list[Vote] = [one.vote for one in votes.get(key, [])]
            found[key] = standing(
                given, said.get(key), policy.rules.failure,
                first=wanted.labels_each, confirmations=wanted.confirmations, by=wanted.confirmed_by,
                most=limits.get(key),
            )  # fmt: skip
    return Standings(keys, [found[key] for key in keys])


def _limits(buying: Purchase, keys: Sequence[uuid.UUID]) -> dict[uuid.UUID, int]:
    """How many annotators can judge a snippet, where the adapter's are not any number."""
    adapter = buying.adapter
    if not isinstance(adapter, Limited):
        return {}
    rows = Snippet.objects.filter(pk__in=keys)
    return {row.pk: adapter.most(row.text) for row in rows}


def snippets_of(buying: Purchase, indices: Ints) -> list[uuid.UUID]:
    """The snippets of these outputs, in order; completions become snippets here, once."""
    outputs, places = buying.outputs, indices.tolist()
    if buying.wanted.outputs.source == "texts":
        return [uuid.UUID(outputs.origins[place]) for place in places]
    policy = buying.evaluation.classifier.policy_id
    digests = [_text(outputs, place).content_hash for place in places]
    known = _known(policy, digests)
    new = [place for place, digest in zip(places, digests, strict=True) if digest not in known]
    for chunk in chunked(new, CHUNK):
        known |= {digest: kept.pk for digest, kept in add_snippets(policy, _rows(buying, chunk)).items()}
    return [known[digest] for digest in digests]


def _known(policy: uuid.UUID, digests: Sequence[str]) -> dict[str, uuid.UUID]:
    known: dict[str, uuid.UUID] = {}
    for chunk in chunked(digests, CHUNK):
        rows = Snippet.objects.filter(policy=policy, content_hash__in=chunk, external_id="")
        known |= dict(rows.values_list("content_hash", "pk"))
    return known


def _text(outputs: Outputs, place: int) -> SnippetText:
    return SnippetText(outputs.texts[place], outputs.completions[place])


def _rows(buying: Purchase, places: Sequence[int]) -> list[Snippet]:
    outputs = buying.outputs
    prompts = Snippet.objects.in_bulk([uuid.UUID(outputs.origins[place]) for place in places])
    rows = []
    for place in places:
        row = snippet_from(prompts[uuid.UUID(outputs.origins[place])], _text(outputs, place), Source.GENERATED)
        row.details = {"evaluation": str(buying.evaluation.pk)}
        rows.append(row)
    return rows


def send(buying: Purchase, lacking: Mapping[uuid.UUID, int], *, name: str, before: int, now: int) -> None:
    """Sends these snippets out for so many labels each, and notes that the outputs up to `now` are bought; all or
    nothing. What is being labelled for an evaluation, or held since before a batch was cancelled, is not asked for
    again: Later is raised if that is all. Raises as `note_bought`."""
    evaluation = buying.evaluation
    with transaction.atomic():
        # Of two evaluations that want labels of one text at the same moment, one sees what the other asked for.
        list(locked(Policy.objects.filter(pk=evaluation.classifier.policy_id)).values_list("pk"))
        note_bought(evaluation, before=before, now=now)
        left = _not_asked_for(lacking)
        if left:
            _send(buying, left, name)
    if lacking and not left:
        raise Later(buying.adapter.poll_seconds or WITH_PEOPLE)


def note_bought(evaluation: Evaluation, *, before: int, now: int) -> None:
    """Notes that the outputs up to `now` are bought. Raises JobEnded where the evaluation buys no more, and Later where
    another worker was first: the evaluation has no other job that would go on."""
    if evaluation.buy(before=before, now=now):
        return
    raise Later(0) if Evaluation.objects.filter(pk=evaluation.pk, state__in=BUYING).exists() else JobEnded


def _not_asked_for(lacking: Mapping[uuid.UUID, int]) -> dict[uuid.UUID, int]:
    """What these snippets lack beyond the labels that evaluations are waiting for, and those that may still be given to
    cancelled tasks."""
    coming: Counter[uuid.UUID] = Counter()
    asked = Task.objects.filter(state=TaskState.OPEN, gold=None, batch__state=BatchState.OPEN)
    asked = asked.exclude(batch__evaluation=None)
    for chunk in chunked(lacking, CHUNK):
        for key, wanted, given in asked.filter(snippet__in=chunk).values_list("snippet", "wanted", "labelled"):
            coming[key] += wanted - given
        coming.update(held_of_cancelled(chunk).filter(task__rival=None).values_list("task__snippet", flat=True))
    return {key: number - coming[key] for key, number in lacking.items() if number > coming[key]}


def held_of_cancelled(snippets: Sequence[uuid.UUID]) -> QuerySet[Lease]:
    """Leases by which somebody may still answer a cancelled task of these snippets: such an answer counts."""
    return Lease.objects.filter(
        state=LeaseState.LIVE, task__state=TaskState.CANCELLED, task__gold=None, task__snippet__in=snippets
    )


def _send(buying: Purchase, lacking: Mapping[uuid.UUID, int], name: str) -> None:
    evaluation, wanted = buying.evaluation, buying.wanted
    batch = Batch.objects.create(
        policy=evaluation.classifier.policy,
        evaluation=evaluation,
        name=f"{name} {evaluation.batches.count() + 1:03d} of {evaluation.name}",
        adapter=wanted.adapter,
        config=config_of(evaluation, wanted),
        priority=wanted.priority,
    )
    for chunk in chunked(lacking.items(), CHUNK):
        Task.objects.bulk_create(
            Task(batch=batch, snippet_id=key, wanted=number, place=new_place(batch.priority)) for key, number in chunk
        )
    launch(batch, buying.adapter)


def launch(batch: Batch, adapter: LabelingAdapter) -> None:
    """A batch with its tasks goes to whoever answers it."""
    if batch.adapter != "pull":
        follow_batch(batch)
    if not isinstance(adapter, InHouse) and batch.ask("launch", since={""}):
        enqueue("move_batch", {"batch": str(batch.pk), "move": "launch"})  # it was asked for: nobody has to press
