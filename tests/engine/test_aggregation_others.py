"""Each vote against the majority of the others', by hand."""

from __future__ import annotations

import numpy as np

from engine.aggregation.others import NO_MAJORITY, others_majority
from engine.aggregation.votes import VoteTable


def table(votes: list[tuple[int, int, int]]) -> VoteTable:
    items, annotators, answers = np.array(votes, np.int64).reshape(-1, 3).T
    staff = np.zeros(len(votes), np.bool_)
    return VoteTable(items, annotators, answers, staff, n_items=4, choices=("Yes", "Unsure", "No"))


def test_a_vote_is_compared_with_the_others_and_never_with_itself() -> None:
    votes = [(0, 0, 0), (0, 1, 0), (0, 2, 2), (1, 0, 0), (1, 1, 2), (1, 2, 1), (2, 0, 1)]
    # Item 0: without a Yes the others are split; without the No both say Yes. Item 1: always split. Item 2: alone.
    none = NO_MAJORITY
    assert others_majority(table(votes)).tolist() == [none, none, 0, none, none, none, none]
    assert others_majority(table([(3, 0, 0), (3, 1, 2)])).tolist() == [2, 0]
    assert others_majority(table([])).tolist() == []
