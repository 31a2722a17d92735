"""Classifiers: one trained version a row, and when it was promoted to serve."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from webapi.models.artifacts import Artifact
from webapi.models.base import Row
from webapi.models.policies import Policy
from webapi.models.snapshots import DatasetSnapshot


class Classifier(Row):
    """One trained version: weights, encoder, hyperparameters, dataset snapshot, threshold, metrics."""

    policy = models.ForeignKey(Policy, on_delete=models.PROTECT, related_name="classifiers")
    round = models.ForeignKey("Round", null=True, blank=True, on_delete=models.CASCADE, related_name="classifiers")
    name = models.CharField(max_length=100)
    condition = models.CharField(max_length=64)
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="children")
    snapshot = models.ForeignKey(DatasetSnapshot, null=True, blank=True, on_delete=models.PROTECT)
    artifact = models.ForeignKey(Artifact, null=True, blank=True, on_delete=models.PROTECT)
    encoder = models.CharField(max_length=200)
    recipe = models.JSONField(default=dict)
    precision = models.CharField(max_length=8, default="int8")
    threshold = models.FloatField(null=True, blank=True)
    """The score at or above which a completion is rejected, in (0, 1); empty until calibrated."""
    metrics = models.JSONField(default=dict)
    environment = models.JSONField(default=dict, blank=True)
    """`engine.environment.environment()` where it was trained."""
    promoted_at = models.DateTimeField(null=True, blank=True)
    """When it was last promoted, promotions that were rolled back left out: of a policy's classifiers the one with the
    latest time serves. Written with the rows of `Promotion`."""

    class Meta(Row.Meta):
        constraints = [
            models.UniqueConstraint(fields=["round", "condition"], name="classifier_once_per_condition"),
            models.CheckConstraint(
                condition=Q(threshold=None) | Q(threshold__gte=0, threshold__lte=1),
                name="classifier_threshold_is_a_probability",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Promotion(Row):
    """A classifier made its policy's serving one, by whom and why. Of a policy at most one serves at any time."""

    policy = models.ForeignKey(Policy, on_delete=models.PROTECT, related_name="promotions")
    classifier = models.ForeignKey(Classifier, on_delete=models.CASCADE, related_name="promotions")
    serving = models.BooleanField(default=True)
    note = models.CharField(max_length=500, blank=True)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    rolled_back_at = models.DateTimeField(null=True, blank=True)
    rolled_back_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    class Meta(Row.Meta):
        constraints = [
            models.UniqueConstraint(fields=["policy"], condition=Q(serving=True), name="promotion_one_serves"),
            models.CheckConstraint(
                condition=Q(serving=False) | Q(rolled_back_at=None), name="promotion_rolled_back_does_not_serve"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.classifier} for {self.policy}"

    def _move(self, *, serving: bool, **fields: object) -> bool:
        rows = Promotion.objects.filter(pk=self.pk, serving=not serving, rolled_back_at=None)
        return bool(rows.update(serving=serving, **fields))

    def follow(self) -> bool:
        """serving -> served before: another was promoted."""
        return self._move(serving=False)

    def roll_back(self, by: object) -> bool:
        """serving -> rolled back. It does not come back; promote its classifier anew."""
        return self._move(serving=False, rolled_back_at=timezone.now(), rolled_back_by=by)

    def serve_again(self) -> bool:
        """Served before -> serving: what came after it was rolled back."""
        return self._move(serving=True)
