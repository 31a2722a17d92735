"""Training a classifier: examples and a recipe in, a folder that `load` reads out."""

from __future__ import annotations

import errno
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedTokenizerFast

from engine.classifiers import artifact
from engine.classifiers.artifact import TrainingResult
from engine.classifiers.base import Example
from engine.classifiers.encoders import load_encoder, load_tokenizer
from engine.classifiers.fitting import Data, Fitted, Surroundings, fit, reproducible
from engine.classifiers.fitting.checkpoints import Checkpoints
from engine.classifiers.fitting.sift import perturbable
from engine.classifiers.hardware import device, out_of_memory
from engine.classifiers.int8_export import Int8Check, write_int8
from engine.classifiers.layer_cache import forward_of, keeps
from engine.classifiers.network import Network
from engine.classifiers.processes import together
from engine.classifiers.recipe import Recipe
from engine.classifiers.suiting import suits
from engine.classifiers.tokens import PairTokenizer
from engine.classifiers.trainable import checked
from engine.classifiers.upsampling import upsample
from engine.errors import OutOfMemory
from engine.progress import Progress, silent


class _Counter:
    """Counts examples toward a total and says so."""

    def __init__(self, total: int, progress: Progress) -> None:
        self.done, self.total, self.progress = 0, total, progress

    def step(self, examples: int) -> None:
        self.done += examples
        self.progress(self.done, self.total)


class _Trained(NamedTuple):
    network: Network
    tokenizer: PairTokenizer
    files: PreTrainedTokenizerFast
    upsampled: int
    fitted: Fitted


def train(
    examples: Sequence[Example],
    recipe: Recipe,
    *,
    out_dir: Path,
    validation: Sequence[Example] = (),
    checkpoints: Path | None = None,
    logs: Path | None = None,
    progress: Progress = silent,
) -> TrainingResult:
    """Fine-tune `recipe.encoder` on `examples` and put the classifier into `out_dir`, all at once at the end.

    Deterministic on the CPU of one machine with one number of threads. If `out_dir` already holds the result of the
    same recipe and examples, that is returned and nothing is done. `validation` examples are scored now and then, for
    the curve and for an early stop. `checkpoints` is a folder of this training's own: a training that was killed goes
    on from there, to the same weights; it is emptied at the end. `logs` is a folder for TensorBoard. Progress counts
    examples cached and trained on, and stands at its end while the int8 graph is written and checked.

    Processes that `accelerate launch` started train together, and the main one writes; folders are on a disk that all
    of them see. Raises BadInput for no examples, a single class, a folder that holds something else, or a diverging
    loss; MissingModel for an encoder that cannot be loaded; OutOfMemory.
    """
    notes = checked(examples, recipe, validation, out_dir=out_dir, others=(checkpoints, logs))
    identity = artifact.fingerprint(examples, recipe, validation)
    if (done := artifact.finished(out_dir, identity)) is not None:
        Checkpoints(checkpoints, identity).clear()  # a kill between publishing and clearing left them
        return done
    started = time.monotonic()
    processes = together()
    counter = _Counter(0, progress if processes.rank == 0 else silent)
    around = Surroundings(processes, checkpoints, logs, identity, counter.step)

    def write(folder: Path) -> TrainingResult:
        check = _write(folder, trained, examples, recipe, counter)
        fitted = trained.fitted
        return TrainingResult(
            folder, identity, len(examples), sum(example.positive for example in examples), trained.upsampled,
            fitted.steps, fitted.loss, time.monotonic() - started, fitted.examples_per_second, *check,
            curve=fitted.curve, best_step=fitted.best_step, halved=fitted.halved, notes=(*notes, *fitted.notes),
        )  # fmt: skip

    try:
        with reproducible(recipe.seed):
            trained = _train(examples, validation, recipe, around, counter)
            result = processes.main_does(lambda: artifact.publish(out_dir, write))
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise OutOfMemory(f"memory ran out ({str(error).partition(chr(10))[0] or type(error).__name__})") from error
    if processes.rank == 0:
        Checkpoints(checkpoints, identity).clear()
    return result


def _train(
    examples: Sequence[Example], validation: Sequence[Example], recipe: Recipe, around: Surroundings, counter: _Counter
) -> _Trained:
    network, files = _untrained(recipe)
    pad_id = network.encoder.config.pad_token_id or 0
    tokenizer = PairTokenizer(files.backend_tokenizer, max_tokens=recipe.max_tokens, pad_id=pad_id)
    both = [*examples, *validation]
    tokens = tokenizer.encode([example.snippet for example in both])
    labels = np.array([example.positive for example in both], dtype=np.int64)
    order = upsample(labels[: len(examples)] == 1, cap=recipe.upsample_cap, seed=recipe.seed)
    data = Data(labels, tokens.lengths, order, np.arange(len(examples), len(both)))
    counter.total = (len(both) if keeps(network, tokens, recipe) else 0) + recipe.epochs * len(order)
    if around.processes.rank:
        torch.manual_seed(int(np.random.default_rng([recipe.seed, 3, around.processes.rank]).integers(1 << 62)))
    with (
        forward_of(network, tokens, recipe, pad_id=pad_id, step=counter.step) as forward,
        perturbable(network) if recipe.sift else nullcontext() as perturbation,
    ):
        fitted = fit(network, forward, data, recipe, around, perturbation)
    return _Trained(network, tokenizer, files, len(order), fitted)


def _untrained(recipe: Recipe) -> tuple[Network, PreTrainedTokenizerFast]:
    files = load_tokenizer(recipe.encoder)
    encoder = load_encoder(recipe.encoder)
    suits(encoder, files, recipe)
    if recipe.hidden_dropout is not None:
        for module in encoder.modules():
            if isinstance(module, nn.Dropout):
                module.p = recipe.hidden_dropout
    return Network(encoder, dropout=recipe.dropout, seed=recipe.seed).to(device()), files


def _write(
    folder: Path, trained: _Trained, examples: Sequence[Example], recipe: Recipe, counter: _Counter
) -> Int8Check:
    network = trained.network.eval()
    try:
        save_file({name: value.contiguous() for name, value in network.state_dict().items()}, folder / artifact.WEIGHTS)
    except SafetensorError as error:  # its own name for what the system said
        raise OSError(errno.EIO, f"the weights could not be written ({error})", str(folder.parent)) from error
    network.encoder.config.save_pretrained(folder)
    trained.files.save_pretrained(folder)
    (folder / artifact.RECIPE).write_text(recipe.model_dump_json(indent=1))
    artifact.present(folder, artifact.TOKENIZER)
    if not recipe.export_int8:
        return Int8Check(0, 0.0, 0.0, 0.0)
    return write_int8(network, trained.tokenizer, examples, folder / artifact.INT8, alive=lambda: counter.step(0))
