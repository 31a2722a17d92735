"""Cross entropy: what the paper trains with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.classifiers.losses.base import Loss

if TYPE_CHECKING:
    from torch import Tensor


class CrossEntropy(Loss):
    """-log p(label): log(1 + exp(-m)) of the signed margin m."""

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """See `Loss`."""
        from torch import nn

        return nn.functional.cross_entropy(logits, labels, reduction="none")
