"""The index: sentence embeddings of a policy's snippets, in shards by encoder version; and scores kept in shards.

There is no row a snippet: a shard's row says how many it holds and between which keys, its files hold which. So ten
million snippets are some 2,500 rows.
"""

from __future__ import annotations

from django.db import models, transaction

from webapi.models.artifacts import Artifact
from webapi.models.base import Row
from webapi.models.policies import Policy


class IndexState(models.TextChoices):
    """Of a policy's indexes one is current, and one more may be building to take its place."""

    BUILDING = "building"
    CURRENT = "current"


class EmbeddingIndex(Row):
    """What one version of one encoder made of a policy's snippets."""

    policy = models.ForeignKey(Policy, on_delete=models.CASCADE, related_name="indexes")
    encoder = models.CharField(max_length=200)
    version = models.CharField(max_length=64, blank=True)
    """Hash of weights, settings, tokenizer and precision. Empty until the first worker has loaded the encoder."""
    precision = models.CharField(max_length=8, blank=True)
    """What the first worker's processor multiplies best; the others keep to it."""
    dimension = models.PositiveIntegerField(default=0)
    state = models.CharField(max_length=16, choices=IndexState, default=IndexState.CURRENT)
    follows = models.BooleanField(default=False)
    """Whether snippets are embedded as they arrive; else only those that a round chooses from."""

    class Meta(Row.Meta):
        constraints = [
            models.UniqueConstraint(fields=["policy", "state"], name="index_once_per_state"),
        ]

    def __str__(self) -> str:
        return f"{self.encoder} {self.version[:8]}".strip()

    def learn(self, *, version: str, precision: str, dimension: int) -> bool:
        """Notes which version of the encoder it is of. The first worker says; False: another has."""
        unknown = EmbeddingIndex.objects.filter(pk=self.pk, version="")
        return bool(unknown.update(version=version, precision=precision, dimension=dimension))

    def take_over(self) -> bool:
        """building -> current, and the one before is gone with its shards. False if it was not building any more."""
        with transaction.atomic():
            building = EmbeddingIndex.objects.select_for_update().filter(pk=self.pk, state=IndexState.BUILDING)
            if not list(building.values_list("pk")):
                return False
            EmbeddingIndex.objects.filter(policy=self.policy_id, state=IndexState.CURRENT).delete()
            return bool(EmbeddingIndex.objects.filter(pk=self.pk).update(state=IndexState.CURRENT))


class ShardState(models.TextChoices):
    """A shard's life: which snippets, their vectors, and which of them are nearly the same as others."""

    PLANNED = "planned"
    EMBEDDED = "embedded"
    GROUPED = "grouped"


class EmbeddingShard(Row):
    """Some thousands of snippets and, once a worker has made it, the artifact with their vectors.

    A snippet is in one shard of an index at most: shards are planned by who holds the index's row.
    """

    index = models.ForeignKey(EmbeddingIndex, on_delete=models.CASCADE, related_name="shards")
    number = models.PositiveIntegerField()
    stream = models.CharField(max_length=64, blank=True)
    """Who asked for it: a round's key, or empty for the index as a whole. Groups are found in order within a stream."""
    count = models.PositiveIntegerField()
    first = models.UUIDField()
    """The smallest of its snippets' keys."""
    last = models.UUIDField()
    keys = models.BinaryField(default=bytes, blank=True)
    """Its snippets' keys in order, 16 bytes each, until the artifact holds them."""
    state = models.CharField(max_length=16, choices=ShardState, default=ShardState.PLANNED)
    job = models.ForeignKey("Job", null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    """The latest job that was to make it; none where a round's stage does."""
    artifact = models.ForeignKey(Artifact, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    groups = models.ForeignKey(Artifact, null=True, blank=True, on_delete=models.PROTECT, related_name="+")

    class Meta(Row.Meta):
        ordering = ["number"]
        constraints = [models.UniqueConstraint(fields=["index", "number"], name="embedding_shard_once")]
        indexes = [models.Index(fields=["index", "last"], name="embedding_shard_by_key")]

    def __str__(self) -> str:
        return f"shard {self.number} of {self.index}"

    def embedded(self, artifact: Artifact) -> bool:
        """planned -> embedded: its keys are in the artifact now. False: another worker won."""
        planned = EmbeddingShard.objects.filter(pk=self.pk, state=ShardState.PLANNED)
        return bool(planned.update(state=ShardState.EMBEDDED, artifact=artifact, keys=b""))

    def grouped(self, groups: Artifact) -> bool:
        """embedded -> grouped."""
        embedded = EmbeddingShard.objects.filter(pk=self.pk, state=ShardState.EMBEDDED)
        return bool(embedded.update(state=ShardState.GROUPED, groups=groups))


class ScoreShard(Row):
    """One classifier's logits for some thousands of snippets, in one Parquet file sorted by the snippets' keys."""

    classifier = models.ForeignKey("Classifier", on_delete=models.CASCADE, related_name="score_shards")
    artifact = models.OneToOneField(Artifact, on_delete=models.CASCADE, related_name="+")
    count = models.PositiveIntegerField()
    first = models.UUIDField()
    """The smallest of its snippets' keys."""
    last = models.UUIDField()

    class Meta(Row.Meta):
        indexes = [models.Index(fields=["classifier", "last"], name="score_shard_by_key")]

    def __str__(self) -> str:
        return f"{self.count} scores of {self.classifier_id}"
