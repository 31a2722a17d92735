"""Crowd-Kit's plurality vote, staff or not; ties go to the most severe answer."""

from __future__ import annotations

import numpy as np
import pandas as pd
from crowdkit.aggregation import MajorityVote

from engine.aggregation.aggregated import Aggregated, decide
from engine.aggregation.votes import VoteTable


def majority(table: VoteTable) -> Aggregated:
    """The most common answer of each item; the posterior is the share of votes, no probability. O(items log items).

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
    posterior = shares[pattern_of.ravel()]
    return Aggregated(decide(posterior), posterior)
