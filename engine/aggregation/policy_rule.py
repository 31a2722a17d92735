"""The paper's rule (4.2): a staff answer goes first, else the most common answer; ties go to the most severe."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.aggregation.votes import NO_ANSWER, VoteTable


def policy_rule(table: VoteTable) -> NDArray[np.int64]:
    """The consensus of each item, (n_items,) codes, NO_ANSWER where nobody voted. O(votes + items).

    Where staff judged an item only their answers count, by plurality among them. `argmax` takes the first of equal
    counts, which is the most severe.
    """
    everyone, staff = table.counts(), table.counts(only=table.staff)
    decisive = np.where(staff.any(axis=1, keepdims=True), staff, everyone)
    return np.where(decisive.any(axis=1), decisive.argmax(axis=1), NO_ANSWER)
