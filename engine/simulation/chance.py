"""Cheap seeded chance: picks from short lists, a million times over."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Generic, TypeVar

import numpy as np

T = TypeVar("T")
U = TypeVar("U")
_BLOCK = 64


class Chance:
    """Picks decided by `numpy.random.default_rng([*key])` alone; uniforms are drawn a block at a time, for speed."""

    __slots__ = ("_block", "_rng")

    def __init__(self, *key: int) -> None:
        self._rng = np.random.default_rng(key)
        self._block: list[float] = []

    def uniform(self) -> float:
        """A number in [0, 1)."""
        if not self._block:
            self._block = self._rng.random(_BLOCK).tolist()
        return self._block.pop()

    def pick(self, items: Sequence[T]) -> T:
        """One of `items`, each as likely. O(1)."""
        return items[int(self.uniform() * len(items))]


class Weighted(Generic[T]):
    """Items with weights, ready to be picked from in O(log n)."""

    __slots__ = ("_edges", "items")

    def __init__(self, items: Sequence[T], weights: Sequence[float]) -> None:
        if not items or len(items) != len(weights) or min(weights) < 0 or sum(weights) <= 0:
            raise ValueError("as many non-negative weights as items are wanted, and one above zero")
        self.items = tuple(items)
        self._edges = list(accumulate(weights))

    def pick(self, chance: Chance) -> T:
        """One of the items, as likely as its weight."""
        return self.items[bisect(self._edges, chance.uniform() * self._edges[-1], hi=len(self.items) - 1)]

    def map(self, change: Callable[[T], U]) -> Weighted[U]:
        """The changed items with the weights they had."""
        weights = [high - low for low, high in zip([0.0, *self._edges], self._edges, strict=False)]
        return Weighted([change(item) for item in self.items], weights)
