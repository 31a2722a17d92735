"""The training's curve: kept in its result, and shown by TensorBoard where a folder for it is given."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.classifiers.artifact import Point

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class Curve:
    """Gathers losses into points. A context: TensorBoard's file is closed at its end."""

    def __init__(self, logs: Path | None) -> None:
        self.points: list[Point] = []
        self.examples = 0
        self._epoch = -1
        self._sums = {"point": _Mean(), "epoch": _Mean()}
        self._logs = logs
        self._writer: SummaryWriter | None = None

    @property
    def epoch_loss(self) -> float:
        """Mean loss over the examples of this epoch so far."""
        return self._sums["epoch"].value

    def add(self, epoch: int, loss: float, examples: int) -> None:
        """A step's mean loss."""
        if epoch != self._epoch:
            self._epoch, self._sums["epoch"] = epoch, _Mean()
        for mean in self._sums.values():
            mean.add(loss, examples)
        self.examples += examples

    def mark(self, step: int, validation: float | None, rate: float) -> None:
        """A point after this step; `rate` is its learning rate."""
        point = Point(step, self.examples, self._sums["point"].value, validation)
        self._sums["point"] = _Mean()
        self.points.append(point)
        if writer := self._open():
            writer.add_scalar("loss/training", point.training_loss, step)
            writer.add_scalar("learning_rate", rate, step)
            if validation is not None:
                writer.add_scalar("loss/validation", validation, step)
            writer.flush()

    def plain(self) -> dict[str, Any]:
        """As JSON has it, for a checkpoint; floats are kept to the bit."""
        return {
            "points": [list(point) for point in self.points],
            "examples": self.examples,
            "epoch": self._epoch,
            "sums": {name: [mean.total, mean.count] for name, mean in self._sums.items()},
        }

    def restore(self, plain: dict[str, Any]) -> None:
        """The opposite of `plain`."""
        self.points = [Point(*values) for values in plain["points"]]
        self.examples, self._epoch = plain["examples"], plain["epoch"]
        self._sums = {name: _Mean(*values) for name, values in plain["sums"].items()}

    def __enter__(self) -> Curve:
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer:
            self._writer.close()

    def _open(self) -> SummaryWriter | None:
        if self._logs and not self._writer:
            from torch.utils.tensorboard import SummaryWriter  # a second that other trainings need not spend

            # What a killed run wrote beyond its checkpoint is hidden by its second coming.
            self._writer = SummaryWriter(str(self._logs), purge_step=self.points[-1].step)
        return self._writer


class _Mean:
    def __init__(self, total: float = 0.0, count: int = 0) -> None:
        self.total, self.count = total, count

    def add(self, value: float, count: int) -> None:
        self.total += value * count
        self.count += count

    @property
    def value(self) -> float:
        return self.total / self.count if self.count else math.nan
