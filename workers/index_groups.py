"""Near-duplicates in the index: which snippets' vectors are nearly the same as an earlier one's."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.embeddings import AlikeSearch, groups_within
from engine.progress import Progress, silent
from webapi.models import EmbeddingIndex, EmbeddingShard, ShardState
from webapi.selectors.label_rows import Keys
from workers.index_files import ShardFile, open_shard, write_groups


def group_stream(index: EmbeddingIndex, stream: str, *, progress: Progress = silent) -> int:
    """Finds the groups of what is embedded of a stream, shard by shard in order. Returns of how many shards.

    A shard waits for those before it in its own stream and for no other, so that a big build holds no round up. Every
    worker that ends a shard calls this; of two at once both find the same.
    """
    found = 0
    shards = index.shards.filter(stream=stream).exclude(state=ShardState.GROUPED).order_by("number")
    for shard in shards.select_related("artifact", "groups", "index__policy"):
        if shard.state == ShardState.PLANNED:
            break
        shard.grouped(write_groups(shard, _groups(shard, progress)))
        found += 1
    return found


def _groups(shard: EmbeddingShard, progress: Progress) -> Keys:
    """(n,) the key of the first snippet of each row's group: of earlier shards, else of its own."""
    mine = open_shard(shard)
    vectors = np.asarray(mine.vectors, dtype=np.float32)
    groups = np.array(mine.keys[groups_within(vectors)])
    search = AlikeSearch(vectors, np.asarray(mine.codes))
    alone = np.ones(len(vectors), dtype=bool)
    earlier = shard.index.shards.filter(state=ShardState.GROUPED).order_by("number")
    total = earlier.count()
    for done, other in enumerate(
        earlier.select_related("artifact", "groups", "index__policy").iterator(chunk_size=100)
    ):
        progress(done, total)
        _join(groups, alone, search, open_shard(other))
    return groups


def _join(groups: Keys, alone: NDArray[np.bool_], search: AlikeSearch, other: ShardFile) -> None:
    """Rows that are like a leader of the earlier shard, and like none before it, join it."""
    if other.groups is None:
        return
    leads = np.asarray(other.groups) == np.asarray(other.keys)
    match = search.matches(other.vectors, other.codes, leads)
    joins = alone & (match >= 0)
    groups[joins] = other.keys[match[joins]]
    alone &= ~joins
