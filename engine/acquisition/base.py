"""What an acquisition function is given: one classifier's logits, its threshold, and what others make of the same."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import BadInput


@dataclass(frozen=True, eq=False)
class Opinions:
    """A classifier's opinion of n snippets, and those of m others: later classifiers, other seeds, a second encoder.

    `logits` (n,) and `others` (m, n) become float64; `threshold` and `other_thresholds` (m,) are scores in [0, 1], each
    classifier's own. `features` (n, h), where given, are what the classifier's last layer sees; only `expected_change`
    reads them. Raises ValueError unless shapes agree, all is finite and every threshold lies in [0, 1].
    """

    logits: NDArray[np.float64]
    threshold: float
    others: NDArray[np.float64]
    other_thresholds: NDArray[np.float64]
    features: NDArray[np.floating] | None

    def __init__(
        self,
        logits: ArrayLike,
        threshold: float,
        others: ArrayLike = (),
        other_thresholds: ArrayLike = (),
        features: NDArray[np.floating] | None = None,
    ) -> None:
        own: NDArray[np.float64] = np.asarray(logits, dtype=np.float64)
        if own.ndim != 1:
            raise ValueError(f"logits must have shape (n,), not {own.shape}")
        limits: NDArray[np.float64] = np.asarray(other_thresholds, dtype=np.float64)
        if limits.ndim != 1:
            raise ValueError(f"other_thresholds must have shape (m,), not {limits.shape}")
        theirs: NDArray[np.float64] = np.asarray(others, dtype=np.float64)
        if theirs.size == 0 and theirs.shape[:1] == (0,):
            theirs = np.zeros((0, own.size))
        if theirs.shape != (limits.size, own.size):
            raise ValueError(f"others must have shape ({limits.size}, {own.size}), not {theirs.shape}")
        if not (np.isfinite(own).all() and np.isfinite(theirs).all()):
            raise ValueError("logits must be finite")
        if not all(0 <= value <= 1 for value in (threshold, *limits)):
            raise ValueError(f"threshold must lie in [0, 1], not {threshold}, {limits.tolist()}")
        if features is not None and (features.ndim != 2 or len(features) != own.size):
            raise ValueError(f"features must have shape ({own.size}, h), not {features.shape}")
        if features is not None and not np.isfinite(features).all():
            raise ValueError("features must be finite")
        for name, value in (("logits", own), ("threshold", float(threshold)), ("others", theirs)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "other_thresholds", limits)
        object.__setattr__(self, "features", features)

    @property
    def margins(self) -> NDArray[np.float64]:
        """(n,) logits measured from the threshold's: at 0 and above the classifier rejects."""
        return self.logits - logit(self.threshold)

    @property
    def other_margins(self) -> NDArray[np.float64]:
        """(m, n) the others' logits, each measured from its own threshold's. Raises BadInput where there are none."""
        if not self.other_thresholds.size:
            raise BadInput("it compares classifiers, and the logits of no other one were given", where="acquisition")
        own: NDArray[np.float64] = np.array([logit(float(value)) for value in self.other_thresholds])
        return np.asarray(self.others - own[:, None], dtype=np.float64)


class Acquisition(Protocol):
    """Opinions of n snippets -> values (n,) float64, higher = label sooner; chance by `seed` alone."""

    def __call__(self, opinions: Opinions, *, seed: int = 0) -> NDArray[np.float64]: ...


def logit(threshold: float) -> float:
    """ln(t / (1 - t)); a threshold of 0 or 1 is taken as the nearest one that fp32 can tell from it."""
    inside = min(max(threshold, 1e-38), 1 - 2.0**-24)
    return math.log(inside) - math.log1p(-inside)
