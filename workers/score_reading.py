"""Classifiers' scores of snippets, wherever they are kept: as rows, or in bulk in Parquet shards sorted by key.

What people look at one by one, selected, labelled or held out, has a row. What a round scored only to choose from lies
in shards (`ScoreShard`), a file for some thousands: ten million scores are 2,000 rows and 200 MB of files.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from webapi.models import Score, ScoreShard, Snippet
from webapi.selectors.label_rows import Keys, packed
from workers.artifacts import verified

SCHEMA = pa.schema([("key", pa.binary(16)), ("logit", pa.float32())])
"""A shard's columns. Keys are in order."""
CHUNK = 1000


class Logits(NamedTuple):
    """A shard's rows."""

    keys: Keys
    """(n,) in order."""
    logits: NDArray[np.float32]
    """(n,)"""


def logits_of(classifier_id: uuid.UUID, ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, float]:
    """The classifier's logits of those of these snippets that it has scored.

    Rows are asked for first, then the shards whose keys span what is left: O(ids + rows of those shards).
    """
    known: dict[uuid.UUID, float] = {}
    left: list[uuid.UUID] = []
    iterator = iter(ids)
    while chunk := list(islice(iterator, CHUNK)):
        found = dict(Score.objects.filter(classifier=classifier_id, snippet__in=chunk).values_list("snippet", "logit"))
        known |= found
        left += [pk for pk in chunk if pk not in found]
    return known | _from_shards(classifier_id, left)


def scores_of(snippet: Snippet) -> list[Score]:
    """Every classifier's score of the snippet, the oldest classifier's first. Those from shards have no row."""
    rows = list(snippet.scores.select_related("classifier"))
    with_row = {row.classifier_id for row in rows}
    shards = ScoreShard.objects.filter(first__lte=snippet.pk, last__gte=snippet.pk).exclude(classifier__in=with_row)
    for shard in shards.select_related("classifier", "artifact").order_by("pk"):
        found = _found(shard, [snippet.pk])
        if snippet.pk in found and shard.classifier_id not in with_row:
            with_row.add(shard.classifier_id)
            rows.append(Score(classifier=shard.classifier, snippet=snippet, logit=found[snippet.pk]))
    return sorted(rows, key=lambda row: row.classifier_id)


def shard_rows(shard: ScoreShard) -> Logits:
    """All of a shard. Raises NotStored, or Damaged naming the file."""
    table = pq.read_table(verified(shard.artifact), schema=SCHEMA)
    keys = np.frombuffer(b"".join(table["key"].to_pylist()), dtype="S16")
    return Logits(keys, table["logit"].to_numpy())


def _from_shards(classifier_id: uuid.UUID, ids: Collection[uuid.UUID]) -> dict[uuid.UUID, float]:
    if not ids:
        return {}
    near = ScoreShard.objects.filter(classifier=classifier_id, last__gte=min(ids), first__lte=max(ids))
    found: dict[uuid.UUID, float] = {}
    ordered = sorted(ids)
    wanted = packed(ordered)
    for shard in near.select_related("artifact").order_by("pk"):
        low, high = np.searchsorted(wanted, packed([shard.first, shard.last]))
        within = ordered[low : high + 1]
        if within:
            found |= _found(shard, within)
    return found


def _found(shard: ScoreShard, wanted: Sequence[uuid.UUID]) -> dict[uuid.UUID, float]:
    rows, keys = shard_rows(shard), packed(wanted)
    places = np.minimum(np.searchsorted(rows.keys, keys), rows.keys.size - 1)
    there = np.flatnonzero(rows.keys[places] == keys)
    return {wanted[row]: float(rows.logits[places[row]]) for row in there.tolist()}
