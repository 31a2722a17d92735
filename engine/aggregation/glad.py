"""GLAD (Whitehill et al. 2009): annotators differ in ability and items in difficulty."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from engine.aggregation.aggregated import Aggregated, Floats, decide
from engine.aggregation.em import ITERATIONS, TOLERANCE, Votes, prepare, softmax
from engine.aggregation.votes import VoteTable

LONGEST = 1.0
"""Longest step of a parameter at once: far from the optimum a full one may overshoot."""


class Glad(NamedTuple):
    """A fitted GLAD: an annotator is right about an item with probability 1 / (1 + exp(-ability * exp(ease)))."""

    posterior: Floats
    """(n_items, choices)."""
    annotators: NDArray[np.int64]
    """(a,), codes."""
    ability: Floats
    """(a,), 0 is guessing, below 0 is worse than that."""
    ease: Floats
    """(n_items,); 1, the prior's mean, where nobody voted."""
    iterations: int


class _Flat(NamedTuple):
    """Votes as columns, by item; equal votes once, with their number."""

    who: NDArray[np.int64]
    cell: NDArray[np.int64]
    """item * choices + answer."""
    starts: NDArray[np.int64]
    """Where each item's votes begin."""
    lengths: NDArray[np.int64]
    times: Floats


def glad(table: VoteTable) -> Aggregated:
    """Posteriors by GLAD; an item's depends on its difficulty, so there is no confusion model. Knows no staff."""
    fitted = fit_glad(table)
    return Aggregated(decide(fitted.posterior), fitted.posterior, iterations=fitted.iterations)


def fit_glad(table: VoteTable, *, tolerance: float = TOLERANCE, iterations: int = ITERATIONS) -> Glad:
    """Ability and ease, with normal priors N(1, 1), by generalised EM: Crowd-Kit's model and optimum.

    Where Crowd-Kit runs conjugate gradients to the end in each M-step (hours for a million votes), one Fisher scoring
    step for items and one for annotators follow each E-step. O(iterations * votes). Deterministic.
    """
    votes = prepare(table)
    flat = _flat(votes)
    ability, ease = np.ones(votes.annotators.size), np.ones(flat.starts.size)
    odds = _odds(flat, ability, ease)
    posterior, steps = _e_step(flat, odds, votes.choices), 1
    while steps < iterations and posterior.size:
        right = posterior.ravel()[flat.cell]
        ease = _easier(flat, right, odds, ease)
        ability = _abler(flat, right, ability, ease)
        odds = _odds(flat, ability, ease)
        last, posterior, steps = posterior, _e_step(flat, odds, votes.choices), steps + 1
        if np.abs(posterior - last).max() < tolerance:
            break
    everywhere = np.ones(table.n_items)
    everywhere[votes.voted] = ease
    return Glad(votes.on_all_items(posterior), votes.annotators, ability, everywhere, steps)


def _flat(votes: Votes) -> _Flat:
    matrix = votes.matrix
    lengths = np.diff(matrix.indptr).astype(np.int64)
    who, answer = np.divmod(matrix.indices.astype(np.int64), votes.choices)
    cell = np.repeat(np.arange(lengths.size), lengths) * votes.choices + answer
    return _Flat(who, cell, matrix.indptr[:-1].astype(np.int64), lengths, matrix.data)


def _odds(flat: _Flat, ability: Floats, ease: Floats) -> Floats:
    """The log-odds of each vote's being right, (votes,)."""
    return np.asarray(ability[flat.who] * np.repeat(np.exp(ease), flat.lengths), dtype=np.float64)


def _e_step(flat: _Flat, odds: Floats, choices: int) -> Floats:
    """(items, choices)."""
    weights = flat.times * (odds + np.log(max(choices - 1, 1)))
    scores = np.bincount(flat.cell, weights=weights, minlength=flat.starts.size * choices)
    return softmax(scores.reshape(-1, choices).astype(np.float64))


def _easier(flat: _Flat, right: Floats, odds: Floats, ease: Floats) -> Floats:
    chance = expit(odds)
    slope = np.add.reduceat(flat.times * (right - chance) * odds, flat.starts) - (ease - 1)
    bend = np.add.reduceat(flat.times * chance * (1 - chance) * odds**2, flat.starts) + 1
    return np.asarray(ease + np.clip(slope / bend, -LONGEST, LONGEST), dtype=np.float64)


def _abler(flat: _Flat, right: Floats, ability: Floats, ease: Floats) -> Floats:
    scale = np.repeat(np.exp(ease), flat.lengths)
    chance = expit(ability[flat.who] * scale)
    slope = np.bincount(flat.who, flat.times * (right - chance) * scale, ability.size) - (ability - 1)
    bend = np.bincount(flat.who, flat.times * chance * (1 - chance) * scale**2, ability.size) + 1
    return np.asarray(ability + np.clip(slope / bend, -LONGEST, LONGEST), dtype=np.float64)
