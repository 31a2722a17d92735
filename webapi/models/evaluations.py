"""Evaluations: what was measured of a classifier, at once by a round or by labels that were bought for it."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from webapi.models.artifacts import Artifact
from webapi.models.base import Row
from webapi.models.classifiers import Classifier


class EvaluationKind(models.TextChoices):
    """What is measured."""

    HELD_OUT = "held_out"
    """Rates on what is labelled already: nothing is bought."""
    FAILURE_RATE = "failure_rate"
    """How often the filter lets a failure through, by labels bought for it."""
    DIFFERENCE = "difference"
    """How much oftener the filter of `against` does, by labels where the two filters' outputs differ."""
    QUALITY = "quality"
    """What filtering costs: its outputs compared with unfiltered ones on fresh prompts."""


class EvaluationState(models.TextChoices):
    """An evaluation's life. Planning: outputs are drawn and labels are planned; planned: nothing is bought yet."""

    PLANNING = "planning"
    PLANNED = "planned"
    LABELLING = "labelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


PREPARE, DRAW, PLAN, BUY, REPORT = (
    "prepare_evaluation",
    "draw_outputs",
    "plan_labels",
    "buy_labels",
    "report_evaluation",
)
"""Kinds of job of an evaluation that buys labels, in order; drawing is done in shards."""
UNFINISHED = (EvaluationState.PLANNING, EvaluationState.PLANNED, EvaluationState.LABELLING)
BUYING = (EvaluationState.PLANNING, EvaluationState.LABELLING)
"""A pilot is bought while labels are planned."""
STOPPED = (EvaluationState.FAILED, EvaluationState.CANCELLED)


class Evaluation(Row):
    """What was measured of one classifier on named data, every rate with its count and interval."""

    classifier = models.ForeignKey(Classifier, on_delete=models.CASCADE, related_name="evaluations")
    round = models.ForeignKey("Round", null=True, blank=True, on_delete=models.CASCADE, related_name="evaluations")
    name = models.CharField(max_length=64)
    kind = models.CharField(max_length=16, choices=EvaluationKind, default=EvaluationKind.HELD_OUT)
    against = models.ForeignKey(
        Classifier, null=True, blank=True, on_delete=models.CASCADE, related_name="evaluations_against"
    )
    """In a difference: the classifier that it is compared with, the one before."""
    second = models.ForeignKey(Classifier, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    """The second opinion by which labels are spread."""
    design = models.CharField(max_length=32, blank=True)
    """In the registry `engine.evaluation.designs.DESIGNS`."""
    threshold = models.FloatField(null=True, blank=True)
    """The classifier's, when its outputs were drawn."""
    config = models.JSONField(default=dict, blank=True)
    """Checked by `workers.evaluation_settings.EvaluationSettings`."""
    state = models.CharField(max_length=16, choices=EvaluationState, default=EvaluationState.SUCCEEDED, db_index=True)
    error = models.TextField(blank=True)
    pool = models.ForeignKey(Artifact, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    """The filter's outputs that labels may be bought for."""
    plan = models.JSONField(default=dict, blank=True)
    """What each design would cost, and of the chosen one how labels are spread."""
    bought = models.PositiveIntegerField(default=0)
    """How many outputs, in the order of the plan, were sent out for labels."""
    results = models.JSONField(default=dict)
    report = models.ForeignKey(Artifact, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    """The folder of `report.json` and `report.html`."""
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="children")
    """The evaluation of `against` whose certificate a difference goes on from."""
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta(Row.Meta):
        constraints = [
            models.UniqueConstraint(fields=["classifier", "name"], name="evaluation_once"),
            models.CheckConstraint(
                condition=Q(kind=EvaluationKind.DIFFERENCE, against__isnull=False)
                | (~Q(kind=EvaluationKind.DIFFERENCE) & Q(against=None)),
                name="evaluation_difference_is_against_one",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} of {self.classifier}"

    def _move(self, *, to: str, since: tuple[str, ...], **fields: object) -> bool:
        return bool(Evaluation.objects.filter(pk=self.pk, state__in=since).update(state=to, **fields))

    def settle_plan(self, plan: dict[str, object]) -> bool:
        """planning -> planned."""
        return self._move(to=EvaluationState.PLANNED, since=(EvaluationState.PLANNING,), plan=plan)

    def begin(self) -> bool:
        """planned -> labelling: from here on labels are bought."""
        return self._move(to=EvaluationState.LABELLING, since=(EvaluationState.PLANNED,))

    def buy(self, *, before: int, now: int) -> bool:
        """Notes that the outputs up to `now` were sent out, if those up to `before` were and it still buys."""
        rows = Evaluation.objects.filter(pk=self.pk, state__in=BUYING, bought=before)
        return bool(rows.update(bought=now))

    def succeed(self, results: dict[str, object], report: Artifact) -> bool:
        """labelling -> succeeded."""
        ended = {"results": results, "report": report, "finished_at": timezone.now()}
        return self._move(to=EvaluationState.SUCCEEDED, since=(EvaluationState.LABELLING,), **ended)

    def fail(self, error: str) -> bool:
        """Unfinished -> failed. Labels that were bought stay."""
        return self._move(to=EvaluationState.FAILED, since=UNFINISHED, error=error, finished_at=timezone.now())

    def cancel(self) -> bool:
        """Unfinished -> cancelled. Labels that were bought stay."""
        return self._move(to=EvaluationState.CANCELLED, since=UNFINISHED, finished_at=timezone.now())

    def retry(self) -> bool:
        """failed or cancelled -> where it stood: planning without a plan, else planned."""
        fresh = {"error": "", "finished_at": None}
        rows = Evaluation.objects.filter(pk=self.pk, state__in=STOPPED)
        return bool(
            rows.filter(plan={}).update(state=EvaluationState.PLANNING, **fresh)
            or rows.exclude(plan={}).update(state=EvaluationState.PLANNED, **fresh)
        )
