"""What every report of bought labels says of its evaluation."""

from __future__ import annotations

from typing import Literal

from django.db.models import Count

from engine.evaluation.purchase_data import BatchFacts, Lineage, Subject
from engine.simulation import SIMULATED_NOTICE
from webapi.models import Annotator, Classifier, Evaluation

RECORDED_NOTICE = (
    "The labels are recorded answers of a crowd, given back one by one: nobody judged for this evaluation."
)


def notice_of(evaluation: Evaluation) -> str | None:
    """What a reader must know of where the labels come from; None where people gave them."""
    adapters = set(evaluation.batches.values_list("adapter", flat=True)) or {evaluation.config.get("adapter")}
    if "simulated" in adapters:
        return SIMULATED_NOTICE
    return RECORDED_NOTICE if "recorded" in adapters else None


def subject_of(row: Classifier, threshold: float | None) -> Subject:
    """At the threshold given or, without one, its own."""
    at = threshold if threshold is not None else row.threshold
    return Subject(id=str(row.pk), name=row.name, condition=row.condition, encoder=row.encoder, threshold=at)


def lineage_of(evaluation: Evaluation, answers: Literal["labels", "preferences"]) -> Lineage:
    """What its figures lead back to; `answers` are what its tasks brought."""
    row, pool = evaluation.classifier, evaluation.pool
    batches = evaluation.batches.annotate(given=Count(f"tasks__{answers}")).order_by("pk")
    people = Annotator.objects.filter(**{f"{answers}__task__batch__evaluation": evaluation}).distinct()
    return Lineage(
        classifier=str(row.pk),
        weights=row.artifact.sha256 if row.artifact else None,
        snapshot=row.snapshot.content_hash if row.snapshot else None,
        policy=row.policy.digest,
        outputs=pool.sha256 if pool else None,
        round=str(evaluation.round_id) if evaluation.round_id else None,
        parent=str(evaluation.parent_id) if evaluation.parent_id else None,
        batches=[BatchFacts(id=str(b.pk), name=b.name, adapter=b.adapter, labels=b.given) for b in batches],
        annotators=people.count(),
        simulated=people.filter(simulated=True).count(),
    )
