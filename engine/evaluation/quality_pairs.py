"""How many pairs of a prompt's completions to have compared: more where little of it is accepted (paper, A.7)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import BadInput
from engine.evaluation.threshold import LogitRows, completions_of

Floats = NDArray[np.float64]
ACCEPTED = 10
"""Accepted completions after which a prompt's share is estimated."""
CHANCE = 0.9
"""Of one of M_n completions being accepted. A pair has two, so that one of its prompt's is accepted with 0.99."""
LEAST, MOST = 4, 100
"""Pairs of a prompt."""


def accept_shares(logits: LogitRows, logit: float, *, accepted: int = ACCEPTED) -> Floats:
    """The share of each prompt's completions below `logit`, by inverse sampling, (prompts,), in [0, 1].

    `logits` are in the order in which the completions were drawn. Where the `accepted`-th accepted one is draw N, the
    share is (accepted - 1) / (N - 1), which is unbiased; where the draws end before, it is that of all of them. Raises
    BadInput for fewer than two wanted, no prompts, or a logit that is not finite. O(n).
    """
    if accepted < 2:
        raise BadInput(f"must be at least 2, not {accepted}", where="accepted")
    data = completions_of(logits)
    below = (data.logits < np.float32(logit)).astype(np.int64)
    starts = np.cumsum(data.sizes) - data.sizes
    running = np.cumsum(below)
    counts = running - np.repeat(running[starts] - below[starts], data.sizes)
    total = np.add.reduceat(below, starts)
    shares = total / data.sizes
    last = np.flatnonzero((counts == accepted) & (below == 1))
    prompts = data.prompts[last]
    draws = last - starts[prompts] + 1
    shares[prompts] = (accepted - 1) / (draws - 1)
    return np.asarray(shares, dtype=np.float64)


def pairs_wanted(
    shares: ArrayLike, *, chance: float = CHANCE, least: int = LEAST, most: int = MOST
) -> NDArray[np.int64]:
    """M_n: pairs to compare of each prompt by the share of it that is accepted, of `shares`' shape, in [least, most].

    So many that one of M_n completions is accepted with `chance`. `most` where nothing is accepted, `least` where all
    is. Raises BadInput for a share outside [0, 1], a chance outside (0, 1), or least above most. O(n).
    """
    accepted = np.asarray(shares, dtype=np.float64)
    if not ((accepted >= 0) & (accepted <= 1)).all():
        raise BadInput("a share lies outside [0, 1]", where="shares")
    if not 0 < chance < 1 or not 1 <= least <= most:
        raise BadInput(f"chance {chance}, from {least} to {most} pairs", where="pairs_wanted")
    with np.errstate(divide="ignore"):
        exact = np.log1p(-chance) / np.log1p(-accepted)
    exact = np.where(accepted == 0, most, exact)  # log 1 / log 0 is 0 already: all accepted
    return np.asarray(np.ceil(exact.clip(least, most) - 1e-9), dtype=np.int64)
