"""Crowd-Kit's plurality vote, staff or not; ties go to the most severe answer."""

from __future__ import annotations

import numpy as np
import pandas as pd
from crowdkit.aggregation import MajorityVote
from numpy.typing import NDArray

from engine.aggregation.votes import NO_ANSWER, VoteTable


def majority(table: VoteTable) -> NDArray[np.int64]:
    """The most common answer of each item, (n_items,) codes, NO_ANSWER where nobody voted. O(votes log votes).

    Crowd-Kit's own label breaks ties by chance of order, so its shares are read instead, the most severe first.
    """
    consensus = np.full(table.n_items, NO_ANSWER, dtype=np.int64)
    if not table.items.size:
        return consensus
    frame = pd.DataFrame({"task": table.items, "worker": table.annotators, "label": table.answers})
    shares = MajorityVote().fit_predict_proba(frame).sort_index(axis="columns")
    codes = shares.columns.to_numpy(dtype=np.int64)
    consensus[shares.index.to_numpy(dtype=np.int64)] = codes[shares.to_numpy().argmax(axis=1)]
    return consensus
