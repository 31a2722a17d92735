"""Dataset snapshots: what a classifier was trained on, written once and never changed."""

from __future__ import annotations

from typing import Any, NoReturn

from django.db import models
from django.db.models import Q

from webapi.errors import DomainError
from webapi.models.artifacts import Artifact
from webapi.models.base import Row
from webapi.models.policies import Policy
from webapi.models.rounds import Round
from webapi.models.snippets import SplitName

FROZEN = (
    "policy_id", "round_id", "condition", "content_hash", "split", "trains", "seed", "equal_size", "size", "counts",
    "datasets", "settings", "dropped",
)  # fmt: skip
"""What of a snapshot never changes. Its file may move in the store, with the same content."""


class Snapshots(models.QuerySet["DatasetSnapshot"]):
    """Snapshots, which nobody deletes but with their round."""

    def delete(self) -> NoReturn:
        """Raises DomainError `snapshot_immutable`."""
        raise _immutable("nobody deletes one, for classifiers and figures lead back to it")


class DatasetSnapshot(Row):
    """An immutable manifest of snippets and the consensus they had, with a hash of its content."""

    policy = models.ForeignKey(Policy, on_delete=models.PROTECT, related_name="snapshots")
    round = models.ForeignKey(Round, null=True, blank=True, on_delete=models.CASCADE, related_name="snapshots")
    """The round that made it; empty for what was made outside rounds."""
    condition = models.CharField(max_length=64)
    artifact = models.ForeignKey(Artifact, on_delete=models.PROTECT)
    content_hash = models.CharField(max_length=64, blank=True, db_index=True)
    """Of the rows in their order, whatever their keys are and however Parquet packs them. Empty for snapshots from
    before there were such hashes."""
    split = models.CharField(max_length=16, choices=SplitName, default=SplitName.TRAIN)
    """Of all its rows."""
    trains = models.BooleanField(default=True)
    """Whether a classifier may be trained on it: then its split is train."""
    seed = models.PositiveIntegerField(default=0)
    """Decides which initial rows give way."""
    equal_size = models.PositiveIntegerField(null=True, blank=True)
    """The number of rows that conditions are brought to; empty where nothing gives way."""
    size = models.PositiveIntegerField()
    counts = models.JSONField(default=dict)
    """Snippets by source and choice, `source/choice`."""
    datasets = models.JSONField(default=dict, blank=True)
    """Snippets by dataset and choice: `{dataset: {choice: count}}`."""
    settings = models.JSONField(default=dict, blank=True)
    """The condition and the settings that it was made by."""
    dropped = models.JSONField(default=list, blank=True)
    """Snippets left out as duplicates: `{snippet, why, kept}`."""

    objects = Snapshots.as_manager()

    class Meta(Row.Meta):
        constraints = [
            models.UniqueConstraint(fields=["round", "condition"], name="snapshot_once_per_condition"),
            models.UniqueConstraint(
                fields=["policy", "condition", "content_hash"],
                condition=Q(round=None) & ~Q(content_hash=""),
                name="snapshot_once_without_round",
            ),
            models.CheckConstraint(
                condition=Q(trains=False) | Q(split=SplitName.TRAIN), name="snapshot_trains_on_the_training_split"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.condition}: {self.size} snippets"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Raises DomainError `snapshot_immutable` where its content would change."""
        if not self.policy_id and self.round is not None:
            self.policy_id = self.round.policy_id
        if not self._state.adding:
            self._refuse_change()
        super().save(*args, **kwargs)

    def _refuse_change(self) -> None:
        stored = DatasetSnapshot.objects.filter(pk=self.pk).values(*FROZEN).first()
        if stored is None or not stored["content_hash"]:
            return
        if changed := [name for name in FROZEN if stored[name] != getattr(self, name)]:
            raise _immutable(f"its {', '.join(changed)} would change")

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raises DomainError `snapshot_immutable`."""
        raise _immutable("nobody deletes one, for classifiers and figures lead back to it")


def _immutable(why: str) -> DomainError:
    return DomainError("snapshot_immutable", f"Dataset snapshots stay as they are: {why}.")
