"""Vectors by snippet, whatever shards and streams they lie in."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from webapi.models import EmbeddingIndex, ShardState
from webapi.selectors.label_rows import Keys, key_at
from workers.index_files import open_shard
from workers.index_plan import ordered, shards_holding


class Vectors(NamedTuple):
    """Snippets with their vectors and groups, row by row, in the order of their keys."""

    keys: Keys
    """(n,)"""
    rows: NDArray[np.float32]
    """(n, d) unit rows; of float16 precision."""
    groups: Keys
    """(n,) the key of the first snippet of each one's group; its own where none is known."""

    def places(self, wanted: Keys) -> NDArray[np.int64]:
        """Where these keys, all of them here, stand."""
        return np.searchsorted(self.keys, wanted)


def vectors_of(index: EmbeddingIndex, ids: Iterable[uuid.UUID]) -> Vectors:
    """Of these snippets those that are embedded. Raises CorruptShard.

    Only the rows asked for are read from the mapped files: O(shards + n (d + log shard)), 4 d bytes a snippet.
    """
    wanted = ordered(ids)
    rows = np.zeros((wanted.size, index.dimension), dtype=np.float32)
    groups, there = wanted.copy(), np.zeros(wanted.size, dtype=bool)
    for shard, places, keys in shards_holding(index, wanted):
        if shard.state == ShardState.PLANNED:
            continue
        held, at = open_shard(shard), np.searchsorted(wanted, keys)
        rows[at] = held.vectors[places]
        there[at] = True
        if held.groups is not None:
            groups[at] = held.groups[places]
    return Vectors(wanted[there], rows[there], groups[there])


def ids_of(keys: Keys) -> list[uuid.UUID]:
    """Keys as they stand in rows of the database."""
    return [key_at(keys, place) for place in range(keys.size)]
