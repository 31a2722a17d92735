"""A loss centred on the threshold of deployment instead of on score 1/2."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import Field

from engine.classifiers.losses.base import Loss

if TYPE_CHECKING:
    from torch import Tensor


class ThresholdCentred(Loss):
    """With m = z1 - z0 and c = log(t / (1 - t)) for threshold t:

        failures:  log(1 + exp(c - m)) / 2t        others:  log(1 + exp(m - c)) / 2(1 - t)

    Deployment accepts what scores below t, far from 1/2, and so compares m with c. Shifting the logistic loss to c
    alone would change nothing but the bias of the head: the same classifier, with c added. It is also weighed by the
    costs that make t the best place to cut: a failure accepted is (1 - t) / t times as bad as a good text refused. Then
    the best m for a text that fails with probability q is again log(q / (1 - q)): with s the logistic function,
    q(1 - t)s(c - m) = (1 - q)t s(m - c) gives exp(m - c) = q(1 - t) / (1 - q)t. Scores stay probabilities, and what
    changes is where errors count: an error in m weighs in proportion to 1 / (t(1 - q) + q(1 - t)), fully below the
    threshold and less and less above it, where all is refused anyway. That proper losses differ in such a weight only
    is in Buja, Stuetzle, Shen 2005 ("Loss functions for binary class probability estimation"), whose tailored losses
    this follows; the form is ours.

    t = 1/2 is cross entropy, and for every t the slope at m = 0, where training begins, is that of cross entropy. A
    failure far below the threshold pulls with up to 1 / 2t: wrong labels cost more than elsewhere, and gradients are
    clipped (`max_grad_norm`).
    """

    threshold: float = Field(0.002, ge=1e-6, le=0.5)

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """See `Loss`."""
        from torch.nn.functional import softplus

        centre = math.log(self.threshold) - math.log1p(-self.threshold)
        beyond = logits[:, 1] - logits[:, 0] - centre
        positive = labels.to(logits.dtype)
        cost = positive / (2 * self.threshold) + (1 - positive) / (2 * (1 - self.threshold))
        return softplus((1 - 2 * positive) * beyond) * cost
