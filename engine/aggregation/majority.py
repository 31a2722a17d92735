"""Crowd-Kit's plurality vote, staff or not; ties go to the most severe answer."""

from __future__ import annotations

import numpy as np
import pandas as pd
from crowdkit.aggregation import MajorityVote
from numpy.typing import NDArray

from engine.aggregation.votes import NO_ANSWER, VoteTable


def majority(table: VoteTable) -> NDArray[np.int64]:
    """The most common answer of each item, (n_items,) codes, NO_ANSWER where nobody voted. O(votes + items log items).

    Crowd-Kit's own label breaks ties by chance of order, so its shares are read instead, the most severe first. Items
    with equal counts have equal shares, so it is asked once for each distinct row of counts.
    """
    counts, pattern_of = np.unique(table.counts(), axis=0, return_inverse=True)
    shares = np.zeros(counts.shape)
    if counts.any():
        votes = counts.ravel()
        patterns, answers = np.indices(counts.shape)
        frame = pd.DataFrame(
            {"task": np.repeat(patterns.ravel(), votes), "label": np.repeat(answers.ravel(), votes)}
        ).assign(worker=np.arange(int(votes.sum())))
        found = MajorityVote().fit_predict_proba(frame)
        shares[np.ix_(found.index.to_numpy(dtype=np.int64), found.columns.to_numpy(dtype=np.int64))] = found
    consensus = np.where(shares.any(axis=1), shares.argmax(axis=1), NO_ANSWER)
    return np.asarray(consensus[pattern_of.ravel()], dtype=np.int64)
