"""The training loop: AdamW on cross entropy, a warm-up and a linear fall, batches of similar length."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from engine.classifiers.hardware import arithmetic
from engine.classifiers.layer_cache import Forward
from engine.classifiers.network import Network
from engine.classifiers.recipe import Recipe
from engine.classifiers.threads import threads
from engine.classifiers.tokens import shuffled_batches
from engine.errors import BadInput


class Fitted(NamedTuple):
    """What the loop did."""

    steps: int
    loss: float
    """Mean cross entropy over the last epoch."""
    examples_per_second: float


def fit(
    network: Network,
    forward: Forward,
    labels: NDArray[np.int64],
    lengths: NDArray[np.int64],
    order: NDArray[np.int64],
    recipe: Recipe,
    step: Callable[[int], None],
) -> Fitted:
    """Train what requires gradients, for `recipe.epochs` passes over `order`, rows of the examples (repeats allowed).

    `labels` (0 or 1) and `lengths` are of all examples, shape (n,); `step(b)` is called after each batch of b.
    Raises BadInput if the loss stops being a number.
    """
    rng = np.random.default_rng([recipe.seed, 2])
    batches = [
        [order[rows] for rows in shuffled_batches(lengths[order], recipe.batch_size, rng)] for _ in range(recipe.epochs)
    ]
    optimizer = _optimizer(network, recipe)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _rate(sum(map(len, batches)), recipe.warmup))
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    started, losses = time.monotonic(), np.zeros(0)
    for epoch in batches:
        losses = np.empty(len(epoch))
        for at, rows in enumerate(epoch):
            with arithmetic(recipe.precision):
                logits = forward(rows)
            target = torch.from_numpy(labels[rows]).to(logits.device)
            loss = nn.functional.cross_entropy(logits, target)
            losses[at] = loss.item()
            if not np.isfinite(losses[at]):
                raise BadInput(f"training diverged at {recipe.learning_rate}; use less", where="learning_rate")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, recipe.max_grad_norm)
            optimizer.step()
            schedule.step()
            step(len(rows))
    seconds = time.monotonic() - started
    sizes = np.array([len(rows) for rows in batches[-1]])
    return Fitted(
        sum(map(len, batches)), float(np.average(losses, weights=sizes)), recipe.epochs * len(order) / seconds
    )


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """Torch's chance seeded and its threads set for a while; both are put back as they were."""
    before = torch.get_num_threads()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.set_num_threads(threads())
        try:
            yield
        finally:
            torch.set_num_threads(before)


def _optimizer(network: Network, recipe: Recipe) -> torch.optim.Optimizer:
    head_rate = recipe.head_learning_rate or recipe.learning_rate
    groups = []
    for module, rate in ((network.encoder, recipe.learning_rate), (network.head, head_rate)):
        learning = [p for p in module.parameters() if p.requires_grad]
        matrices = [p for p in learning if p.ndim > 1]
        vectors = [p for p in learning if p.ndim <= 1]
        groups.append({"params": matrices, "lr": rate, "weight_decay": recipe.weight_decay})
        groups.append({"params": vectors, "lr": rate, "weight_decay": 0.0})
    return torch.optim.AdamW([group for group in groups if group["params"]], fused=True)


def _rate(steps: int, warmup: float) -> Callable[[int], float]:
    rising = round(steps * warmup)

    def at(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        return (steps - step) / max(1, steps - rising)

    return at
