"""Training only the top layers: what lies below them is computed once for each example and kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.classifiers.hardware import arithmetic
from engine.classifiers.network import Network, freeze_below, hidden_below, top_only
from engine.classifiers.recipe import Recipe
from engine.classifiers.tokens import Tokens, batches_by_budget
from engine.errors import BadInput

CACHE_BYTES = 2 << 30
"""A larger cache is not built: the frozen layers then run again at every step."""
BUDGET = 4096
"""Padded tokens computed at a time."""

Forward = Callable[[NDArray[np.int64]], Tensor]
"""From rows of the training examples to class logits, shape (b, 2)."""


def on_device(batch: tuple[NDArray[np.int64], ...], device: torch.device) -> list[Tensor]:
    """Arrays as tensors where the network is."""
    return [torch.from_numpy(part).to(device) for part in batch]


@contextmanager
def forward_of(
    network: Network, tokens: Tokens, recipe: Recipe, *, pad_id: int, step: Callable[[int], None]
) -> Iterator[Forward]:
    """A forward pass over rows of `tokens`, the cheapest that trains what is to be trained.

    `step(n)` is called when n examples went into the cache: n examples in all, or none where there is no cache.
    """
    device, trainable = network.head.weight.device, recipe.trainable_layers

    def whole(rows: NDArray[np.int64]) -> Tensor:
        return network(*on_device(tokens.batch(rows, pad_id), device))  # type: ignore[no-any-return]

    if trainable is None:
        network.train()
        yield whole
        return
    freeze_below(network, trainable)
    if not keeps(network, tokens, recipe):
        network.train_top(trainable)
        yield whole
        return
    with arithmetic(recipe.precision):
        cache = _build(network, tokens, trainable, pad_id, step)
    first = np.arange(min(8, len(tokens.lengths)))
    expected = _answer(network, whole, first)
    with top_only(network, trainable) as injection:

        def top(rows: NDArray[np.int64]) -> Tensor:
            injection.hidden = _gather(cache, tokens, rows, device)
            return whole(rows)

        if not torch.allclose(_answer(network, top, first), expected, atol=0.02, rtol=0.02):
            raise BadInput("the layers of this encoder cannot be run on their own; use null", where="trainable_layers")
        network.train_top(trainable)
        yield top


def keeps(network: Network, tokens: Tokens, recipe: Recipe) -> bool:
    """Whether frozen layers run once only: there are some, and all tokens' hidden states fit CACHE_BYTES in fp16.

    Not with SiFT, which moves the embeddings below them at every step.
    """
    if recipe.trainable_layers is None or recipe.sift is not None:
        return False
    return len(tokens.ids) * int(network.head.in_features) * 2 <= CACHE_BYTES


def _answer(network: Network, forward: Forward, rows: NDArray[np.int64]) -> Tensor:
    network.eval()
    with torch.no_grad():
        return forward(rows)


def _build(
    network: Network, tokens: Tokens, trainable: int, pad_id: int, step: Callable[[int], None]
) -> NDArray[np.float16]:
    network.eval()
    device = network.head.weight.device
    cache = np.empty((len(tokens.ids), network.head.in_features), dtype=np.float16)
    for rows in batches_by_budget(tokens.lengths, BUDGET):
        batch = tokens.batch(rows, pad_id)
        with torch.no_grad():
            hidden = hidden_below(network, trainable, *on_device(batch, device)).half().cpu().numpy()
        for row, states in zip(rows, hidden, strict=True):
            start, end = tokens.starts[row], tokens.starts[row + 1]
            cache[start:end] = states[: end - start]
        step(len(rows))
    return cache


def _gather(cache: NDArray[np.float16], tokens: Tokens, rows: NDArray[np.int64], device: torch.device) -> Tensor:
    lengths = tokens.lengths[rows]
    hidden = np.zeros((len(rows), int(lengths.max()), cache.shape[1]), dtype=np.float32)
    for place, row in enumerate(rows):
        hidden[place, : lengths[place]] = cache[tokens.starts[row] : tokens.starts[row + 1]]
    return torch.from_numpy(hidden).to(device)
