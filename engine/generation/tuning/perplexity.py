"""Perplexity of stories, with intervals that take stories as what was sampled."""

from __future__ import annotations

import math
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
METHOD = "linearised ratio over stories, Student t of the logarithm"


class PerplexityDict(TypedDict):
    """A `Perplexity` as JSON."""

    estimate: float
    low: float | None
    high: float | None
    level: float
    method: str
    n: int


class Perplexity(NamedTuple):
    """exp of the mean negative log-likelihood of a token, or a ratio of two such."""

    estimate: float
    low: float | None
    """None where one story cannot tell."""
    high: float | None
    level: float
    method: str
    n: int
    """Stories it rests on."""

    def as_dict(self) -> PerplexityDict:
        """Plain JSON types."""
        return PerplexityDict(
            estimate=self.estimate, low=self.low, high=self.high, level=self.level, method=self.method, n=self.n
        )


def perplexity(losses: Floats, tokens: NDArray[np.int64], *, level: float = 0.95) -> Perplexity:
    """exp(sum of losses / sum of tokens), with the interval of a ratio estimator over stories.

    `losses` (m,) is the summed negative log-likelihood of each story in nats, `tokens` (m,) how many tokens it sums
    over. The variance of the ratio is linearised (Cochran 1977, 6.3); the interval is Student's with m - 1 degrees of
    freedom, on the logarithm. With `losses` of differences it is the factor by which perplexity changed, story by
    story. O(m). Raises ValueError where there is no token.
    """
    total, stories = int(tokens.sum()), len(losses)
    if total <= 0 or stories != len(tokens):
        raise ValueError(f"needs a loss and a number of tokens for each story, not {stories} and {len(tokens)}")
    mean = float(losses.sum()) / total
    if stories == 1:
        return Perplexity(math.exp(mean), None, None, level, METHOD, 1)
    residuals = losses - mean * tokens
    variance = stories / (stories - 1) * float((residuals**2).sum()) / total**2
    half = float(stats.t.ppf((1 + level) / 2, stories - 1)) * math.sqrt(variance)
    return Perplexity(math.exp(mean), math.exp(mean - half), math.exp(mean + half), level, METHOD, stories)
