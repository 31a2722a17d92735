"""A batch of which a stated share is drawn by chance, so that what its labels say of the whole pool stays unbiased."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.progress import Progress, silent
from engine.query_strategies.base import QueryStrategy


class Choice(NamedTuple):
    """A chosen batch of k = min(k, n) snippets: the strategy's in its order, then those drawn by chance."""

    chosen: NDArray[np.int64]
    """(k,) distinct indices into the pool."""
    random: NDArray[np.bool_]
    """(k,) whether it was drawn by chance."""
    inclusion: NDArray[np.float64]
    """(k,) in (0, 1], the probability with which it came to be in the batch, given the strategy's picks: 1 for these,
    r / (n - k + r) for each of the r drawn. The sum over the batch of outcome / inclusion estimates the pool's total
    without bias, whatever the strategy."""
    strategy_alone: NDArray[np.int64]
    """(k,) what the strategy would have taken, had nothing been drawn by chance; its first k - r are in `chosen`."""


def choose(
    strategy: QueryStrategy,
    embeddings: NDArray[np.floating],
    values: NDArray[np.floating],
    labelled: NDArray[np.floating],
    k: int,
    *,
    random_share: float,
    seed: int = 0,
    progress: Progress = silent,
) -> Choice:
    """Chooses min(k, n) of the pool: r = random_share k of them, rounded up, by chance, the others by `strategy`.

    Embeddings (n, d), values (n,) and labelled (m, d), the last with what is in flight, go to the strategy as they are,
    and it is asked once, for all k. Its first k - r are taken; the r come evenly from all the rest of the pool, with
    those it would have taken next, so every snippet not taken by the strategy has the same chance. `seed` decides both
    the strategy's chance and the draw. Raises ValueError as the strategy does, and unless random_share is in [0, 1].
    Costs what the strategy costs, and O(n).
    """
    if not 0 <= random_share <= 1:
        raise ValueError(f"random_share must lie in [0, 1], not {random_share}")
    alone = strategy(embeddings, values, labelled, k, seed=seed, progress=progress)
    # 0.1 * 30 is 3.0000000000000004: rounding up would add one that nobody asked for.
    drawn = math.ceil(random_share * alone.size - 1e-9)
    taken = alone[: alone.size - drawn]
    rest = np.delete(np.arange(len(embeddings), dtype=np.int64), taken)
    by_chance = np.random.default_rng([seed, 0x63686F]).choice(rest, size=drawn, replace=False)
    chances = np.ones(alone.size)
    chances[taken.size :] = drawn / max(rest.size, 1)
    return Choice(np.concatenate([taken, by_chance]), np.arange(alone.size) >= taken.size, chances, alone)
