"""The training loop: batches of similar length, gradients, a step; a look at the validation set; a checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.classifiers.artifact import Point
from engine.classifiers.fitting import checkpoints
from engine.classifiers.fitting.chance import chance_now, restore_chance
from engine.classifiers.fitting.checkpoints import Checkpoints, Saved
from engine.classifiers.fitting.curve import Curve
from engine.classifiers.fitting.evaluation import Best, Validation, Watch
from engine.classifiers.fitting.gradients import Gradients
from engine.classifiers.fitting.optimizer import adamw, moments, restore_moments, set_rate
from engine.classifiers.fitting.plan import Step, plan
from engine.classifiers.fitting.sift import Perturbation
from engine.classifiers.layer_cache import Forward
from engine.classifiers.network import Network
from engine.classifiers.processes import Alone
from engine.classifiers.recipe import Recipe
from engine.errors import BadInput


class Data(NamedTuple):
    """What is trained on, and looked at."""

    labels: NDArray[np.int64]
    """0 or 1, (n,), of training and validation examples."""
    lengths: NDArray[np.int64]
    """Tokens, (n,)."""
    order: NDArray[np.int64]
    """Rows of one epoch, repeats allowed."""
    validation: NDArray[np.int64]
    """Rows of the validation examples, maybe none."""


class Surroundings(NamedTuple):
    """Where a training runs and what it leaves there."""

    processes: Alone
    checkpoints: Path | None
    logs: Path | None
    fingerprint: str
    step: Callable[[int], None]
    """Called with the number of examples that each step took, and with 0 in between."""


class Fitted(NamedTuple):
    """What the loop did."""

    steps: int
    loss: float
    """Mean loss over the last epoch."""
    examples_per_second: float
    curve: tuple[Point, ...]
    best_step: int | None
    halved: int
    notes: tuple[str, ...]


def fit(
    network: Network,
    forward: Forward,
    data: Data,
    recipe: Recipe,
    around: Surroundings,
    perturbation: Perturbation | None = None,
) -> Fitted:
    """Train what requires gradients, as `recipe` says; `perturbation` is for SiFT.

    Goes on from the newest checkpoint that is whole, to the bit. Raises BadInput if the loss stops being a number,
    OutOfMemory if one example does not fit.
    """
    with Curve(around.logs if around.processes.rank == 0 else None) as curve:
        return _Fit(network, forward, data, recipe, around, perturbation, curve).run()


class _Fit:
    """One training and all that it holds between two steps."""

    def __init__(
        self,
        network: Network,
        forward: Forward,
        data: Data,
        recipe: Recipe,
        around: Surroundings,
        perturbation: Perturbation | None,
        curve: Curve,
    ) -> None:
        self.recipe, self.around, self.curve = recipe, around, curve
        self.optimizer = adamw(network, recipe)
        self.named = [(name, one) for name, one in network.named_parameters() if one.requires_grad]
        self.parameters = [one for group in self.optimizer.param_groups for one in group["params"]]
        self.steps = plan(data.lengths, data.order, recipe)
        processes = around.processes
        self.gradients = Gradients(forward, data.labels, data.lengths, self.parameters, recipe, processes, perturbation)
        self.validation = Validation(network, forward, data.labels, data.lengths, data.validation, recipe, processes)
        self.watch = Watch(recipe.early_stop, self.named) if recipe.early_stop else None
        self.checkpoints = Checkpoints(around.checkpoints, around.fingerprint)
        self.halved = 0
        """By runs that were killed."""

    def run(self) -> Fitted:
        at = self._resume()
        self.around.step(self.curve.examples)
        first, before = at, self.curve.examples
        seconds = 0.0
        while at < len(self.steps):
            step = self.steps[at]
            started = time.monotonic()
            self._train(step, at)
            seconds += time.monotonic() - started
            at += 1
            self.around.step(step.size)
            if step.point and self._stops(step, at):
                break
            if self.around.checkpoints and self.around.processes.agreed(self.checkpoints.due()):
                self._save(at)
        return self._fitted(at, (self.curve.examples - before) / seconds if at > first else 0.0)

    def _train(self, step: Step, at: int) -> None:
        set_rate(self.optimizer, step.rate)
        loss = self.gradients(step.batches)
        self._must_be_number(loss, "loss", at + 1, step)
        nn.utils.clip_grad_norm_(self.parameters, self.recipe.max_grad_norm)
        self.optimizer.step()
        self.curve.add(step.epoch, loss, step.size)

    def _stops(self, step: Step, at: int) -> bool:
        """Marks the curve's point, after the validation examples where it is their turn; whether this is the end."""
        value = self.validation(lambda: self.around.step(0)) if step.evaluated else None
        self.curve.mark(at, value, self.recipe.learning_rate * step.rate)
        if value is None:
            return False
        self._must_be_number(value, "validation loss", at, step)
        return self.watch is not None and self.watch.stops(value, at)

    def _must_be_number(self, loss: float, what: str, number: int, step: Step) -> None:
        if not np.isfinite(loss):
            raise BadInput(
                f"training diverged: the {what} is {loss} at step {number} of {len(self.steps)}, where the rate is "
                f"{self.recipe.learning_rate * step.rate:.3g}; use less than {self.recipe.learning_rate:g}",
                where="learning_rate",
            )

    def _fitted(self, at: int, speed: float) -> Fitted:
        self.around.step(sum(step.size for step in self.steps[at:]))  # what an early stop leaves out
        halved = self.halved + round(self.around.processes.total(self.gradients.halved))
        notes = list(self.checkpoints.notes)
        best = self.watch.restore() if self.watch else None
        if at < len(self.steps):
            notes.append(f"stopped after {at} of {len(self.steps)} steps; the weights are those of step {best}")
        if halved:
            notes.append(f"memory was too small for {halved} batches, which went in parts")
        return Fitted(at, self.curve.epoch_loss, speed, tuple(self.curve.points), best, halved, tuple(notes))

    def _save(self, at: int) -> None:
        chance = self.around.processes.gathered(chance_now())
        halved = round(self.around.processes.total(self.gradients.halved))
        if self.around.processes.rank:
            return
        tensors = _prefixed("parameter", dict(self.named)) | _prefixed("optimizer", moments(self.optimizer))
        for rank, states in enumerate(chance):
            tensors |= _prefixed(f"chance.{rank}", states)
        values: dict[str, Any] = {
            "curve": self.curve.plain(),
            "room": self.gradients.room,
            "halved": self.halved + halved,
            "processes": self.around.processes.count,
        }
        if self.watch and self.watch.best:
            tensors |= _prefixed("best", self.watch.best.weights)
            values |= {"best": [self.watch.best.loss, self.watch.best.step], "waited": self.watch.waited}
        self.checkpoints.save(Saved(at, tensors, values))

    def _resume(self) -> int:
        """The step to begin with."""
        processes = self.around.processes
        file = processes.main_does(self.checkpoints.newest)
        if file is None:
            return 0
        saved = checkpoints.read(file, self.around.fingerprint)
        with torch.no_grad():
            for name, parameter in self.named:
                parameter.copy_(saved.tensors[f"parameter.{name}"])
        restore_moments(self.optimizer, _under("optimizer", saved.tensors))
        self.curve.restore(saved.values["curve"])
        self.gradients.room, self.halved = saved.values["room"], saved.values["halved"]
        if self.watch and "best" in saved.values:
            loss, step = saved.values["best"]
            self.watch.best = Best(loss, step, _under("best", saved.tensors))
            self.watch.waited = saved.values["waited"]
        if saved.values["processes"] == processes.count:
            restore_chance(_under(f"chance.{processes.rank}", saved.tensors))
        else:
            self.checkpoints.notes.append("the number of processes changed, so dropout is drawn anew from there on")
        return saved.step


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": value for name, value in tensors.items()}


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(f"{prefix}."): value for name, value in tensors.items() if name.startswith(f"{prefix}.")}
