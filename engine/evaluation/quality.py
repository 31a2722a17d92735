"""What filtering does to quality: how often people prefer a filtered completion to an unfiltered one, by threshold.

Pairs of unfiltered completions of one prompt are compared once, and serve every threshold (paper, A.7). A completion
that a threshold accepts counts what it won against its own rival: 1, a half for a tie, 0. A prompt's quality is the
mean of that over what is accepted of it, 0 where nothing is, and Q is the mean over prompts.

The paper's formula, read to the letter, credits the rival of what is accepted. Here a completion is credited with its
own win, so Q is one half where everything is accepted: each pair adds 1 over 2.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import BadInput

Floats = NDArray[np.float64]


class Compared(NamedTuple):
    """Completions that were compared in pairs, flat and grouped by prompt."""

    logits: NDArray[np.float32]
    """(2 m,), ascending within a prompt."""
    wins: Floats
    """(2 m,), what each won against its rival, in [0, 1]."""
    sizes: NDArray[np.int64]
    """(prompts,), completions of each prompt, at least 2; sums to 2 m."""

    @property
    def prompts(self) -> NDArray[np.int64]:
        """The prompt of each completion, (2 m,)."""
        return np.repeat(np.arange(self.sizes.size), self.sizes)


class QualityCurve(NamedTuple):
    """Q as a step function of the threshold: `quality[i]` from `logit[i - 1]` (excluded) to `logit[i]` (included).

    At or below the first nothing is accepted and Q is 0; the last is infinite, everything is accepted, and Q is 0.5.
    """

    logit: NDArray[np.float32]
    """(t,), distinct scores, ascending, and infinity."""
    quality: Floats
    """(t,), in [0, 1]; neither rising nor falling throughout."""

    def at(self, logit: ArrayLike) -> Floats:
        """Q at these thresholds, of their shape. O(k log t)."""
        places = np.searchsorted(self.logit, np.asarray(logit, dtype=np.float32), side="left")
        return np.asarray(self.quality[places], dtype=np.float64)


def compared(prompts: ArrayLike, first: ArrayLike, second: ArrayLike, wins: ArrayLike) -> Compared:
    """Pairs as `Compared`: `prompts` (m,) labels of any kind, the two completions' logits (m,), and what the first won.

    `wins` is 1 where the first is better, 0 where the second is, 0.5 where neither, or the mean of several answers.
    A completion that can never be accepted, such as an empty one, has a high logit. Raises BadInput for no pairs,
    lengths that differ, a logit that is not finite or a win outside [0, 1]. O(m log m).
    """
    labels = np.asarray(prompts).ravel()
    one, other = (np.asarray(x, dtype=np.float32).ravel() for x in (first, second))
    won = np.asarray(wins, dtype=np.float64).ravel()
    if not labels.size == one.size == other.size == won.size:
        raise BadInput(f"{labels.size} prompts, {one.size} and {other.size} logits, {won.size} wins", where="compared")
    if not labels.size:
        raise BadInput("no pair was compared", where="compared")
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        raise BadInput("a logit is not finite", where="compared")
    if not ((won >= 0) & (won <= 1)).all():
        raise BadInput("a win lies outside [0, 1]", where="compared")
    codes = np.unique(labels, return_inverse=True)[1]
    codes, logits = np.concatenate((codes, codes)), np.concatenate((one, other))
    order = np.lexsort((logits, codes))
    return Compared(logits[order], np.concatenate((won, 1 - won))[order], np.bincount(codes).astype(np.int64))


def quality_curve(data: Compared) -> QualityCurve:
    """Q at every threshold at once. Accepting one more completion moves its prompt's mean by a step; the steps of all
    prompts, in the order of their scores, add up to Q. O(m log m).
    """
    order = np.argsort(data.logits, kind="stable")
    ascending = data.logits[order]
    total = np.concatenate(([0.0], np.cumsum(mean_steps(data)[order]) / data.sizes.size))
    first = np.flatnonzero(np.concatenate(([True], ascending[1:] > ascending[:-1])))
    # What is left of rounding in the sum must not be seen where everything is accepted.
    everything = np.add.reduceat(data.wins, _starts(data)) / data.sizes
    logit = np.append(ascending[first], np.float32(np.inf))
    return QualityCurve(logit, np.append(total[first], everything.mean()))


def quality_of_prompts(data: Compared, at: ArrayLike) -> Floats:
    """Each prompt's quality at each logit of `at` (t,), which ascend: (prompts, t). O(m log t + prompts * t)."""
    grid = np.asarray(at, dtype=np.float32).ravel()
    # Accepted iff strictly below: a completion counts from the first threshold above it on.
    counts_from = np.searchsorted(grid, data.logits, side="right")
    width = grid.size + 1
    cells = data.prompts * width + counts_from
    steps = np.bincount(cells, weights=mean_steps(data), minlength=data.sizes.size * width)
    means = np.cumsum(steps.reshape(-1, width)[:, :-1], axis=1)
    # Running sums leave traces of rounding where the mean is a plain 0 or 1.
    return np.asarray(np.clip(np.round(means, 12), 0.0, 1.0), dtype=np.float64)


def accepted_of_prompts(data: Compared, logit: float) -> NDArray[np.int64]:
    """How many completions of each prompt have a logit below `logit`, (prompts,). O(m)."""
    below = (data.logits < np.float32(logit)).astype(np.int64)
    return np.add.reduceat(below, _starts(data))


def mean_steps(data: Compared) -> Floats:
    """By how much accepting each completion moves its prompt's mean, all below it being accepted, (2 m,). O(m)."""
    starts = _starts(data)
    before = np.cumsum(data.wins) - data.wins
    rank = np.arange(data.wins.size) - np.repeat(starts, data.sizes) + 1
    means = (before - np.repeat(before[starts], data.sizes) + data.wins) / rank
    steps = np.diff(means, prepend=0.0)
    steps[starts] = means[starts]
    return steps


def _starts(data: Compared) -> NDArray[np.int64]:
    return np.asarray(np.cumsum(data.sizes) - data.sizes, dtype=np.int64)
