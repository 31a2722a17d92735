"""The paper's rule (4.2): a staff answer goes first, else the most common answer; ties go to the most severe."""

from __future__ import annotations

import numpy as np

from engine.aggregation.aggregated import Aggregated, decide, shares
from engine.aggregation.votes import VoteTable


def policy_rule(table: VoteTable) -> Aggregated:
    """Where staff judged an item only their answers count, by plurality among them. O(votes + items).

    The posterior is the share of the votes that count: of the staff's where there are any. It is no probability.
    """
    everyone, staff = table.counts(), table.counts(only=table.staff)
    decisive = np.where(staff.any(axis=1, keepdims=True), staff, everyone)
    posterior = shares(decisive)
    return Aggregated(decide(posterior), posterior)
