"""The threshold that accepts a given share of texts, for data without a generator."""

from __future__ import annotations

from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from engine.errors import BadInput
from engine.evaluation.rates import Rate, RateDict, clustered
from engine.evaluation.threshold import prompt_weights


class AcceptanceDict(TypedDict):
    """An `AcceptanceChoice` as JSON."""

    threshold: float
    logit: float
    logit_low: float
    logit_high: float
    target: float
    accepted: RateDict


class AcceptanceChoice(NamedTuple):
    """A threshold and what it accepts. A text is accepted iff its logit is below `logit`."""

    threshold: float
    """Score, sigmoid(logit), in [0, 1]."""
    logit: float
    """Exact in float32."""
    logit_low: float
    """Bootstrap interval of the choice itself, over clusters."""
    logit_high: float
    target: float
    """Share that was to be accepted."""
    accepted: Rate

    def as_dict(self) -> AcceptanceDict:
        """Plain JSON types."""
        return AcceptanceDict(
            threshold=self.threshold,
            logit=self.logit,
            logit_low=self.logit_low,
            logit_high=self.logit_high,
            target=self.target,
            accepted=self.accepted.as_dict(),
        )


def threshold_at_acceptance(
    logits: ArrayLike,
    target: float,
    clusters: ArrayLike | None = None,
    *,
    level: float = 0.95,
    seed: int = 0,
    resamples: int = 1000,
) -> AcceptanceChoice:
    """The lowest threshold that accepts at least the share `target` of these texts, in (0, 1).

    `logits` (n,) are those of harmless texts where false positives are to be alike; `clusters` (n,) says which belong
    together, and are the unit of the bootstrap. Ties at the threshold are all accepted. Raises BadInput for no texts,
    a logit that is not finite, or a target outside. O(n log n + resamples * n).
    """
    scores = np.asarray(logits, dtype=np.float32).ravel()
    if not scores.size or not np.isfinite(scores).all():
        raise BadInput("needs texts with finite logits", where="logits")
    if not 0 < target < 1:
        raise BadInput(f"must lie between 0 and 1, not {target}", where="target")
    order = np.argsort(scores, kind="stable")
    ascending = scores[order]
    labels = np.arange(scores.size) if clusters is None else np.asarray(clusters).ravel()
    codes = np.unique(labels, return_inverse=True)[1]
    if codes.size != scores.size:
        raise BadInput(f"{codes.size} clusters for {scores.size} logits", where="clusters")
    last = _last_accepted(np.ones((1, scores.size), dtype=np.float32), target)[0]
    logit = _above(ascending, int(last))
    weights = prompt_weights(int(codes.max()) + 1, resamples, seed)[:, codes[order]]
    lasts = _last_accepted(weights, target)
    tail = (1 - level) / 2
    low, high = np.quantile([_above(ascending, int(i)) for i in lasts], [tail, 1 - tail])
    accepted = clustered(scores < np.float32(logit), clusters, level=level)
    return AcceptanceChoice(
        float(expit(logit)), logit, min(float(low), logit), max(float(high), logit), target, accepted
    )


def _last_accepted(weights: NDArray[np.float32], target: float) -> NDArray[np.int64]:
    """By resample, the place in ascending order of the last text that must be accepted, (resamples,)."""
    mass = np.cumsum(weights, axis=1, dtype=np.float64)
    reached = mass >= target * mass[:, -1:] - 1e-9
    return np.asarray(reached.argmax(axis=1), dtype=np.int64)


def _above(ascending: NDArray[np.float32], last: int) -> float:
    """The middle, in float32, of the gap above this score; just above it where it is the highest."""
    here = ascending[last]
    higher = ascending[np.searchsorted(ascending, here, side="right") :]
    if not higher.size:
        return float(np.nextafter(here, np.float32(np.inf)))
    middle = np.float32(float(here) / 2 + float(higher[0]) / 2)
    return float(middle if here < middle <= higher[0] else higher[0])
