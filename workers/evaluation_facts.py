"""What every report of bought labels says of its evaluation."""

from __future__ import annotations

from engine.evaluation.purchase_data import Subject
from engine.simulation import SIMULATED_NOTICE
from webapi.models import Classifier, Evaluation

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
