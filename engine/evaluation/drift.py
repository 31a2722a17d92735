"""Whether the logits seen lately look like those of the evaluation: population stability and Kolmogorov-Smirnov."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from engine.errors import BadInput
from engine.evaluation.curves import Histogram

BINS = 10
"""Groups of about equal share in the reference, as the index is usually read: above 0.25 is a shift."""


class Drift(NamedTuple):
    """How far the logits seen are from the reference's."""

    psi: float
    """Population stability index, >= 0."""
    psi_by_chance: float
    """What it exceeds once in twenty where nothing has moved: few logits are far from any reference."""
    ks: float
    """Largest distance of the two distribution functions at the histogram's edges, in [0, 1]."""
    n: int
    """Logits seen."""
    reference: int
    """Logits of the reference."""


def drift(reference: Histogram, logits: ArrayLike, *, bins: int = BINS) -> Drift | None:
    """The distance of `logits` (n,) from a histogram of earlier ones; None while either is empty.

    PSI = sum (q - p) log(q / p) over the reference's bins, joined to about `bins` of equal share, half a count added
    to each so that an empty one stays finite. Under no drift it is about chi-squared with (groups - 1) degrees of
    freedom, times 1/n + 1/reference (Yurdakul and Naranjo 2020). Logits outside the edges count to the outer bins.
    Raises BadInput for a NaN logit, or counts and edges that do not fit. O(n log n).
    """
    edges, counts = _checked(reference)
    seen = np.asarray(logits, dtype=np.float64).ravel()
    if np.isnan(seen).any():
        raise BadInput("a logit is not a number", where="drift")
    total = int(counts.sum())
    if not seen.size or not total:
        return None
    now = np.histogram(seen.clip(edges[0], edges[-1]), edges)[0].astype(np.float64)
    starts = _groups(counts, bins)
    p, q = (_shares(np.add.reduceat(values, starts)) for values in (counts, now))
    scale = 1 / seen.size + 1 / total
    return Drift(
        psi=float(((q - p) * np.log(q / p)).sum()),
        psi_by_chance=float(stats.chi2.ppf(0.95, starts.size - 1)) * scale if starts.size > 1 else 0.0,
        ks=float(np.abs(np.cumsum(now) / seen.size - np.cumsum(counts) / total).max()),
        n=seen.size,
        reference=total,
    )


def _checked(reference: Histogram) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    edges = np.asarray(reference["edges"], dtype=np.float64)
    counts = np.asarray(reference["positives"], dtype=np.float64) + np.asarray(reference["negatives"], np.float64)
    if edges.size != counts.size + 1 or counts.size == 0 or (np.diff(edges) <= 0).any() or (counts < 0).any():
        raise BadInput("needs rising edges, one more than there are counts", where="reference")
    return edges, counts


def _groups(counts: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    """Where each group of bins begins, so that each holds at least 1/bins of the counts (the last takes the rest)."""
    starts, held, wanted = [0], 0.0, float(counts.sum()) / bins
    for place, count in enumerate(counts[:-1].tolist(), 1):
        held += count
        if held >= wanted and counts[place:].sum() >= wanted:
            starts.append(place)
            held = 0.0
    return np.asarray(starts, dtype=np.int64)


def _shares(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    raised = counts + 0.5
    return np.asarray(raised / raised.sum(), dtype=np.float64)
