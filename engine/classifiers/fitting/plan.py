"""What a training will do, known before it starts: which rows each step takes, at which rate, and when it looks up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.classifiers.recipe import Recipe
from engine.classifiers.tokens import shuffled_batches

POINTS_PER_EPOCH = 10
"""Of the curve, in epochs of as many steps."""


class Step(NamedTuple):
    """One step of the optimiser."""

    epoch: int
    batches: Sequence[NDArray[np.int64]]
    """Rows of the examples; the gradients of all batches make the step."""
    rate: float
    """Share of the full learning rate."""
    point: bool
    """Whether the curve has a point after it."""
    evaluated: bool
    """Whether the validation examples are scored after it."""

    @property
    def size(self) -> int:
        """Examples in all batches."""
        return sum(map(len, self.batches))


def plan(lengths: NDArray[np.int64], order: NDArray[np.int64], recipe: Recipe) -> list[Step]:
    """All steps: `recipe.epochs` passes over `order`, rows of the examples (repeats allowed), by `recipe.seed`.

    `lengths` are the tokens of each example. O(epochs n log n).
    """
    rng = np.random.default_rng([recipe.seed, 2])
    epochs = [_epoch(lengths, order, recipe, rng) for _ in range(recipe.epochs)]
    total, steps = sum(map(len, epochs)), list[Step]()
    for number, epoch in enumerate(epochs):
        marks = {round(len(epoch) * part / POINTS_PER_EPOCH) for part in range(1, POINTS_PER_EPOCH + 1)}
        for at, batches in enumerate(epoch, start=1):
            evaluated = _evaluated(len(steps) + 1, ends=at == len(epoch), last=len(steps) + 1 == total, recipe=recipe)
            rate = _rate(len(steps), total, recipe.warmup)
            steps.append(Step(number, batches, rate, evaluated or at in marks, evaluated))
    return steps


def _epoch(
    lengths: NDArray[np.int64], order: NDArray[np.int64], recipe: Recipe, rng: np.random.Generator
) -> list[list[NDArray[np.int64]]]:
    batches = [order[rows] for rows in shuffled_batches(lengths[order], recipe.batch_size, rng)]
    return [batches[at : at + recipe.accumulate] for at in range(0, len(batches), recipe.accumulate)]


def _evaluated(number: int, *, ends: bool, last: bool, recipe: Recipe) -> bool:
    every = recipe.early_stop and recipe.early_stop.every
    return last or (number % every == 0 if every else ends)


def _rate(step: int, steps: int, warmup: float) -> float:
    """Climbs in a line to 1 over the warm-up, and falls in a line to nothing."""
    rising = round(steps * warmup)
    if step < rising:
        return (step + 1) / rising
    return (steps - step) / max(1, steps - rising)
