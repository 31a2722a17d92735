"""Whether an annotator agrees with the others: each vote against the majority of the snippet's other votes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.aggregation.votes import VoteTable

NO_MAJORITY = -1


def others_majority(table: VoteTable) -> NDArray[np.int64]:
    """For each vote the choice that most of the other votes on its item have, shape (votes,).

    `NO_MAJORITY` where there is no other vote or no single choice leads. Leaving the vote itself out keeps an annotator
    from agreeing with their own answer. O(votes x choices).
    """
    if not table.items.size:
        return np.empty(0, np.int64)
    others = table.counts()[table.items]
    others[np.arange(table.items.size), table.answers] -= 1
    most = others.max(axis=1)
    alone = (others == most[:, None]).sum(axis=1) == 1
    return np.where((most > 0) & alone, others.argmax(axis=1), NO_MAJORITY).astype(np.int64)
