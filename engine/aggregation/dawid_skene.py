"""Dawid and Skene (1979): every annotator has a confusion matrix, estimated together with the truth by EM."""

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
    normalised,
    prepare,
)
from engine.aggregation.update import parameters_for
from engine.aggregation.votes import VoteTable

DEFAULT = Smoothing()


def dawid_skene(
    table: VoteTable,
    *,
    smoothing: Smoothing = DEFAULT,
    start: ConfusionModel | None = None,
    tolerance: float = TOLERANCE,
    iterations: int = ITERATIONS,
) -> Aggregated:
    """Posteriors and confusion matrices, maximum a posteriori under `smoothing`. O(iterations * votes * choices).

    Starts from shares of votes, or from the model of an earlier table with the same annotators' codes (`start`): with
    a few more votes that needs fewer steps to the same end. EM climbs the nearest of several hills, though: after many
    votes start from nothing now and then, so that what came early does not decide. Deterministic. Staff are annotators
    of whom more is assumed. With `smoothing=NO_PRIOR` it is Crowd-Kit's DawidSkene, step for step.
    """
    votes = prepare(table)
    maximise = _maximise(votes, smoothing)
    newcomers = normalised(smoothing.guesses(votes.choices))
    first = majority_start(votes, maximise) if start is None else parameters_for(votes, start)
    return iterate(votes, first, maximise, newcomers, tolerance=tolerance, iterations=iterations)


def _maximise(votes: Votes, smoothing: Smoothing) -> Maximise:
    guesses = smoothing.guesses(votes.choices)[votes.staff.astype(np.int64)].transpose(0, 2, 1)
    given = np.asarray(votes.matrix.sum(axis=0)).reshape(-1, votes.choices, 1) > 0
    floor = np.where(given, smoothing.floor, 0.0)

    def maximise(tallies: Floats, totals: Floats, before: Parameters | None) -> Parameters:
        confusion = normalised(np.maximum(tallies + guesses, floor), axis=1)
        return Parameters(confusion, estimate_priors(totals, smoothing))

    return maximise
