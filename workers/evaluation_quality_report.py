"""The report of an evaluation of quality."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, Sum

from engine.evaluation.quality_purchase import (
    QualityAsked,
    QualityBought,
    QualityPurchase,
    QualityTies,
    SilentPrompt,
)
from webapi.models import Evaluation, Preference
from workers.evaluation_facts import lineage_of, notice_of, preferences_used, subject_of
from workers.evaluation_pool import Outputs
from workers.evaluation_purchase import purchase_of
from workers.evaluation_quality import Answered, answer
from workers.evaluation_settings import EvaluationSettings

MOST_SILENT = 100
KEPT = ("check", "ties", "bought", "asked")
"""What stands in the evaluation's row too."""


def content_of(evaluation: Evaluation, wanted: EvaluationSettings, outputs: Outputs) -> QualityPurchase:
    """Everything that the report says. Raises BadInput where an answer is missing."""
    found = answer(purchase_of(evaluation, wanted, outputs))
    rests_on = preferences_used(evaluation, found.asked)
    policy = evaluation.classifier.policy
    return QualityPurchase(
        id=str(evaluation.pk),
        name=evaluation.name,
        kind=evaluation.kind,
        created_at=evaluation.created_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        policy=str(policy),
        question=policy.rules.comparison.question,
        notice=notice_of(evaluation, rests_on),
        subject=subject_of(evaluation.classifier, evaluation.threshold),
        asked=QualityAsked(
            level=wanted.level,
            labels_each=wanted.labels_each,
            split=wanted.outputs.split,
            tries=wanted.outputs.tries,
            seed=wanted.seed,
            half_width=wanted.quality.half_width,
            loss=wanted.quality.loss,
        ),
        plan=evaluation.plan,
        check=found.check.as_dict(),
        ties=QualityTies(both_accepted=found.check.both_accepted, equal=found.pairs.equal, undecided=found.undecided),
        silent=_silent(found, outputs),
        bought=_bought(evaluation, wanted, found),
        lineage=lineage_of(evaluation, rests_on),
    )


def _silent(found: Answered, outputs: Outputs) -> list[SilentPrompt]:
    rows = [found.pairs.free[place] for place in found.check.without_completion[:MOST_SILENT]]
    return [SilentPrompt(snippet=outputs.origins[at], prompt=outputs.texts[at]) for at in rows]


def _bought(evaluation: Evaluation, wanted: EvaluationSettings, found: Answered) -> QualityBought:
    given = Preference.objects.filter(task__batch__evaluation=evaluation)
    totals: dict[str, Any] = given.aggregate(
        n=Count("pk"), annotators=Count("annotator", distinct=True), seconds=Sum("seconds")
    )
    return QualityBought(
        comparisons=len(found.pairs.ask),
        labels=totals["n"],
        annotators=totals["annotators"],
        seconds=totals["seconds"],
        money=None if wanted.price is None else totals["n"] * wanted.price,
    )
