"""A statistic that is not a rate, with the percentile interval of a bootstrap."""

from __future__ import annotations

from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class EstimateDict(TypedDict):
    """An `Estimate` as JSON."""

    estimate: float | None
    low: float | None
    high: float | None
    level: float
    method: str
    n: int


class Estimate(NamedTuple):
    """A statistic that is not a rate, its interval, and how many items it rests on. None where it is undefined."""

    estimate: float | None
    low: float | None
    high: float | None
    level: float
    method: str
    n: int

    def as_dict(self) -> EstimateDict:
        """Plain JSON types."""
        return EstimateDict(
            estimate=self.estimate, low=self.low, high=self.high, level=self.level, method=self.method, n=self.n
        )


def estimate(values: Floats, point: float, level: float, method: str, n: int, *, spread: float = 1.0) -> Estimate:
    """The percentile interval; where all agree (or none), as far as `n` items can tell: the bootstrap cannot."""
    defined = values[np.isfinite(values)]
    if not np.isfinite(point) or not defined.size or not n:
        return Estimate(None, None, None, level, method, n)
    tail = (1 - level) / 2
    low, high = (float(limit) for limit in np.quantile(defined, [tail, 1 - tail]))
    unseen = float((1 - tail ** (1 / n)) / spread) if spread else 1.0
    if point > 1 - 1e-12:
        low = min(low, max(-1.0, 1 - unseen))
    if point < 1e-12:
        high = max(high, min(1.0, unseen))
    return Estimate(point, low, high, level, method, n)
