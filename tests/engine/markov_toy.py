"""A toy autoregressive generator whose rare events have exact probabilities, by dynamic programming."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

TOKENS, LENGTH, PROMPTS = 6, 24, 20


class MarkovToy:
    """Prompts of one token from a pool, then LENGTH tokens, each drawn given the one before. A state is a row
    (1 + LENGTH,); its score the sum of its tokens' weights, whole numbers: many ties."""

    weights = np.array([0, 0, 0, 1, 2, 3])

    def __init__(self, seed: int = 0) -> None:
        chance = np.random.default_rng(seed)
        self.pool = chance.integers(0, TOKENS, PROMPTS)
        rows = chance.dirichlet(np.array([6.0, 5.0, 4.0, 1.5, 0.8, 0.4]), TOKENS)
        self.next = 0.8 * rows + 0.2 * np.eye(TOKENS)
        self._cumulative = self.next.cumsum(axis=1)

    def draw(self, n: int, chance: np.random.Generator) -> NDArray[np.int64]:
        """Prompts uniform over the pool."""
        states = np.empty((n, 1 + LENGTH), dtype=np.int64)
        states[:, 0] = chance.choice(self.pool, n)
        return self._regenerated(states, np.zeros(n, dtype=np.int64), chance)

    def move(self, states: NDArray[np.int64], chance: np.random.Generator) -> NDArray[np.int64]:
        """The suffix from a cut on, uniform over {-1, ..., LENGTH - 1}; -1 takes another prompt too."""
        made, cuts = states.copy(), chance.integers(-1, LENGTH, len(states))
        other = cuts < 0
        made[other, 0] = chance.choice(self.pool, int(other.sum()))
        return self._regenerated(made, np.maximum(cuts, 0), chance)

    def score(self, states: NDArray[np.int64]) -> NDArray[np.float64]:
        """Sums of weights, (n,)."""
        return np.asarray(self.weights[states[:, 1:]].sum(axis=1), dtype=np.float64)

    def exact(self) -> NDArray[Any]:
        """P(score >= s) for s = 0, 1, ..."""
        most = int(self.weights.max()) * LENGTH
        mass = np.zeros((TOKENS, most + 1))
        mass[:, 0] = np.bincount(self.pool, minlength=TOKENS) / PROMPTS
        for _ in range(LENGTH):
            after = np.zeros_like(mass)
            for token, weight in enumerate(self.weights):
                moved = self.next[:, token] @ mass
                after[token, weight:] += moved[: most + 1 - weight]
            mass = after
        return mass.sum(axis=0)[::-1].cumsum()[::-1]

    def rarest(self, probability: float) -> tuple[int, float]:
        """The least score whose probability is at most that, and its exact probability."""
        tail = self.exact()
        at = int(np.argmax(tail <= probability))
        return at, float(tail[at])

    def _regenerated(
        self, states: NDArray[np.int64], cuts: NDArray[np.int64], chance: np.random.Generator
    ) -> NDArray[np.int64]:
        for place in range(LENGTH):
            rows = np.flatnonzero(cuts <= place)
            if rows.size:
                before = self._cumulative[states[rows, place]]
                states[rows, place + 1] = (chance.random(rows.size)[:, None] > before).sum(axis=1).clip(max=TOKENS - 1)
        return states
