"""Checkpoints of a tuning: safetensors and JSON, each written whole or not at all, so that it goes on after a kill."""

from __future__ import annotations

import fcntl
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from engine.errors import BadInput
from engine.generation.tuning.results import Point

MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"


@dataclass
class State:
    """Where a tuning stands, beside its weights."""

    fingerprint: str
    before: list[float]
    """Of each measured story, by the model that it began with."""
    step: int = 0
    blocks: int = 0
    loss_sum: float = 0.0
    """Of the training loss since the evaluation before, in nats, over `loss_tokens`."""
    loss_tokens: int = 0
    best_step: int = 0
    best_loss: float = float("inf")
    without_gain: int = 0
    """Evaluations in a row."""
    stopped: bool = False
    trained_tokens: int = 0
    training_seconds: float = 0.0
    seconds: float = 0.0
    curve: list[Point] = field(default_factory=list)


@dataclass(frozen=True)
class Keeper:
    """The newest checkpoint of a tuning, and the best weights so far, in one folder."""

    folder: Path

    def save(self, state: State, model: PreTrainedModel, optimizer: torch.optim.Optimizer) -> None:
        """Writes a checkpoint; older ones, and best weights that no checkpoint names, go."""
        with self._writing(f"step-{state.step:08d}") as partial:
            save_file(_weights(model), partial / MODEL)
            save_file(_moments(model, optimizer), partial / OPTIMIZER)
            (partial / STATE).write_text(json.dumps(asdict(state)))
        kept = {f"step-{state.step:08d}", f"best-{state.best_step:08d}"}
        for path in self.folder.iterdir():
            if path.is_dir() and path.name not in kept:
                shutil.rmtree(path, ignore_errors=True)

    def restore(self, fingerprint: str, model: PreTrainedModel, optimizer: torch.optim.Optimizer) -> State | None:
        """Puts the newest checkpoint of this tuning into the model and optimizer; None where there is none.

        Raises BadInput for one of another tuning, or one that is damaged.
        """
        found = sorted(self.folder.glob("step-*"))
        if not found:
            return None
        newest = found[-1]
        try:
            values = json.loads((newest / STATE).read_text())
            state = State(**{**values, "curve": [Point(*point) for point in values["curve"]]})
            if state.fingerprint != fingerprint:
                raise BadInput("holds checkpoints of another recipe or of other stories", where=str(self.folder))
            _put(model, load_file(newest / MODEL))
            _put_moments(model, optimizer, load_file(newest / OPTIMIZER))
        except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
            raise BadInput(f"is damaged ({error}); take it away to begin again", where=str(newest)) from error
        return state

    def save_best(self, step: int, model: PreTrainedModel) -> None:
        """Keeps the weights as the best so far; the ones before them stay until a checkpoint names these."""
        with self._writing(f"best-{step:08d}") as partial:
            save_file(_weights(model), partial / MODEL)

    def put_best(self, step: int, model: PreTrainedModel) -> None:
        """The best weights, into the model."""
        _put(model, load_file(self.folder / f"best-{step:08d}" / MODEL))

    @contextmanager
    def _writing(self, name: str) -> Iterator[Path]:
        partial = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=self.folder))
        try:
            yield partial
            shutil.rmtree(self.folder / name, ignore_errors=True)
            partial.rename(self.folder / name)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def alone_in(folder: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """One process at a time in `folder`; others wait, and call `waiting` meanwhile, which may raise."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                waiting()
                time.sleep(0.2)
        yield


def _weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in model.named_parameters()}


def _moments(model: PreTrainedModel, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    return {
        f"{name}/{key}": torch.as_tensor(value).detach().cpu().contiguous()
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def _put(model: PreTrainedModel, values: dict[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(values[name])


def _put_moments(model: PreTrainedModel, optimizer: torch.optim.Optimizer, values: dict[str, torch.Tensor]) -> None:
    by_name: dict[str, dict[str, Any]] = {}
    for path, value in values.items():
        name, _, key = path.rpartition("/")
        by_name.setdefault(name, {})[key] = value
    for name, parameter in model.named_parameters():
        optimizer.state[parameter] = {
            # The fused optimizer keeps its count of steps where the parameter is.
            key: value.to(parameter.device)
            for key, value in by_name.get(name, {}).items()
        }
