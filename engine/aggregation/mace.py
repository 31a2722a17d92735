"""MACE (Hovy et al. 2013): an annotator either knows the truth and says it, or answers by habit whatever is true."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import digamma

from engine.aggregation.aggregated import Aggregated, ConfusionModel, Floats
from engine.aggregation.em import ITERATIONS, TOLERANCE, Maximise, Parameters, Votes, iterate, prepare
from engine.aggregation.update import parameters_for
from engine.aggregation.votes import VoteTable


class Habits(NamedTuple):
    """What is thought of annotators before their first vote, in votes (Beta and Dirichlet pseudo-counts)."""

    knowing: float = 3.0
    spamming: float = 1.0
    staff_knowing: float = 99.0
    staff_spamming: float = 1.0
    strategy: float = 10.0
    """For each choice: how even the habits of those who do not know are."""


DEFAULT = Habits()
PUBLISHED = Habits(0.5, 0.5, 0.5, 0.5)
"""Those of the paper's program and of Crowd-Kit, which expect of an annotator nothing or everything."""


def mace(
    table: VoteTable,
    *,
    habits: Habits = DEFAULT,
    start: ConfusionModel | None = None,
    tolerance: float = TOLERANCE,
    iterations: int = ITERATIONS,
) -> Aggregated:
    """Posteriors and each annotator's confusion by variational Bayes. O(iterations * votes * choices).

    Our own, not Crowd-Kit's: that one gives annotators each other's habits unless they and the answers first appear in
    sorted order; draws its start by the order of the votes, and for every restart the same; multiplies probabilities,
    which underflow on items with hundreds of votes; and its EM variant overwrites the smoothing it was given. From the
    same start, and sorted, the steps are the same. Here all start as `habits` guesses, so the order of the votes does
    not matter and ties stay ties.
    """
    votes = prepare(table)
    spamming = np.array([habits.spamming, habits.staff_spamming])
    knowing = np.array([habits.knowing, habits.staff_knowing])
    even = np.full((2, votes.choices), 1 / votes.choices)
    newcomers = _confusion(spamming / (spamming + knowing), knowing / (spamming + knowing), even).transpose(0, 2, 1)
    guess = ConfusionModel(np.zeros(0, np.int64), newcomers[:0], _uniform(votes.choices), newcomers)
    first = parameters_for(votes, start or guess)
    return iterate(votes, first, _maximise(votes, habits), newcomers, tolerance=tolerance, iterations=iterations)


def _maximise(votes: Votes, habits: Habits) -> Maximise:
    spamming = np.where(votes.staff, habits.staff_spamming, habits.spamming)
    knowing = np.where(votes.staff, habits.staff_knowing, habits.knowing)
    priors = _uniform(votes.choices)
    own = np.arange(votes.choices)

    def maximise(tallies: Floats, totals: Floats, before: Parameters | None) -> Parameters:
        right = tallies[:, own, own]
        by_habit = right * _habit_when_right(before, votes.choices) if before else right / 2
        strategy = tallies.sum(axis=2) - right + by_habit
        spam, known = strategy.sum(axis=1) + spamming, (right - by_habit).sum(axis=1) + knowing
        confusion = _confusion(
            _geometric(spam, spam + known),
            _geometric(known, spam + known),
            _geometric(strategy + habits.strategy, (strategy + habits.strategy).sum(axis=1, keepdims=True)),
        )
        return Parameters(confusion, priors)

    return maximise


def _habit_when_right(before: Parameters, choices: int) -> Floats:
    """How likely a right answer was habit all the same, (a, choices): a habit says it too where it is wrong."""
    own = np.arange(choices)
    if choices == 1:
        return np.zeros(before.confusion.shape[:2])
    return np.asarray(before.confusion[:, own, own - 1] / before.confusion[:, own, own], dtype=np.float64)


def _confusion(spamming: Floats, knowing: Floats, strategy: Floats) -> Floats:
    """(a, answer, truth)."""
    habit = (spamming[:, None] * strategy)[:, :, None]
    return np.asarray(habit + knowing[:, None, None] * np.eye(strategy.shape[1]), dtype=np.float64)


def _geometric(count: Floats, total: Floats) -> Floats:
    """The geometric mean of a share under its Dirichlet posterior."""
    return np.asarray(np.exp(digamma(count) - digamma(total)), dtype=np.float64)


def _uniform(choices: int) -> Floats:
    return np.full(choices, 1 / choices)
