"""What annotators answered, and what is made of it."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q

from webapi.models.accounts import Annotator
from webapi.models.base import Row
from webapi.models.policies import Policy
from webapi.models.queue import Task
from webapi.models.snippets import Snippet


class Label(Row):
    """One annotator's answer to one task. Never overwritten: a change is a new row with the next revision."""

    task = models.ForeignKey(Task, null=True, blank=True, on_delete=models.PROTECT, related_name="labels")
    snippet = models.ForeignKey(Snippet, on_delete=models.PROTECT, related_name="labels", db_index=False)
    annotator = models.ForeignKey(Annotator, on_delete=models.PROTECT, related_name="labels", db_index=False)
    choice = models.CharField(max_length=64)
    revision = models.PositiveSmallIntegerField(default=0)
    seconds = models.FloatField(null=True, blank=True)
    note = models.TextField(blank=True)
    flagged = models.BooleanField(default=False)
    """The annotator asks that somebody look at the text; the note says why."""
    external_id = models.CharField(max_length=200, blank=True)
    counted = models.BooleanField(default=True)
    """False: kept, but no vote. It came when none was wanted any more, or was withdrawn."""
    withdrawn_at = models.DateTimeField(null=True, blank=True)
    """When it was taken out of the count: its annotator was found unreliable. The answer itself stays."""

    class Meta(Row.Meta):
        constraints = [
            models.UniqueConstraint(fields=["snippet", "annotator", "revision"], name="label_once_per_revision")
        ]
        indexes = [
            models.Index(fields=["annotator", "id"], name="label_by_annotator"),
            models.Index(fields=["id"], condition=Q(flagged=True), name="label_flagged"),
        ]

    def __str__(self) -> str:
        return self.choice


class Preferred(models.TextChoices):
    """Which completion of a comparison is the better one."""

    FIRST = "first"
    SECOND = "second"
    EQUALLY_GOOD = "equally_good"
    EQUALLY_BAD = "equally_bad"


class Preference(Row):
    """One annotator's answer to one comparison, in terms of the task's `snippet` (first) and `rival` (second)."""

    task = models.ForeignKey(Task, on_delete=models.PROTECT, related_name="preferences")
    snippet = models.ForeignKey(Snippet, on_delete=models.PROTECT, related_name="preferences")
    rival = models.ForeignKey(Snippet, on_delete=models.PROTECT, related_name="rival_preferences")
    annotator = models.ForeignKey(Annotator, on_delete=models.PROTECT, related_name="preferences")
    choice = models.CharField(max_length=16, choices=Preferred)
    flipped = models.BooleanField(default=False)
    """Whether the rival stood on the left."""
    revision = models.PositiveSmallIntegerField(default=0)
    seconds = models.FloatField(null=True, blank=True)
    note = models.TextField(blank=True)
    flagged = models.BooleanField(default=False)
    external_id = models.CharField(max_length=200, blank=True)
    counted = models.BooleanField(default=True)

    class Meta(Row.Meta):
        constraints = [
            models.UniqueConstraint(
                fields=["snippet", "rival", "annotator", "revision"], name="preference_once_per_revision"
            ),
            models.CheckConstraint(condition=~Q(rival=F("snippet")), name="preference_compares_two"),
        ]

    def __str__(self) -> str:
        return self.choice


class Consensus(Row):
    """The policy's aggregation of a snippet's labels."""

    snippet = models.OneToOneField(Snippet, on_delete=models.CASCADE, related_name="consensus")
    choice = models.CharField(max_length=64, db_index=True)
    rule = models.CharField(max_length=32)
    labels = models.PositiveSmallIntegerField()
    """How many labels it rests on."""
    posterior = models.JSONField(default=list, blank=True)
    """A probability for each of the policy's choices, as the rule sees it."""
    updated_at = models.DateTimeField(auto_now=True)

    class Meta(Row.Meta):
        verbose_name_plural = "consensus"

    def __str__(self) -> str:
        return self.choice


class ConsensusChange(Row):
    """What a snippet's consensus became, by which rule and from which labels: its history."""

    snippet = models.ForeignKey(Snippet, on_delete=models.CASCADE, related_name="consensus_changes")
    choice = models.CharField(max_length=64)
    rule = models.CharField(max_length=32)
    posterior = models.JSONField(default=list, blank=True)
    labels = models.JSONField(default=list, blank=True)
    """Keys of the labels it rested on."""

    def __str__(self) -> str:
        return f"{self.choice} by {self.rule}"


class AnnotatorModel(Row):
    """What a policy's aggregation rule knows of its annotators, and how far consensus follows the labels."""

    policy = models.OneToOneField(Policy, on_delete=models.CASCADE, related_name="annotator_model")
    parameters = models.JSONField(default=dict, blank=True)
    """Of `engine.aggregation.ConfusionModel`, with the annotators' keys; empty for rules that estimate nothing."""
    labels = models.PositiveIntegerField(default=0)
    """How many labels the parameters rest on."""
    upto = models.DateTimeField(null=True, blank=True)
    """Labels that came before are in their snippets' consensus."""

    def __str__(self) -> str:
        return f"annotators of {self.policy}"
