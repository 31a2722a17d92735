"""False negatives and false positives of one classifier: at a threshold, over thresholds, and as histograms."""

from __future__ import annotations

import math
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

from engine.errors import BadInput
from engine.evaluation.rates import Rate, RateDict, clustered

PAPER_THRESHOLD = 0.0017
"""Where the paper's classifiers have their thresholds."""


class Scored(NamedTuple):
    """Labelled snippets with their logits."""

    logits: NDArray[np.float32]
    """(n,), score = sigmoid(logit)."""
    positives: NDArray[np.bool_]
    """(n,), True where the label means failure."""
    clusters: NDArray[np.int64] | None = None
    """(n,), snippets that share a prompt or a seed share a code; None where each stands alone."""


class ErrorRates(NamedTuple):
    """Errors at one threshold."""

    fnr: Rate
    """Share of positives that are accepted."""
    fpr: Rate
    """Share of negatives that are rejected."""


class RocPoint(TypedDict):
    """One point of a curve over thresholds."""

    threshold: float
    fnr: RateDict
    fpr: RateDict


class Histogram(TypedDict):
    """Counts of logits per bin; `edges` has one more entry than the counts."""

    edges: list[float]
    positives: list[int]
    negatives: list[int]


def scored(logits: ArrayLike, positives: ArrayLike, clusters: ArrayLike | None = None) -> Scored:
    """Checked arrays. `clusters` may be labels of any kind. Raises BadInput for lengths that differ or NaN logits."""
    scores = np.asarray(logits, dtype=np.float32).ravel()
    truth = np.asarray(positives, dtype=bool).ravel()
    codes = None if clusters is None else np.unique(np.asarray(clusters).ravel(), return_inverse=True)[1]
    if scores.size != truth.size or (codes is not None and codes.size != scores.size):
        sizes = f"{scores.size} logits, {truth.size} labels" + ("" if codes is None else f", {codes.size} clusters")
        raise BadInput(sizes, where="scored")
    if np.isnan(scores).any():
        raise BadInput("a logit is not a number", where="scored")
    return Scored(scores, truth, None if codes is None else codes.astype(np.int64))


def to_logit(threshold: float) -> float:
    """The logit of a threshold in [0, 1], float32; infinite at the ends. Raises BadInput outside."""
    if not 0 <= threshold <= 1:
        raise BadInput(f"must lie in [0, 1], not {threshold}", where="threshold")
    return float(np.float32(logit(threshold)))


def false_negatives(data: Scored, at: float, *, level: float = 0.95) -> Rate:
    """Share of positives accepted at the logit `at`, interval by clusters. O(n log n)."""
    return _share(data, data.positives, data.logits < np.float32(at), level)


def false_positives(data: Scored, at: float, *, level: float = 0.95) -> Rate:
    """Share of negatives rejected at the logit `at`, interval by clusters. O(n log n)."""
    return _share(data, ~data.positives, data.logits >= np.float32(at), level)


def error_rates(data: Scored, at: float, *, level: float = 0.95) -> ErrorRates:
    """Both error rates at the logit `at`."""
    return ErrorRates(false_negatives(data, at, level=level), false_positives(data, at, level=level))


def log_spaced(around: float = PAPER_THRESHOLD, *, points: int = 20) -> list[float]:
    """Thresholds evenly spaced in logarithm: the paper's 1e-4 to 0.1 (figure 3), moved along with the threshold.

    The window ends half-way to 1 at most, so that a high threshold keeps its place inside.
    """
    centre = max(around, 1e-9)
    low, high = centre * 1e-4 / PAPER_THRESHOLD, min(centre * 0.1 / PAPER_THRESHOLD, (centre + 1) / 2)
    return [float(t) for t in np.geomspace(low, high, points)]


def roc(data: Scored, thresholds: list[float], *, level: float = 0.95) -> list[RocPoint]:
    """Error rates with intervals at each threshold in [0, 1], in the order given. O(thresholds * n log n)."""
    points = []
    for threshold in thresholds:
        fnr, fpr = error_rates(data, to_logit(threshold), level=level)
        points.append(RocPoint(threshold=threshold, fnr=fnr.as_dict(), fpr=fpr.as_dict()))
    return points


def histogram(data: Scored, *, bins: int = 40) -> Histogram:
    """Counts of positives' and negatives' logits in the same bins over their whole range. O(n)."""
    finite = data.logits[np.isfinite(data.logits)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    edges = np.linspace(math.floor(low * 2) / 2, math.ceil(high * 2 + 1e-9) / 2 + (0.5 if low == high else 0), bins + 1)
    clipped = data.logits.clip(edges[0], edges[-1])
    return Histogram(
        edges=[float(edge) for edge in edges],
        positives=np.histogram(clipped[data.positives], edges)[0].tolist(),
        negatives=np.histogram(clipped[~data.positives], edges)[0].tolist(),
    )


def to_score(at: float) -> float:
    """sigmoid(logit), in [0, 1]."""
    return float(expit(at))


def _share(data: Scored, among: NDArray[np.bool_], hits: NDArray[np.bool_], level: float) -> Rate:
    clusters = None if data.clusters is None else data.clusters[among]
    return clustered(hits[among], clusters, level=level)
