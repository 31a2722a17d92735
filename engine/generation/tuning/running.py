"""Tuning a generator: a folder of stories and a recipe in, a folder that `causal_lm` loads out."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import transformers
from transformers.utils.logging import disable_progress_bar

from engine.classifiers.fitting import reproducible
from engine.classifiers.hardware import device, out_of_memory
from engine.environment import environment
from engine.errors import OutOfMemory
from engine.generation.tuning.blocks import Blocks, blocks_of
from engine.generation.tuning.checkpoints import Keeper, State, alone_in
from engine.generation.tuning.fitting import Losses, Report, adam, fit, steps_of, story_losses
from engine.generation.tuning.models import Beginning, beginning, weights_hash
from engine.generation.tuning.perplexity import perplexity
from engine.generation.tuning.reading import Divided, divided
from engine.generation.tuning.recipe import TuningRecipe
from engine.generation.tuning.results import RECIPE, RESULT, STORIES, TuningResult, fingerprint, finished
from engine.progress import Progress, silent


class _Data(NamedTuple):
    train: Blocks
    validation: Blocks
    measured: Blocks
    measured_on: str


class _Counter:
    """Counts blocks toward a total and says so."""

    def __init__(self, progress: Progress) -> None:
        self.done, self.total, self.progress = 0, 0, progress

    def step(self, blocks: int) -> None:
        self.done += blocks
        self.progress(min(self.done, self.total), self.total)

    def alive(self, *_: object) -> None:
        self.step(0)


def tune(
    stories: Path,
    recipe: TuningRecipe,
    *,
    out_dir: Path,
    checkpoints: Path | None = None,
    logs: Path | None = None,
    progress: Progress = silent,
) -> TuningResult:
    """Trains a causal LM on the stories below `stories` and puts it into `out_dir`, all at once at the end.

    Stories part into splits by their hash, as snippets do: those of the training split are trained on, those of
    validation decide when to stop, those of test tell the perplexity before and after; where one of these two splits
    has none, the other serves for both. With `checkpoints` a tuning that was killed goes on from there, to the same
    weights on the same machine; the folder is emptied at the end. Two of them on one folder wait for each other. `logs`
    gets TensorBoard's files. If `out_dir` already holds the result of the same recipe and stories, that is returned.
    `progress` counts blocks trained on. O(tokens x parameters). Raises BadInput for a folder without stories or with
    too few, a wrong base, blocks that it cannot read, a diverging loss, or a folder that holds something else;
    MissingModel for a base that cannot be loaded.
    """
    counter = _Counter(progress)
    found = divided(stories, recipe, progress=counter.alive)
    identity = fingerprint(recipe, found)
    with _own(checkpoints, out_dir) as folder, alone_in(folder, counter.alive), reproducible(recipe.seed):
        if (done := finished(out_dir, identity)) is not None:
            return done
        with _logged(logs) as report, _memory_told():
            result = _tune(found, recipe, identity, out_dir, Keeper(folder), counter, report)
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
        return result


def _tune(
    found: Divided, recipe: TuningRecipe, identity: str, out: Path, keeper: Keeper, counter: _Counter, report: Report
) -> TuningResult:
    begun = beginning(recipe, found.texts["train"])
    model = begun.model
    base = weights_hash(model)
    data = _data(found, begun, recipe, counter)
    torch.nn.Module.to(model, device())
    if recipe.recompute:
        model.gradient_checkpointing_enable()
    optimizer = adam(model, recipe)
    counter.total = _blocks(data.train, recipe)
    state = keeper.restore(identity, model, optimizer)
    if state is None:
        before = story_losses(model, data.measured, recipe, counter.alive)
        state = State(identity, before.nats.tolist())
    counter.step(state.blocks)
    fit(model, optimizer, data.train, data.validation, recipe, state, keeper, step=counter.step, report=report)
    if state.best_step == 0:
        model = beginning(recipe, found.texts["train"]).model
        torch.nn.Module.to(model, device())
    elif state.best_step != state.step:
        keeper.put_best(state.best_step, model)
    after = story_losses(model, data.measured, recipe, counter.alive)
    counter.step(counter.total - counter.done)
    result = _result(out, identity, base, found, data, recipe, state, after, model)
    _publish(result, recipe, found, begun._replace(model=model))
    return result


def _data(found: Divided, begun: Beginning, recipe: TuningRecipe, counter: _Counter) -> _Data:
    measured_on, chosen_on = ("test", "validation")
    if not found.texts["test"] or not found.texts["validation"]:
        measured_on = chosen_on = "test" if found.texts["test"] else "validation"

    def blocks(split: str) -> Blocks:
        texts = found.texts[split]  # type: ignore[index]
        return blocks_of(texts, begun.tokenizer, recipe.block_tokens, progress=counter.alive)

    return _Data(blocks("train"), blocks(chosen_on), blocks(measured_on), measured_on)


def _blocks(train: Blocks, recipe: TuningRecipe) -> int:
    """Blocks that all steps train on, about: the last batch of an epoch may be smaller."""
    most = steps_of(train, recipe) * recipe.batch_size * recipe.accumulate
    return most if recipe.steps else min(most, recipe.epochs * len(train.starts))


def _result(
    out: Path,
    identity: str,
    base: str,
    found: Divided,
    data: _Data,
    recipe: TuningRecipe,
    state: State,
    after: Losses,
    model: transformers.PreTrainedModel,
) -> TuningResult:
    before = np.asarray(state.before)
    return TuningResult(
        path=out,
        fingerprint=identity,
        base_sha256=base,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        stories=len(found.texts["train"]),
        tokens=int(data.train.lengths.sum()),
        steps=state.step,
        best_step=state.best_step,
        stopped_early=state.stopped,
        curve=tuple(state.curve),
        measured_on=data.measured_on,
        measured_stories=len(after.tokens),
        measured_tokens=int(after.tokens.sum()),
        before=perplexity(before, after.tokens).as_dict(),
        after=perplexity(after.nats, after.tokens).as_dict(),
        change=perplexity(after.nats - before, after.tokens).as_dict(),
        seconds=state.seconds,
        tokens_per_second=state.trained_tokens / max(state.training_seconds, 1e-9),
        environment=environment(),
    )


def _publish(result: TuningResult, recipe: TuningRecipe, found: Divided, made: Beginning) -> None:
    """Fills a folder beside the result's, then moves it there in one step; on failure nothing remains."""
    folder = result.path
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.partial-", dir=folder.parent))
    disable_progress_bar()
    try:
        partial.chmod(0o755)
        made.model.save_pretrained(partial)
        made.tokenizer.save_pretrained(partial)
        (partial / RECIPE).write_text(recipe.model_dump_json(indent=1))
        (partial / STORIES).write_text(json.dumps(found.hashes))
        (partial / RESULT).write_text(json.dumps(result.as_dict(), indent=1))
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _own(checkpoints: Path | None, out_dir: Path) -> Iterator[Path]:
    """Where checkpoints lie; a folder that goes at the end where none is named."""
    if checkpoints is not None:
        checkpoints.mkdir(parents=True, exist_ok=True)
        yield checkpoints
        return
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out_dir.name}.checkpoints-", dir=out_dir.parent) as folder:
        yield Path(folder)


@contextmanager
def _memory_told() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if not out_of_memory(error):
            raise
        how = "use a smaller batch_size with more to accumulate, shorter block_tokens, or recompute"
        raise OutOfMemory(f"memory ran out; {how}", permanent=True) from error


def _unheard(name: str, value: float, step: int) -> None:
    """Nobody asked for logs."""


@contextmanager
def _logged(logs: Path | None) -> Iterator[Callable[[str, float, int], None]]:
    if logs is None:
        yield _unheard
        return
    from torch.utils.tensorboard import SummaryWriter  # seconds to import, and wanted by few

    with SummaryWriter(str(logs)) as writer:
        yield lambda name, value, step: writer.add_scalar(name.replace(" ", "_"), value, step)
