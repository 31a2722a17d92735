"""The gradient of one step: of several batches, on several processes, in parts where memory is short."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.classifiers.fitting.sift import Perturbation, smoothness
from engine.classifiers.hardware import arithmetic, out_of_memory
from engine.classifiers.layer_cache import Forward
from engine.classifiers.losses import loss
from engine.classifiers.processes import Alone
from engine.classifiers.recipe import Recipe
from engine.errors import OutOfMemory


class Gradients:
    """Leaves in each parameter's `grad` the gradient of the mean loss over a step's examples, and no other."""

    def __init__(
        self,
        forward: Forward,
        labels: NDArray[np.int64],
        lengths: NDArray[np.int64],
        parameters: Sequence[nn.Parameter],
        recipe: Recipe,
        processes: Alone,
        perturbation: Perturbation | None,
    ) -> None:
        """`labels` (0 or 1) and `lengths` (tokens) are of all examples; `perturbation` is there for SiFT."""
        self._forward, self._labels, self._lengths, self._parameters = forward, labels, lengths, parameters
        self._recipe, self._processes, self._perturbation = recipe, processes, perturbation
        self._loss = loss(recipe.loss, recipe.loss_parameters)
        self._running = np.empty(0, np.int64)
        self.room: int | None = None
        """Padded tokens that memory was enough for; None: it has never been short."""
        self.halved = 0
        """Batches of this process that went in parts."""

    def __call__(self, batches: Sequence[NDArray[np.int64]]) -> float:
        """The mean loss over the examples of all `batches` on all processes; infinite or no number if it is that.

        A batch that does not fit in memory is halved, and this and every later one of its size goes in such parts:
        their gradients add up to the batch's. Raises OutOfMemory if a single example does not fit.
        """
        shares = [self._processes.share(rows) for rows in batches]
        while (total := self._added_up(shares, sum(map(len, batches)))) is None:
            self._halve()
        self.halved += sum(len(list(self._parts(rows))) > 1 for rows in shares)
        self._processes.add_gradients(self._parameters)
        return self._processes.total(total)

    def _added_up(self, shares: Sequence[NDArray[np.int64]], size: int) -> float | None:
        """The sum of the losses, divided by `size`; None if memory ran out, and nothing is held any more."""
        for parameter in self._parameters:
            parameter.grad = None
        total = 0.0
        try:
            for rows in shares:
                for part in self._parts(rows):
                    total += self._backward(part, size)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            return None
        return total

    def _backward(self, rows: NDArray[np.int64], size: int) -> float:
        self._running = rows
        logits = self._answer(rows)
        target = torch.from_numpy(self._labels[rows]).to(logits.device)
        task = self._loss(logits, target).sum() / size
        whole = task
        if self._perturbation and self._recipe.sift:
            moved = smoothness(lambda: self._answer(rows), logits, self._perturbation, self._recipe.sift)
            if moved is not None:
                whole = task + self._recipe.sift.weight * moved.sum() / size
        whole.backward()
        return task.item()

    def _answer(self, rows: NDArray[np.int64]) -> Tensor:
        with arithmetic(self._recipe.precision):
            return self._forward(rows)

    def _parts(self, rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        if not len(rows):
            return
        if self.room is None or len(rows) == 1 or self._padded(rows) <= self.room:
            yield rows
            return
        middle = (len(rows) + 1) // 2
        yield from self._parts(rows[:middle])
        yield from self._parts(rows[middle:])

    def _padded(self, rows: NDArray[np.int64]) -> int:
        return len(rows) * int(self._lengths[rows].max())

    def _halve(self) -> None:
        rows = self._running
        if len(rows) == 1:
            tokens = int(self._lengths[rows[0]])
            raise OutOfMemory(f"memory is too small to train on one example of {tokens} tokens", permanent=True)
        self.room = self._padded(rows) // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
