"""Reads of the index: how much of a policy is embedded, and by what."""

from __future__ import annotations

from typing import NamedTuple

from django.db.models import Count, Q, QuerySet, Sum

from webapi.models import EmbeddingIndex, ShardState, Snippet


class IndexStatus(NamedTuple):
    """An index as it is now."""

    row: EmbeddingIndex
    shards: int
    rows: int
    """Snippets embedded."""
    planned: int
    """Snippets in shards that no worker has made yet."""
    pending: int
    """Snippets of the policy that are in no shard."""
    size: int
    """Bytes of its files."""


def indexes_listed() -> QuerySet[EmbeddingIndex]:
    """Indexes with their policies."""
    return EmbeddingIndex.objects.select_related("policy")


def index_status(index: EmbeddingIndex) -> IndexStatus:
    """Two queries: one over its shards, and one that counts the policy's snippets."""
    unmade = Q(state=ShardState.PLANNED)
    found = index.shards.aggregate(
        shards=Count("pk"),
        rows=Sum("count", filter=~unmade),
        planned=Sum("count", filter=unmade),
        files=Sum("artifact__size"),
        groups=Sum("groups__size"),
    )
    rows, planned = found["rows"] or 0, found["planned"] or 0
    total = Snippet.objects.filter(policy=index.policy_id).count()
    size = (found["files"] or 0) + (found["groups"] or 0)
    return IndexStatus(index, found["shards"], rows, planned, max(total - rows - planned, 0), size)
