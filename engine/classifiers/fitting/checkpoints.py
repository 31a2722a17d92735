"""Checkpoints of a training: one safetensors file each, whose metadata is JSON. Nothing in them can run code."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

SECONDS = 60.0
"""Between two checkpoints, at least."""
SHARE = 0.05
"""Of the time may go into writing them, at most."""
KEPT = 2
"""Newest ones kept: the last may be damaged."""
ASIDE = ".set-aside"


class Saved(NamedTuple):
    """A training as it stood."""

    step: int
    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any]


class Checkpoints:
    """Those of one training in a folder of its own; `folder` None: none are kept."""

    def __init__(self, folder: Path | None, fingerprint: str) -> None:
        self._folder, self._fingerprint = folder, fingerprint
        self._next = time.monotonic() + SECONDS
        self.notes: list[str] = []
        """What a person should know, in sentences."""

    def due(self) -> bool:
        """Whether it is time for another."""
        return self._folder is not None and time.monotonic() >= self._next

    def save(self, saved: Saved) -> None:
        """Writes it beside its place and moves it there; a disk that is full is noted, and training goes on."""
        if self._folder is None:
            return
        started = time.monotonic()
        file = self._folder / f"step-{saved.step:09d}.safetensors"
        partial = file.with_suffix(".partial")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            _write(partial, saved, self._fingerprint)
            partial.replace(file)
        except (OSError, SafetensorError) as error:
            partial.unlink(missing_ok=True)
            self.notes.append(f"the checkpoint of step {saved.step} could not be written ({error})")
        else:
            for old in self._files()[KEPT:]:
                old.unlink(missing_ok=True)
        ended = time.monotonic()
        self._next = ended + max(SECONDS, (ended - started) / SHARE)

    def newest(self) -> Path | None:
        """The newest that is whole and of this training. What is not is set aside, and noted."""
        for file in self._files():
            try:
                read(file, self._fingerprint)
            except ValueError as error:
                file.replace(file.with_suffix(ASIDE))
                self.notes.append(f"checkpoint {file.name} {error}; it was set aside")
                continue
            self.notes.append(f"went on from checkpoint {file.name}")
            return file
        if self.notes:
            self.notes.append("training started again from the beginning")
        return None

    def clear(self) -> None:
        """Removes this training's checkpoints: it has ended."""
        for file in self._files():
            file.unlink(missing_ok=True)
        if self._folder is not None and self._folder.is_dir() and not any(self._folder.iterdir()):
            self._folder.rmdir()

    def _files(self) -> list[Path]:
        """Newest first."""
        return sorted(self._folder.glob("step-*.safetensors"), reverse=True) if self._folder else []


def read(file: Path, fingerprint: str) -> Saved:
    """Raises ValueError that says what is wrong: damaged, or of another training."""
    try:
        with safe_open(file, framework="pt") as opened:
            head = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a dict
        said = json.loads(head["state"])
        step, values, owner = int(said["step"]), said["values"], said["fingerprint"]
        whole = head["digest"] == _digest(tensors, head["state"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError("is damaged") from error
    if not whole:
        raise ValueError("is damaged: it is not what was written")
    if owner != fingerprint:
        raise ValueError("is of another recipe or other examples")
    return Saved(step, tensors, values)


def _write(file: Path, saved: Saved, fingerprint: str) -> None:
    state = json.dumps({"step": saved.step, "values": dict(saved.values), "fingerprint": fingerprint})
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in saved.tensors.items()}
    save_file(tensors, file, metadata={"state": state, "digest": _digest(tensors, state)})
    with file.open("rb") as written:
        os.fsync(written.fileno())


def _digest(tensors: Mapping[str, Tensor], state: str) -> str:
    digest = hashlib.sha256(state.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensors[name].numpy()).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
