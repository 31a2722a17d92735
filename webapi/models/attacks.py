"""Attacks on classifiers, as part of a round or alone, and what they found."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from webapi.models.base import Row
from webapi.models.classifiers import Classifier
from webapi.models.policies import Policy
from webapi.models.snippets import Snippet


class AttackRole(models.TextChoices):
    """What an attack's finds are for."""

    TRAINING = "training"
    """From failures of the training split: labelled and trained on."""
    MEASURING = "measuring"
    """From held-out failures: labelled, never trained on; they tell how well the attack does."""
    ALONE = "alone"
    """Outside rounds: what becomes of its finds, people decide."""


class AttackState(models.TextChoices):
    """An attack's life. Pending: its seeds are being chosen."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


CHOOSE_SEEDS, ATTACK_SHARD = "choose_seeds", "attack_shard"
"""Kinds of job of an attack outside rounds: one that chooses its seeds, then those that attack them."""
UNFINISHED = (AttackState.PENDING, AttackState.RUNNING)


class Attack(Row):
    """One attack with its settings on one classifier. Its shards are jobs."""

    policy = models.ForeignKey(Policy, on_delete=models.PROTECT, related_name="attacks")
    classifier = models.ForeignKey(Classifier, on_delete=models.CASCADE, related_name="attacks")
    """The one attacked, at the threshold that it had then."""
    threshold = models.FloatField()
    round = models.ForeignKey("Round", null=True, blank=True, on_delete=models.CASCADE, related_name="attacks")
    role = models.CharField(max_length=16, choices=AttackRole)
    name = models.CharField(max_length=32)
    """In the registry `engine.attacks.ATTACKS`."""
    title = models.CharField(max_length=64)
    """What people call it; in a round each has another."""
    config = models.JSONField(default=dict, blank=True)
    budget = models.JSONField(default=dict, blank=True)
    """`engine.attacks.Budget`, for all shards together."""
    seed = models.PositiveIntegerField(default=0)
    second_opinion = models.ForeignKey(Classifier, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    """Where there is one, finds are ranked by how far the two classifiers disagree on them."""
    seeds = models.PositiveIntegerField(default=0)
    """Known failures that it starts from."""
    wanted = models.JSONField(default=dict, blank=True)
    """Which failures those are to be, as they were asked for."""
    state = models.CharField(max_length=16, choices=AttackState, default=AttackState.PENDING, db_index=True)
    error = models.TextField(blank=True)
    result = models.JSONField(default=dict, blank=True)
    """Totals of its shards, once it has ended."""
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta(Row.Meta):
        constraints = [
            models.UniqueConstraint(
                fields=["round", "classifier", "role", "title"], condition=~Q(round=None), name="attack_once_per_round"
            )
        ]

    def __str__(self) -> str:
        return f"{self.title} on {self.classifier}"

    def _move(self, *, to: str, since: tuple[str, ...], **fields: object) -> bool:
        return bool(Attack.objects.filter(pk=self.pk, state__in=since).update(state=to, **fields))

    def start(self, seeds: int) -> bool:
        """pending -> running, with so many seeds."""
        return self._move(to=AttackState.RUNNING, since=(AttackState.PENDING,), seeds=seeds)

    def succeed(self, result: dict[str, object]) -> bool:
        """running -> succeeded."""
        ended = {"result": result, "finished_at": timezone.now()}
        return self._move(to=AttackState.SUCCEEDED, since=(AttackState.RUNNING,), **ended)

    def fail(self, error: str) -> bool:
        """Unfinished -> failed."""
        return self._move(to=AttackState.FAILED, since=UNFINISHED, error=error, finished_at=timezone.now())

    def cancel(self) -> bool:
        """Unfinished -> cancelled. What it found so far stays."""
        return self._move(to=AttackState.CANCELLED, since=UNFINISHED, finished_at=timezone.now())


class AttackSeed(Row):
    """A known failure that an attack started from, and what came of it."""

    attack = models.ForeignKey(Attack, on_delete=models.CASCADE, related_name="started_from")
    snippet = models.ForeignKey(Snippet, on_delete=models.CASCADE, related_name="attacked")
    logit = models.FloatField()
    """Of the seed as it stands, by the classifier attacked."""
    queries = models.PositiveIntegerField()
    stop = models.CharField(max_length=32)
    """Why the attack on it ended: an `engine.attacks.base.Stop`."""

    class Meta(Row.Meta):
        constraints = [models.UniqueConstraint(fields=["attack", "snippet"], name="attack_seed_once")]

    def __str__(self) -> str:
        return f"{self.stop} after {self.queries} queries"


class AttackCandidate(Row):
    """A snippet that an attack found: valid, and accepted by the classifier when it was attacked."""

    attack = models.ForeignKey(Attack, on_delete=models.CASCADE, related_name="candidates")
    snippet = models.ForeignKey(Snippet, on_delete=models.CASCADE, related_name="found_by")
    seed = models.ForeignKey(Snippet, on_delete=models.CASCADE, related_name="led_to")
    """The failure that the attack started from."""
    logit = models.FloatField()
    strength = models.FloatField()
    """By what the strongest come first: how far below the threshold, or how far a second opinion disagrees."""
    similarity = models.FloatField(null=True, blank=True)
    edits = models.JSONField(default=list, blank=True)
    """`engine.attacks.Edit`s in order; empty where the whole was told anew."""
    queries = models.PositiveIntegerField(default=0)
    """Spent on its seed until it was found."""

    class Meta(Row.Meta):
        constraints = [models.UniqueConstraint(fields=["attack", "snippet"], name="attack_candidate_once")]
        indexes = [models.Index(fields=["attack", "-strength"], name="attack_candidate_by_strength")]

    def __str__(self) -> str:
        return f"{self.logit:.3f}"
