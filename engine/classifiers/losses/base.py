"""What a loss is. This folder imports torch only when a loss is computed: recipes are read where there is none."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from torch import Tensor


class Loss(BaseModel):
    """A loss, with its parameters as checked fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @abstractmethod
    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of each example, shape (b,), of class logits (b, 2) in fp32 and labels 0 or 1 (b,).

        Finite, with finite gradients, for all logits that training can reach (1,000 and more).
        """


def signed_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """z1 - z0 of failures, z0 - z1 of the others, shape (b,): how far each lies on its own side of score 1/2."""
    margin = logits[:, 1] - logits[:, 0]
    return margin * (2 * labels - 1)
