"""Which snippets are in which shard of an index, and which in none yet.

A snippet is planned into a shard once: who plans holds the index's row, and looks again what is in no shard before
writing. Late commits are not lost: what is missing is told by counts, and looked for backwards from the newest key
until the counts fit, at last among all keys.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
from django.db import IntegrityError, transaction
from django.db.models import Max, QuerySet, Sum
from numpy.typing import NDArray

from webapi.models import EmbeddingIndex, EmbeddingShard, IndexState, Policy, ShardState, Snippet
from webapi.models.base import first_id_at, locked
from webapi.selectors.label_rows import Keys, key_at, packed
from workers.index_files import open_shard
from workers.jobs import chunked

SHARD = 4096
"""Snippets a shard: a minute's work on two cores, 3 MB of vectors."""
CHUNK = 20_000
"""Keys looked up at a time."""
WINDOWS = (timedelta(minutes=1), timedelta(hours=1), timedelta(days=1), None)
"""How far before the newest embedded key one looks for snippets that were committed late; at last everywhere."""
ENCODER = "minilm"
"""The encoder of a policy for which nobody has named one."""


def index_of(policy: Policy) -> EmbeddingIndex:
    """The policy's current index; an empty one where there was none."""
    try:
        with transaction.atomic():
            found, _ = EmbeddingIndex.objects.select_related("policy").get_or_create(
                policy=policy, state=IndexState.CURRENT, defaults={"encoder": ENCODER}
            )
    except IntegrityError:  # another worker made it
        found = EmbeddingIndex.objects.select_related("policy").get(policy=policy, state=IndexState.CURRENT)
    return found


def keys_of(shard: EmbeddingShard) -> Keys:
    """The keys of a shard's snippets, in order. Raises CorruptShard."""
    if shard.state == ShardState.PLANNED:
        return np.frombuffer(bytes(shard.keys), dtype="S16")
    return open_shard(shard).keys


def ordered(keys: Iterable[uuid.UUID]) -> Keys:
    """These keys once each, in order, 16 bytes each."""
    return packed(sorted(set(keys)))


def shards_holding(index: EmbeddingIndex, wanted: Keys) -> Iterator[tuple[EmbeddingShard, NDArray[np.int64], Keys]]:
    """Shards that hold some of the wanted keys (in order), with the rows where, and which keys they are.

    Shards whose keys all lie before or after are not opened. O(shards + wanted log shard).
    """
    if not wanted.size:
        return
    near = index.shards.filter(last__gte=key_at(wanted, 0), first__lte=key_at(wanted, -1))
    for shard in near.select_related("artifact", "groups", "index__policy").order_by("number"):
        low, high = np.searchsorted(wanted, packed([shard.first, shard.last]))
        part = wanted[low : high + 1]
        if not part.size:
            continue
        keys = keys_of(shard)
        rows = np.minimum(np.searchsorted(keys, part), len(keys) - 1)
        there = np.asarray(keys[rows]) == part
        if there.any():
            yield shard, rows[there], part[there]


def lacking(index: EmbeddingIndex, wanted: Keys) -> Keys:
    """Which of these keys (in order) are in no shard, in order. Raises CorruptShard."""
    absent = np.ones(wanted.size, dtype=bool)
    for _, _, keys in shards_holding(index, wanted):
        absent[np.searchsorted(wanted, keys)] = False
    return wanted[absent]


def plan_shards(index: EmbeddingIndex, keys: Keys, *, stream: str = "", size: int = SHARD) -> list[EmbeddingShard]:
    """New shards for those of the keys (in order) that are in none. Any number of workers may plan at once."""
    with transaction.atomic():
        if not list(locked(EmbeddingIndex.objects.filter(pk=index.pk)).values_list("pk")):
            return []
        new = lacking(index, keys)
        after = index.shards.aggregate(last=Max("number"))["last"]
        first = 0 if after is None else after + 1
        parts = [new[start : start + size] for start in range(0, new.size, size)]
        return EmbeddingShard.objects.bulk_create(
            EmbeddingShard(
                index=index,
                number=first + place,
                stream=stream,
                count=part.size,
                first=key_at(part, 0),
                last=key_at(part, -1),
                keys=part.tobytes(),
            )
            for place, part in enumerate(parts)
        )


def deficit(index: EmbeddingIndex) -> int:
    """How many of the policy's snippets are in no shard, by two counts: snippets are never deleted singly."""
    return Snippet.objects.filter(policy=index.policy_id).count() - held(index.shards.all())


def held(shards: QuerySet[EmbeddingShard]) -> int:
    """How many snippets these shards hold."""
    return shards.aggregate(n=Sum("count"))["n"] or 0


def pending(index: EmbeddingIndex, *, most: int) -> Keys:
    """Up to `most` keys of the policy's snippets that are in no shard, in order. Raises CorruptShard.

    Where counts say that none is missing nothing is read; else keys since a minute before the newest one held, then
    since an hour and a day before, then all: O(keys looked at), memory O(most).
    """
    missing = deficit(index)
    if not missing:
        return packed([])
    newest = index.shards.order_by("-last").values_list("last", flat=True).first()  # PostgreSQL knows no greatest key
    found = packed([])
    for window in WINDOWS:
        if newest is None and window is not None:
            continue
        since = None if window is None or newest is None else first_id_at(moment_of(newest) - window)
        found = _pending_since(index, since, most)
        if found.size >= min(missing, most) and missing > 0:
            break
    return found


def _pending_since(index: EmbeddingIndex, since: uuid.UUID | None, most: int) -> Keys:
    rows = Snippet.objects.filter(policy=index.policy_id).order_by("pk").values_list("pk", flat=True)
    found: list[Keys] = []
    size, at = 0, since
    while size < most:
        later = rows if at is None else rows.filter(pk__gte=at)
        chunk = list(later[:CHUNK])
        if not chunk:
            break
        found.append(lacking(index, packed(chunk)))
        size += found[-1].size
        if len(chunk) < CHUNK:
            break
        at = uuid.UUID(int=chunk[-1].int + 1)
    return np.concatenate(found)[:most] if found else packed([])


def moment_of(key: uuid.UUID) -> datetime:
    """When a key was made."""
    return datetime.fromtimestamp((key.int >> 80) / 1000, UTC)


def texts_of(keys: Sequence[uuid.UUID]) -> list[str]:
    """The snippets' texts, in order. Raises KeyError for one that is not there."""
    found: dict[uuid.UUID, str] = {}
    for chunk in chunked(keys, 1000):
        rows = Snippet.objects.filter(pk__in=chunk).only("prompt", "completion")
        found |= {row.pk: row.text.text for row in rows}
    return [found[key] for key in keys]
