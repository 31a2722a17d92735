"""Bootstrap of sums and means over rows; of sums fast because equal rows are resampled together."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from engine.errors import BadInput

CHUNK = 20_000_000
FEW = 300
"""Below so many rows the percentile interval of a mean is too short on its skewed side."""


def resampled_sums(
    rows: ArrayLike, resamples: int, rng: np.random.Generator, *, times: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """Column sums of `resamples` bootstrap samples of `rows` (n, d): (resamples, d).

    Who knows already which rows are alike gives each once and in `times` (n,) how often it stands for.

    Drawing n rows with replacement and summing needs only how often each distinct row comes up, which is multinomial.
    So the cost is O(n log n + resamples * distinct rows), and statistics that are functions of sums (rates, alpha,
    kappa) need no loop over resamples. No rows sum to zero.
    """
    table = np.asarray(rows, dtype=np.float64)
    if not table.size:
        return np.zeros((resamples, table.shape[1]))
    distinct, counts = np.unique(table, axis=0, return_counts=True) if times is None else (table, times)
    n = int(counts.sum())
    sums = np.empty((resamples, table.shape[1]))
    batch = max(1, CHUNK // max(1, counts.size))
    for start in range(0, resamples, batch):
        size = min(batch, resamples - start)
        drawn = rng.multinomial(n, counts / n, size=size)
        sums[start : start + size] = drawn @ distinct
    return sums


class Limits(NamedTuple):
    """The interval of a mean, or of several."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    method: str
    """How it was found, in words."""


def mean_limits(values: ArrayLike, weights: NDArray[np.float32], level: float, *, unit: str = "prompts") -> Limits:
    """Bootstrap intervals of the means of the columns of `values` (n, t), low and high (t,).

    `weights` (resamples, n) say how often each row stands in each resample, rows summing to 1. From FEW rows up the
    percentile interval; below it BCa (Efron 1987), whose acceleration for a mean needs no jackknife. Rows that are all
    alike say nothing of the spread: then the interval is the point, and whoever shows it says of how many rows. Raises
    BadInput for fewer than two rows. O(resamples * n * t).
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or len(table) < 2:
        raise BadInput(f"an interval needs at least 2 {unit}, not {len(table)}", where="bootstrap")
    few, tails = len(table) < FEW, ((1 - level) / 2, (1 + level) / 2)
    if few:
        means = weights.astype(np.float64) @ table
        low, high = _bca(table, means, tails)
    else:
        low, high = np.quantile(weights @ table.astype(np.float32), tails, axis=0).astype(np.float64)
    centre, constant = table.mean(axis=0), np.ptp(table, axis=0) == 0
    low, high = np.where(constant, table[0], np.minimum(low, centre)), np.where(constant, table[0], high)
    return Limits(low, np.maximum(high, low), f"{'BCa bootstrap' if few else 'bootstrap'} of {len(table)} {unit}")


def _bca(
    table: NDArray[np.float64], means: NDArray[np.float64], tails: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bias-corrected, accelerated limits, column by column; NaN where rows are all alike."""
    centre = table.mean(axis=0)
    gaps = table - centre
    with np.errstate(divide="ignore", invalid="ignore"):
        acceleration = (gaps**3).sum(axis=0) / (6 * (gaps**2).sum(axis=0) ** 1.5)
    below = ((means < centre).sum(axis=0) + (means <= centre).sum(axis=0)) / (2 * len(means))
    bias = ndtri(below)
    limits = np.full((2, centre.size), np.nan)
    for row, tail in enumerate(tails):
        moved = bias + ndtri(tail)
        with np.errstate(invalid="ignore"):
            places = ndtr(bias + moved / (1 - acceleration * moved))
        for column in np.flatnonzero(np.isfinite(places)):
            limits[row, column] = np.quantile(means[:, column], places[column])
    return limits[0], limits[1]
