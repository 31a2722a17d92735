"""Query strategies: which snippets make the batch. One a file; a new one is one line in QUERY_STRATEGIES."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engine.errors import UnknownName
from engine.progress import Progress, silent
from engine.query_strategies.k_center_greedy import k_center_greedy
from engine.query_strategies.random_choice import random_choice
from engine.query_strategies.top import top


class QueryStrategy(Protocol):
    """Embeddings (n, d), values (n,), labelled (m, d), k -> (min(k, n),) distinct indices; chance by `seed` alone."""

    def __call__(
        self,
        embeddings: NDArray[np.floating],
        values: NDArray[np.floating],
        labelled: NDArray[np.floating],
        k: int,
        *,
        seed: int = 0,
        progress: Progress = silent,
    ) -> NDArray[np.int64]: ...


QUERY_STRATEGIES: dict[str, QueryStrategy] = {
    "k_center_greedy": k_center_greedy,
    "random": random_choice,
    "top": top,
}


def query_strategy(name: str) -> QueryStrategy:
    """The query strategy of that name. Raises UnknownName listing those there are."""
    if name not in QUERY_STRATEGIES:
        raise UnknownName("query strategy", name, QUERY_STRATEGIES)
    return QUERY_STRATEGIES[name]
