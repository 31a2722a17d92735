"""The processes that train one classifier together: one, or as many as `accelerate launch` (or torchrun) started.

A step takes the same examples however many processes there are: each takes its share of every batch, and gradients are
added up before the step. They are added after the backward pass and not during it, as DistributedDataParallel would: a
process whose memory is too small can then do its share again in parts while the others wait.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Value = TypeVar("Value")
BUCKET = 1 << 25
"""Numbers sent at a time: fewer and larger messages."""


class Alone:
    """One process: everything is its own."""

    rank, count = 0, 1

    def share(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """This process's part of a batch, maybe none."""
        return rows

    def total(self, value: float) -> float:
        """The sum over all processes, the same in each."""
        return value

    def add_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Replaces each gradient by the sum over all processes."""

    def agreed(self, value: Value) -> Value:
        """The main process's value, in each."""
        return value

    def gathered(self, value: Value) -> list[Value]:
        """Each process's value, by rank."""
        return [value]

    def main_does(self, work: Callable[[], Value]) -> Value:
        """What the main process gets from `work`, which the others wait for."""
        return work()


class Several(Alone):
    """Processes that `accelerate` brings together. Values that are sent must be picklable; they stay among these."""

    def __init__(self) -> None:
        from accelerate import PartialState  # type: ignore[import-untyped]  # seconds that one process need not spend

        state = PartialState(cpu=not torch.cuda.is_available())
        self.rank, self.count, self._device = state.process_index, state.num_processes, state.device

    def share(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return rows[self.rank :: self.count]

    def total(self, value: float) -> float:
        return float(self._sum(torch.tensor([value], dtype=torch.float64, device=self._device))[0])

    def add_gradients(self, parameters: Sequence[Tensor]) -> None:
        for part in _buckets(parameters):
            summed = self._sum(torch.cat([_gradient(one).reshape(-1) for one in part]))
            for one, values in zip(part, summed.split([one.numel() for one in part]), strict=True):
                one.grad = values.view_as(one).clone()

    def agreed(self, value: Value) -> Value:
        from accelerate.utils import broadcast_object_list  # type: ignore[import-untyped]

        sent: list[Any] = [value]
        broadcast_object_list(sent)
        return sent[0]  # type: ignore[no-any-return]

    def gathered(self, value: Value) -> list[Value]:
        from accelerate.utils import gather_object

        return list(gather_object([value]))

    def main_does(self, work: Callable[[], Value]) -> Value:
        return self.agreed(work() if self.rank == 0 else None)  # type: ignore[return-value]

    @staticmethod
    def _sum(values: Tensor) -> Tensor:
        from accelerate.utils import reduce

        return reduce(values, reduction="sum")  # type: ignore[no-any-return]


def together() -> Alone:
    """This process and those that it was started with."""
    return Several() if int(os.environ.get("WORLD_SIZE", "1")) > 1 else Alone()


def _gradient(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _buckets(parameters: Sequence[Tensor]) -> list[list[Tensor]]:
    buckets: list[list[Tensor]] = []
    room = 0
    for parameter in parameters:
        if parameter.numel() > room:
            buckets.append([])
            room = BUCKET
        buckets[-1].append(parameter)
        room -= parameter.numel()
    return buckets
