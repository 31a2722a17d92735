"""Classifiers: one trained version a row, and what was measured of it."""

from __future__ import annotations

from django.db import models

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
    promoted_at = models.DateTimeField(null=True, blank=True)
    """When it became the policy's serving classifier."""

    class Meta(Row.Meta):
        constraints = [
            models.UniqueConstraint(fields=["round", "condition"], name="classifier_once_per_condition"),
            models.CheckConstraint(
                condition=models.Q(threshold=None) | models.Q(threshold__gte=0, threshold__lte=1),
                name="classifier_threshold_is_a_probability",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Evaluation(Row):
    """What was measured of one classifier on named data, every rate with its count and interval."""

    classifier = models.ForeignKey(Classifier, on_delete=models.CASCADE, related_name="evaluations")
    round = models.ForeignKey("Round", null=True, blank=True, on_delete=models.CASCADE, related_name="evaluations")
    name = models.CharField(max_length=64)
    results = models.JSONField(default=dict)

    class Meta(Row.Meta):
        constraints = [models.UniqueConstraint(fields=["classifier", "name"], name="evaluation_once")]

    def __str__(self) -> str:
        return f"{self.name} of {self.classifier}"
