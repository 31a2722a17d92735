"""Focal loss (Lin and others 2017, 1708.02002): what is already told well counts little."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from engine.classifiers.losses.base import Loss, signed_margin

if TYPE_CHECKING:
    from torch import Tensor


class Focal(Loss):
    """(1 - p)^gamma * -log p, with p the probability of the label; gamma 0 is cross entropy.

    Not proper: scores are drawn toward 1/2, so a threshold is to be calibrated anew, as it always is here.
    """

    gamma: float = Field(2.0, ge=0, le=20)

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """See `Loss`."""
        from torch.nn.functional import logsigmoid

        margin = signed_margin(logits, labels)
        # (1 - p)^gamma by its logarithm: the power itself has no finite slope at p = 1 for gamma below 1.
        return (self.gamma * logsigmoid(-margin)).exp() * -logsigmoid(margin)
