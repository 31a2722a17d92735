"""Stage `embed`: what selection chooses from and what is labelled already is brought into the policy's index.

What an earlier round, or a build of the index, has embedded is not embedded again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from webapi.models import Round, ShardState, Stage
from webapi.selectors.label_rows import Keys, packed
from workers.artifacts import at_hand, register, round_path, writing
from workers.index_files import CorruptShard
from workers.index_plan import index_of, lacking, ordered, plan_shards, shards_holding
from workers.index_shards import embed_shard, mend
from workers.jobs import JobRun
from workers.kept_apart import kept_apart
from workers.score import choosable

STAGE_SHARD = 1024
"""Snippets a job: small enough for several workers to share a round's."""
MOST_LABELLED = 1000
"""Labelled or in flight, of those not embedded yet, that a round embeds: those in flight, then the newest labelled.
What rounds choose is embedded before it is labelled, so after a round or two none is left over."""


def plan(stage: Stage) -> dict[str, dict[str, Any]]:
    """A shard of the stage for each shard of the index that holds what the round needs and is not done yet."""
    while True:
        index = index_of(stage.round.policy)
        try:
            needed = needed_vectors(stage.round)
            plan_shards(index, needed, stream=str(stage.round_id), size=STAGE_SHARD)
            open_ = [row for row, _, _ in shards_holding(index, needed) if row.state != ShardState.GROUPED]
            return {f"{row.number:06d}": {"shard": str(row.pk)} for row in open_}
        except CorruptShard as error:
            mend(error)


def embed(run: JobRun) -> dict[str, Any]:
    """Makes one shard."""
    return embed_shard(run)


def needed_vectors(round_: Round) -> Keys:
    """Keys, in order: all that selection may choose from and, of what it keeps apart from, what is embedded already and
    `MOST_LABELLED` new ones.

    The latter are decided once a round and written down, so that a damaged shard's are known when it is made again.
    Raises CorruptShard.
    """
    path, may_choose = at_hand(round_path(round_, "to_embed.npy")), ordered(choosable(round_))
    if path.exists():
        return np.union1d(np.load(path, allow_pickle=False), may_choose)
    apart = packed(kept_apart(round_))
    absent = np.isin(apart, lacking(index_of(round_.policy), np.unique(apart)))
    needed = np.union1d(may_choose, np.concatenate([apart[~absent], apart[absent][:MOST_LABELLED]]))
    with writing(path) as temporary:
        np.save(temporary, needed)
    register(path, "keys")
    return needed
