"""Snippets on which classifiers, or one recipe's seeds, part; first those that another rejects and this one accepts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.acquisition.base import Opinions


def disagreement(opinions: Opinions, *, seed: int = 0) -> NDArray[np.float64]:
    """(n,) v / (1 + v), plus 1 where this classifier accepts and some other one rejects; from 0 to 2. O(m n).

    v is the variance of all 1 + m logits, each measured from its own classifier's threshold: classifiers that differ in
    calibration alone agree. Query by committee (Seung et al. 1992), with the committee's vote taken at the thresholds:
    what this one lets through and another would not is where its failures are. Raises BadInput without others.
    """
    others = opinions.other_margins
    spread = np.var(np.vstack([opinions.margins, others]), axis=0)
    let_through = (opinions.margins < 0) & (others >= 0).any(axis=0)
    return np.asarray(spread / (1 + spread) + let_through, dtype=np.float64)
