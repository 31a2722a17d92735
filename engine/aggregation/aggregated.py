"""What a rule makes of a table of votes: consensus, how sure of it the rule is, what it thinks of the annotators."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.aggregation.votes import NO_ANSWER

Floats = NDArray[np.float64]
TIE = 1e-9
"""Posteriors closer than this are equal: sums in another order differ by less."""


class ConfusionModel(NamedTuple):
    """How often each annotator says what, given what is true. `engine.aggregation.update` applies it to new votes."""

    annotators: NDArray[np.int64]
    """(a,), their codes in the table, ascending."""
    confusion: Floats
    """(a, choices, choices): of annotator, truth and answer. Rows sum to 1, with MACE to a little less (its weights are
    geometric means)."""
    priors: Floats
    """(choices,), how common each choice is."""
    newcomers: Floats
    """(2, choices, choices), what is assumed of someone who is not in `annotators`: of others, of staff."""


class Aggregated(NamedTuple):
    """The consensus of a table's items."""

    codes: NDArray[np.int64]
    """(n_items,), NO_ANSWER where nobody voted."""
    posterior: Floats
    """(n_items, choices), rows sum to 1 and are all zero where nobody voted. A probability under the rule's model;
    with `policy_rule` and `majority` the share of the votes that counted, which is not calibrated."""
    model: ConfusionModel | None = None
    """Of the rules that estimate confusion; the posterior is exactly what it says of the votes."""
    iterations: int = 0
    """Steps until the estimate stood still or had used up its steps; 0 for rules that count."""


def decide(posterior: Floats) -> NDArray[np.int64]:
    """The most probable choice of each row, of equal ones the most severe; NO_ANSWER for rows of zeros."""
    best = posterior.max(axis=1, initial=0.0)
    first = (posterior >= best[:, None] - TIE).argmax(axis=1) if posterior.shape[1] else np.zeros(len(best), np.int64)
    return np.where(best > 0, first, NO_ANSWER)


def shares(counts: NDArray[np.int64]) -> Floats:
    """Each row divided by its sum, (n, choices); zeros where nothing is counted."""
    votes = counts.sum(axis=1, keepdims=True)
    return np.asarray(counts / np.maximum(votes, 1), dtype=np.float64)
