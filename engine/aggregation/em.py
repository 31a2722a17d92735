"""The part that Dawid-Skene, one-coin and MACE share: expectation-maximisation over annotators' confusion.

Votes are one sparse matrix, items x (annotator, answer). Both steps are products with it: the logarithms of a vote's
likelihood summed by item, and the posteriors of the items summed by annotator and answer. So a step costs
O(votes * choices), reads the votes in order and keeps only the small tables at hand; nothing is annotators x items.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from engine.aggregation.aggregated import Aggregated, ConfusionModel, Floats, decide, shares
from engine.aggregation.votes import VoteTable

TOLERANCE = 1e-4
"""The last step moved no posterior by as much. What is still to come is then some ten times that for the slowest item
and a thousandth of it on the mean (measured on 30,000 items with three votes each)."""
ITERATIONS = 100
LEAST = np.finfo(np.float64).tiny


class Smoothing(NamedTuple):
    """What is thought of annotators and choices before the first vote, counted in votes (Dirichlet pseudo-counts).

    Without it the estimate for a rare choice falls to 0 and stays there: an annotator who never happened to say Yes
    would make every Yes impossible.
    """

    others: float = 4.0
    """How many votes on each choice the guess about an annotator is worth."""
    others_right: float = 0.8
    staff: float = 100.0
    staff_right: float = 0.99
    choices: float = 1.0
    """Items of each choice assumed."""
    floor: float = 0.0
    """Least tally of an answer that an annotator ever gave, and least prior."""

    def guesses(self, choices: int) -> Floats:
        """Pseudo-counts, (2, truth, answer): of others, of staff."""
        right = np.array([self.others_right, self.staff_right])[:, None, None]
        wrong = (1 - right) / max(choices - 1, 1)
        weight = np.array([self.others, self.staff])[:, None, None]
        return np.asarray(weight * np.where(np.eye(choices, dtype=np.bool_), right, wrong), dtype=np.float64)


NO_PRIOR = Smoothing(others=0, staff=0, choices=0, floor=1e-10)
"""Crowd-Kit's: maximum likelihood, clipped."""


class Parameters(NamedTuple):
    """What the M-step estimates."""

    confusion: Floats
    """(a, answer, truth): one row for each kind of vote."""
    priors: Floats
    """(choices,)."""


class Votes(NamedTuple):
    """A `VoteTable` made ready for products."""

    matrix: sparse.csr_array
    """(items with votes, a * choices), how often an annotator gave an item an answer."""
    voted: NDArray[np.bool_]
    """(n_items,)."""
    annotators: NDArray[np.int64]
    """(a,), codes."""
    staff: NDArray[np.bool_]
    """(a,), whether any of their votes was given as staff."""
    choices: int

    def tallies(self, posterior: Floats) -> Floats:
        """How often each annotator gave each answer, by what is true, (a, answer, truth). O(votes * choices)."""
        return np.asarray(self.matrix.T @ posterior).reshape(-1, self.choices, self.choices)

    def posterior(self, parameters: Parameters) -> Floats:
        """The E-step, (items with votes, choices). O(votes * choices)."""
        # An answer that was never given has no row in the matrix that counts, so any number will do for it.
        likelihood = np.log(np.maximum(parameters.confusion, LEAST)).reshape(-1, self.choices)
        scores = np.asarray(self.matrix @ likelihood)
        scores += np.log(parameters.priors)
        return softmax(scores)

    def on_all_items(self, posterior: Floats) -> Floats:
        """The same with rows of zeros for items without votes, (n_items, choices)."""
        rows = np.zeros((self.voted.size, self.choices))
        rows[self.voted] = posterior
        return rows


Maximise = Callable[[Floats, Floats, Parameters | None], Parameters]
"""The M-step: tallies (a, answer, truth), the posteriors' sums (choices,) and the parameters they come from (None at
the start, when they are shares of votes)."""


def prepare(table: VoteTable) -> Votes:
    """The table as a sparse matrix; the order of the votes does not matter. O(votes log votes)."""
    annotators, who = np.unique(table.annotators, return_inverse=True)
    voted = np.zeros(table.n_items, dtype=np.bool_)
    voted[table.items] = True
    staff = np.zeros(annotators.size, dtype=np.bool_)
    staff[who[table.staff]] = True
    choices = len(table.choices)
    cells = (np.cumsum(voted)[table.items] - 1, who * choices + table.answers)
    shape = (int(voted.sum()), annotators.size * choices)
    matrix = sparse.csr_array((np.ones(table.items.size), cells), shape=shape)
    matrix.sum_duplicates()
    return Votes(matrix, voted, annotators, staff, choices)


def majority_start(votes: Votes, maximise: Maximise) -> Parameters:
    """The first parameters, from each item's shares of votes. O(votes * choices)."""
    answers = np.tile(np.arange(votes.choices), votes.annotators.size)
    said = sparse.csr_array(np.eye(votes.choices)[answers])
    share = shares(np.asarray((votes.matrix @ said).toarray()))
    return maximise(votes.tallies(share), _totals(share), None)


def iterate(
    votes: Votes,
    start: Parameters,
    maximise: Maximise,
    newcomers: Floats,
    *,
    tolerance: float = TOLERANCE,
    iterations: int = ITERATIONS,
) -> Aggregated:
    """E- and M-steps in turn until no posterior moves by `tolerance` or more, at most `iterations` E-steps.

    `newcomers` (2, truth, answer) goes into the model as it is. O(iterations * votes * choices).
    """
    parameters, posterior, steps = start, votes.posterior(start), 1
    while steps < iterations and posterior.size:
        parameters = maximise(votes.tallies(posterior), _totals(posterior), parameters)
        last, posterior, steps = posterior, votes.posterior(parameters), steps + 1
        np.subtract(posterior, last, out=last)
        if max(last.max(), -last.min()) < tolerance:
            break
    confusion = parameters.confusion.transpose(0, 2, 1).copy()
    model = ConfusionModel(votes.annotators, confusion, parameters.priors, newcomers)
    full = votes.on_all_items(posterior)
    return Aggregated(decide(full), full, model, steps)


def normalised(weights: Floats, axis: int = -1) -> Floats:
    """Divided by their sums over `axis`; where all are zero they stay so."""
    total = weights.sum(axis=axis, keepdims=True)
    share: Floats = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    return share


def _totals(posterior: Floats) -> Floats:
    # As a product: sum(axis=0) is five times slower at few columns.
    return np.asarray(np.ones(len(posterior)) @ posterior, dtype=np.float64)


def softmax(scores: Floats) -> Floats:
    """Rows of logarithms as rows of probabilities that sum to 1, (n, choices)."""
    # Choice by choice, since NumPy is several times slower at many short rows than at few long ones.
    columns = np.ascontiguousarray(scores.T)
    columns -= columns.max(axis=0)
    np.exp(columns, out=columns)
    columns /= columns.sum(axis=0)
    return np.ascontiguousarray(columns.T)


def estimate_priors(totals: Floats, smoothing: Smoothing) -> Floats:
    """How common each choice is, (choices,), from the posteriors' sums."""
    return np.maximum(normalised(totals + smoothing.choices), smoothing.floor)
