"""The tuning loop: AdamW on the likelihood of the next token, early stop on held-out stories, checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedModel

from engine.classifiers.hardware import arithmetic
from engine.classifiers.tokens import batches_by_budget, shuffled_batches
from engine.errors import BadInput
from engine.generation.chance import child_seed
from engine.generation.tuning.blocks import IGNORED, Batch, Blocks
from engine.generation.tuning.checkpoints import Keeper, State
from engine.generation.tuning.recipe import TuningRecipe
from engine.generation.tuning.results import Point

CHECKPOINT_SECONDS = 60.0
"""Between checkpoints; longer where writing one takes long. There is one at every evaluation in any case."""
_WRITING_SHARE = 0.05
Report = Callable[[str, float, int], None]
"""`report(name, value, step)`: for logs."""


class Losses(NamedTuple):
    """Summed negative log-likelihood of each story, in nats, and the tokens it sums over; both (stories,)."""

    nats: NDArray[np.float64]
    tokens: NDArray[np.int64]


def fit(
    model: PreTrainedModel,
    optimizer: torch.optim.Optimizer,
    blocks: Blocks,
    validation: Blocks,
    recipe: TuningRecipe,
    state: State,
    keeper: Keeper,
    *,
    step: Callable[[int], None],
    report: Report,
) -> None:
    """Trains on from `state`, which it moves along, until the last step or the early stop; the best weights are kept.

    What a step does follows from the recipe and its number alone, so that a training that goes on from a checkpoint
    ends with the same weights. `step(b)` is called after each batch of b blocks. Raises BadInput where a loss stops
    being a number.
    """
    total = steps_of(blocks, recipe)
    due = evaluations_of(total, recipe)
    if not state.curve:
        _judge(model, validation, recipe, state, step)
    began, saved, cost = time.monotonic() - state.seconds, time.monotonic(), 0.0
    for number, batches in _from(state.step, blocks, recipe, total):
        if state.stopped:
            break
        _rate(optimizer, recipe, number, total)
        _one_step(model, optimizer, blocks, batches, recipe, state, step)
        report("training loss", state.loss_sum / state.loss_tokens, state.step)
        report("learning rate", optimizer.param_groups[0]["lr"], state.step)
        evaluated = state.step in due
        if evaluated and _judge(model, validation, recipe, state, step):
            keeper.save_best(state.step, model)
        if evaluated:
            report("validation loss", state.curve[-1].validation_loss, state.step)
        if evaluated or time.monotonic() - saved > max(CHECKPOINT_SECONDS, cost / _WRITING_SHARE):
            writing = time.monotonic()
            state.seconds = writing - began
            keeper.save(state, model, optimizer)
            saved = time.monotonic()
            cost = saved - writing
    state.seconds = time.monotonic() - began


def steps_of(blocks: Blocks, recipe: TuningRecipe) -> int:
    """Steps of the optimizer that the recipe asks for."""
    each = math.ceil(math.ceil(len(blocks.starts) / recipe.batch_size) / recipe.accumulate)
    return recipe.steps or recipe.epochs * each


def evaluations_of(total: int, recipe: TuningRecipe) -> frozenset[int]:
    """The steps after which the validation loss is taken; the last is one of them."""
    return frozenset(math.ceil(total * k / recipe.evaluations) for k in range(1, recipe.evaluations + 1))


def adam(model: PreTrainedModel, recipe: TuningRecipe) -> torch.optim.Optimizer:
    """AdamW over all parameters; what has one dimension is not decayed."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=recipe.learning_rate, fused=True)


def story_losses(model: PreTrainedModel, blocks: Blocks, recipe: TuningRecipe, tick: Callable[[], None]) -> Losses:
    """Of every story of `blocks`, by the model as it is. O(tokens); a tick a batch."""
    stories = int(blocks.story[-1]) + 1
    nats, tokens = np.zeros(stories), np.zeros(stories, dtype=np.int64)
    torch.nn.Module.eval(model)
    for rows in batches_by_budget(blocks.lengths, recipe.batch_size * recipe.block_tokens):
        with torch.inference_mode():
            found = _token_losses(model, blocks.batch(rows), recipe).sum(1).double().cpu().numpy()
        np.add.at(nats, blocks.story[rows], found)
        np.add.at(tokens, blocks.story[rows], blocks.lengths[rows])
        tick()
    return Losses(nats, tokens)


def _judge(
    model: PreTrainedModel, validation: Blocks, recipe: TuningRecipe, state: State, step: Callable[[int], None]
) -> bool:
    """Takes the validation loss, notes it on the curve and decides whether to stop. Whether it is the best so far."""
    losses = story_losses(model, validation, recipe, lambda: step(0))
    loss = float(losses.nats.sum() / losses.tokens.sum())
    if not math.isfinite(loss):
        raise _diverged(recipe)
    training = state.loss_sum / state.loss_tokens if state.loss_tokens else None
    state.curve.append(Point(state.step, state.blocks, training, loss))
    state.loss_sum, state.loss_tokens = 0.0, 0
    best = loss < state.best_loss
    state.without_gain = 0 if best else state.without_gain + 1
    if best:
        state.best_step, state.best_loss = state.step, loss
    state.stopped = recipe.patience is not None and state.without_gain >= recipe.patience
    return best


def _from(done: int, blocks: Blocks, recipe: TuningRecipe, total: int) -> Iterator[tuple[int, list[NDArray[np.int64]]]]:
    """Number and batches of each step from `done` on."""
    number = epoch = 0
    while number < total:
        order = np.random.default_rng([recipe.seed, 2, epoch])
        batches = shuffled_batches(blocks.lengths, recipe.batch_size, order)
        for start in range(0, len(batches), recipe.accumulate):
            if number >= total:
                return
            if number >= done:
                yield number, batches[start : start + recipe.accumulate]
            number += 1
        epoch += 1


def _rate(optimizer: torch.optim.Optimizer, recipe: TuningRecipe, number: int, total: int) -> None:
    rising = round(total * recipe.warmup)
    share = (number + 1) / rising if number < rising else (total - number) / max(1, total - rising)
    for group in optimizer.param_groups:
        group["lr"] = recipe.learning_rate * share


def _one_step(
    model: PreTrainedModel,
    optimizer: torch.optim.Optimizer,
    blocks: Blocks,
    batches: list[NDArray[np.int64]],
    recipe: TuningRecipe,
    state: State,
    step: Callable[[int], None],
) -> None:
    began = time.monotonic()
    torch.nn.Module.train(model)
    torch.manual_seed(child_seed(recipe.seed, "tuning", state.step))  # dropout
    tokens = int(sum(blocks.lengths[rows].sum() for rows in batches))
    loss = 0.0
    for rows in batches:
        # Every token of the step weighs the same, however it is cut into batches.
        mean = _token_losses(model, blocks.batch(rows), recipe).sum() / tokens
        mean.backward()
        loss += float(mean.item())
        state.blocks += len(rows)
        step(len(rows))
    if not math.isfinite(loss):
        raise _diverged(recipe)
    nn.utils.clip_grad_norm_(model.parameters(), recipe.max_grad_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    state.step += 1
    state.loss_sum += loss * tokens
    state.loss_tokens += tokens
    state.trained_tokens += tokens
    state.training_seconds += time.monotonic() - began


def _token_losses(model: PreTrainedModel, batch: Batch, recipe: TuningRecipe) -> torch.Tensor:
    """(b, t) negative log-likelihood of each target in fp32, 0 where there is none."""
    ids, targets = (torch.from_numpy(part).to(model.device) for part in (batch.ids, batch.targets))
    mask = None if batch.mask.all() else torch.from_numpy(batch.mask).to(model.device)
    with arithmetic(recipe.precision):
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    return nn.functional.cross_entropy(logits.float().transpose(1, 2), targets, ignore_index=IGNORED, reduction="none")


def _diverged(recipe: TuningRecipe) -> BadInput:
    return BadInput(f"training diverged at {recipe.learning_rate}; use less", where="learning_rate")
