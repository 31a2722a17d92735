"""One-coin Dawid-Skene: an annotator is right with one probability, and wrong in all other ways alike."""

from __future__ import annotations

import numpy as np

from engine.aggregation.aggregated import Aggregated, ConfusionModel, Floats
from engine.aggregation.em import (
    ITERATIONS,
    TOLERANCE,
    Maximise,
    Parameters,
    Smoothing,
    Votes,
    estimate_priors,
    iterate,
    majority_start,
    prepare,
)
from engine.aggregation.update import parameters_for
from engine.aggregation.votes import VoteTable

DEFAULT = Smoothing()


def one_coin(
    table: VoteTable,
    *,
    smoothing: Smoothing = DEFAULT,
    start: ConfusionModel | None = None,
    tolerance: float = TOLERANCE,
    iterations: int = ITERATIONS,
) -> Aggregated:
    """Posteriors and one accuracy an annotator, given as confusion. O(iterations * votes * choices).

    For annotators with few votes each, of whom a whole matrix cannot be told. With `smoothing=NO_PRIOR` it is
    Crowd-Kit's OneCoinDawidSkene (Zhang et al. 2014), step for step.
    """
    votes = prepare(table)
    maximise = _maximise(votes, smoothing)
    guessed = np.array([smoothing.others_right, smoothing.staff_right])
    newcomers = _coins(guessed, votes.choices).transpose(0, 2, 1)
    first = majority_start(votes, maximise) if start is None else parameters_for(votes, start)
    return iterate(votes, first, maximise, newcomers, tolerance=tolerance, iterations=iterations)


def _maximise(votes: Votes, smoothing: Smoothing) -> Maximise:
    weight = np.where(votes.staff, smoothing.staff, smoothing.others)
    right_before = weight * np.where(votes.staff, smoothing.staff_right, smoothing.others_right)
    given = np.asarray(votes.matrix.sum(axis=0)).reshape(-1, votes.choices).sum(axis=1)

    def maximise(tallies: Floats, totals: Floats, before: Parameters | None) -> Parameters:
        right = np.trace(tallies, axis1=1, axis2=2)
        skill = (right + right_before) / (given + weight)
        confusion = np.clip(_coins(skill, votes.choices), smoothing.floor, 1 - smoothing.floor)
        return Parameters(confusion, estimate_priors(totals, smoothing))

    return maximise


def _coins(skill: Floats, choices: int) -> Floats:
    """(a,) accuracies as confusion, (a, choices, choices)."""
    wrong = (1 - skill)[:, None, None] / max(choices - 1, 1)
    return np.asarray(np.where(np.eye(choices, dtype=np.bool_), skill[:, None, None], wrong), dtype=np.float64)
