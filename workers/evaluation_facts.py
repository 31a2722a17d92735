"""What every report of bought labels says of its evaluation."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from typing import NamedTuple

from engine.evaluation.purchase_data import BatchFacts, Lineage, Subject
from engine.simulation import SIMULATED_NOTICE
from webapi.models import Annotator, Batch, Classifier, Evaluation, Label, Preference
from workers.jobs import chunked

CHUNK = 1000
RECORDED_NOTICE = (
    "The labels are recorded answers of a crowd, given back one by one: nobody judged for this evaluation."
)


class Used(NamedTuple):
    """The answers that figures rest on, bought for them or there before."""

    batches: list[BatchFacts]
    annotators: set[uuid.UUID]

    @property
    def had(self) -> int:
        """Those that were there before."""
        return sum(one["labels"] for one in self.batches if not one["bought"])


def labels_used(evaluation: Evaluation, snippets: Iterable[uuid.UUID]) -> Used:
    """Labels of these snippets that count. O(labels)."""
    rows: list[tuple[uuid.UUID | None, uuid.UUID]] = []
    for chunk in chunked(sorted(set(snippets)), CHUNK):
        rows += Label.objects.filter(snippet__in=chunk, counted=True).values_list("task__batch", "annotator")
    return _used(evaluation, rows)


def preferences_used(evaluation: Evaluation, pairs: Set[tuple[uuid.UUID, uuid.UUID]]) -> Used:
    """Answers to these comparisons that count. O(answers)."""
    rows: list[tuple[uuid.UUID | None, uuid.UUID]] = []
    for chunk in chunked(sorted({first for first, _ in pairs}), CHUNK):
        given = Preference.objects.filter(snippet__in=chunk, counted=True)
        for first, second, *row in given.values_list("snippet", "rival", "task__batch", "annotator"):
            rows += [(row[0], row[1])] if (first, second) in pairs else []
    return _used(evaluation, rows)


def _used(evaluation: Evaluation, rows: Sequence[tuple[uuid.UUID | None, uuid.UUID]]) -> Used:
    """Of the batch and the annotator of each answer."""
    counts = Counter(batch for batch, _ in rows)
    found = [
        BatchFacts(
            id=str(one.pk), name=one.name, adapter=one.adapter, labels=counts[one.pk],
            bought=one.evaluation_id == evaluation.pk,
        )
        for one in Batch.objects.filter(pk__in=[key for key in counts if key]).order_by("pk")
    ]  # fmt: skip
    if none := counts[None]:
        found.append(BatchFacts(id="", name="imported, in no batch", adapter="import", labels=none, bought=False))
    return Used(found, {annotator for _, annotator in rows})


def notice_of(evaluation: Evaluation, used: Used) -> str | None:
    """What a reader must know of where stories and labels come from; None where people wrote and gave them."""
    adapters = {one["adapter"] for one in used.batches} or {evaluation.config.get("adapter")}
    told = evaluation.round is not None and evaluation.round.corpus.simulated
    if told or "simulated" in adapters or _simulated(used):
        return SIMULATED_NOTICE
    return RECORDED_NOTICE if "recorded" in adapters else None


def _simulated(used: Used) -> int:
    return sum(
        Annotator.objects.filter(pk__in=chunk, simulated=True).count() for chunk in chunked(used.annotators, CHUNK)
    )


def subject_of(row: Classifier, threshold: float | None) -> Subject:
    """At the threshold given or, without one, its own."""
    at = threshold if threshold is not None else row.threshold
    return Subject(id=str(row.pk), name=row.name, condition=row.condition, encoder=row.encoder, threshold=at)


def lineage_of(evaluation: Evaluation, used: Used) -> Lineage:
    """What its figures lead back to."""
    row, pool = evaluation.classifier, evaluation.pool
    return Lineage(
        classifier=str(row.pk),
        weights=row.artifact.sha256 if row.artifact else None,
        snapshot=row.snapshot.content_hash if row.snapshot else None,
        policy=row.policy.digest,
        outputs=pool.sha256 if pool else None,
        round=str(evaluation.round_id) if evaluation.round_id else None,
        parent=str(evaluation.parent_id) if evaluation.parent_id else None,
        batches=used.batches,
        annotators=len(used.annotators),
        simulated=_simulated(used),
    )
