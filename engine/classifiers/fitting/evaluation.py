"""Looking at the validation examples while training, and stopping when they gain no more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.classifiers.hardware import arithmetic
from engine.classifiers.layer_cache import BUDGET, Forward
from engine.classifiers.losses import loss
from engine.classifiers.processes import Alone
from engine.classifiers.recipe import EarlyStop, Recipe
from engine.classifiers.tokens import batches_by_budget


class Validation:
    """The mean loss over the validation examples; each process scores its share."""

    def __init__(
        self,
        network: nn.Module,
        forward: Forward,
        labels: NDArray[np.int64],
        lengths: NDArray[np.int64],
        rows: NDArray[np.int64],
        recipe: Recipe,
        processes: Alone,
    ) -> None:
        """`rows` are those of the validation examples among all, whose `labels` and `lengths` are given; maybe none."""
        self._network, self._forward, self._labels, self._recipe = network, forward, labels, recipe
        self._loss, self._processes = loss(recipe.loss, recipe.loss_parameters), processes
        self._size = len(rows)
        self._batches = [rows[part] for part in batches_by_budget(lengths[rows], BUDGET)]

    def __call__(self, alive: Callable[[], None]) -> float | None:
        """None where there are no validation examples. Dropout is off meanwhile; `alive` is called after each batch."""
        if not self._size:
            return None
        total = 0.0
        with _evaluating(self._network), torch.no_grad():
            for batch in self._batches:
                if len(rows := self._processes.share(batch)):
                    with arithmetic(self._recipe.precision):
                        logits = self._forward(rows)
                    target = torch.from_numpy(self._labels[rows]).to(logits.device)
                    total += float(self._loss(logits, target).double().sum())
                alive()
        return self._processes.total(total) / self._size


class Best(NamedTuple):
    """The least validation loss so far."""

    loss: float
    step: int
    weights: dict[str, Tensor]


class Watch:
    """Says when to stop, and keeps the best weights, on the CPU."""

    def __init__(self, rule: EarlyStop, parameters: Sequence[tuple[str, nn.Parameter]]) -> None:
        self._rule, self._parameters = rule, parameters
        self.best: Best | None = None
        self.waited = 0
        """Evaluations since the best."""

    def stops(self, value: float, step: int) -> bool:
        """Takes note of an evaluation; whether patience is over."""
        if self.best is None or value < self.best.loss - self._rule.least_gain:
            kept = {name: one.detach().to("cpu", copy=True) for name, one in self._parameters}
            self.best, self.waited = Best(value, step, kept), 0
        else:
            self.waited += 1
        return self.waited >= self._rule.patience

    def restore(self) -> int | None:
        """Puts the best weights into place; their step."""
        if self.best is None:
            return None
        with torch.no_grad():
            for name, parameter in self._parameters:
                parameter.copy_(self.best.weights[name])
        return self.best.step


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Dropout off, and afterwards on where it was: frozen layers may never have had it."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
