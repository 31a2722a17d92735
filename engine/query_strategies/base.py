"""What a query strategy is."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engine.progress import Progress, silent


class QueryStrategy(Protocol):
    """Embeddings (n, d), values (n,), labelled (m, d), k -> (min(k, n),) distinct indices; chance by `seed` alone.

    `labelled` holds the vectors of what is labelled *and* of what is in flight, on its way to people: neither is worth
    asking about again. Embeddings may be memory-mapped, in fp32 or fp16. Indices come in the order of choice, the most
    wanted first, so that a prefix is the better part of the batch. All raise ValueError unless shapes agree, all is
    finite and k >= 0.
    """

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
