"""What two classifiers' disagreement says of a candidate (paper, A.5: what one rejects and the other lets pass)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.acquisition.checks import checked_logits, finite_logit


def disagreement(
    attacked: NDArray[np.floating], other: NDArray[np.floating], attacked_threshold: float, other_threshold: float
) -> NDArray[np.float64]:
    """(n,) how far `other` puts each candidate above its threshold, less how far the attacked classifier does, in nats.

    Logits (n,) each, thresholds in [0, 1]; each classifier is read beside its own threshold, since scores of two
    trainings mean different things. High where the attacked one lets pass what the other would reject: the methods'
    logit J - logit c (F.3) with thresholds taken off. A reward to rank by, not a verdict: it is as high where the other
    errs as where the attacked one does, which the paper met more often (A.5), so that people still label. Raises
    ValueError for logits that are not finite or of different number, or a threshold outside [0, 1]. O(n).
    """
    mine = checked_logits(attacked, attacked_threshold) - finite_logit(attacked_threshold)
    theirs = checked_logits(other, other_threshold) - finite_logit(other_threshold)
    if mine.shape != theirs.shape:
        raise ValueError(f"{len(mine)} logits of one classifier and {len(theirs)} of the other")
    return theirs - mine
