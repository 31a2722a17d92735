"""Squared error of the score (Brier 1950): bounded, so that one wrong label cannot outweigh many right ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.classifiers.losses.base import Loss, signed_margin

if TYPE_CHECKING:
    from torch import Tensor


class MeanSquaredError(Loss):
    """(1 - p)^2, with p the probability of the label. Proper; between 0 and 1."""

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """See `Loss`."""
        return (-signed_margin(logits, labels)).sigmoid().square()
