"""A trained classifier as a folder: safetensors, JSON and an ONNX graph; nothing that can run code."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from engine.classifiers.base import Example
from engine.classifiers.recipe import Recipe
from engine.config import problems
from engine.errors import BadInput

RECIPE, CONFIG, TOKENIZER = "recipe.json", "config.json", "tokenizer.json"
WEIGHTS, INT8, RESULT = "model.safetensors", "model.onnx", "result.json"
STALE_SECONDS = 3600
"""A half-written folder older than this was left by a killed process: writing takes seconds."""


class Point(NamedTuple):
    """A point of the training's curve."""

    step: int
    """Steps of the optimiser until here."""
    examples: int
    """Examples seen until here, repeated ones each time."""
    training_loss: float
    """Mean over the examples since the point before."""
    validation_loss: float | None
    """Mean over the validation examples, None where they were not asked here."""


class TrainingResult(NamedTuple):
    """What a training did. `path` holds the classifier."""

    path: Path
    fingerprint: str
    """SHA-256 over recipe and examples: the same fingerprint in the same place is not trained again."""
    examples: int
    positives: int
    upsampled: int
    """Examples in one epoch, positives repeated."""
    steps: int
    loss: float
    """Mean cross entropy over the last epoch."""
    seconds: float
    examples_per_second: float
    """Training only: without caching frozen layers and export."""
    int8_checked: int
    """Training examples scored in fp32 and int8 (0: no int8 graph was asked for)."""
    int8_equal_decisions: float
    """Share of them accepted by both or rejected by both at `int8_threshold`."""
    int8_threshold: float
    """The logit that accepts 70 % of the checked negatives in fp32."""
    int8_max_difference: float
    """Largest difference of the two logits."""
    curve: tuple[Point, ...] = ()
    """In order of steps; the last point is the last step."""
    best_step: int | None = None
    """The step whose weights these are, where an early stop was asked for."""
    halved: int = 0
    """Batches that memory was too small for, and that went in parts."""
    notes: tuple[str, ...] = ()
    """What a person should know of this training, in sentences."""

    def plain(self) -> dict[str, Any]:
        """All but `path`, as JSON has it."""
        values = {**self._asdict(), "curve": [point._asdict() for point in self.curve], "notes": list(self.notes)}
        del values["path"]
        return values

    @classmethod
    def of(cls, folder: Path, values: dict[str, Any]) -> TrainingResult:
        """The opposite of `plain`. Raises TypeError for what `plain` did not make."""
        curve = tuple(Point(**point) for point in values.get("curve", ()))
        return cls(**{**values, "path": folder, "curve": curve, "notes": tuple(values.get("notes", ()))})


def fingerprint(examples: Sequence[Example], recipe: Recipe, validation: Sequence[Example] = ()) -> str:
    """SHA-256 (hex) over the recipe and the examples in their order. O(characters)."""
    digest = hashlib.sha256(recipe.identity().encode())
    for part, sign in ((examples, ""), (validation, "validation ")):
        for example in part:
            digest.update(f"\n{sign}{example.snippet.content_hash} {example.positive:d}".encode())
    return digest.hexdigest()


def finished(folder: Path, wanted: str) -> TrainingResult | None:
    """The result of the training with this fingerprint if it stands finished in `folder`, None if nothing is there.

    Raises BadInput if the folder holds anything else.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    try:
        values = json.loads((folder / RESULT).read_text())
        result = TrainingResult.of(folder, values)
    except (OSError, ValueError, TypeError, AttributeError):
        raise BadInput("exists and holds no finished training; choose another folder", where=str(folder)) from None
    if result.fingerprint != wanted:
        raise BadInput("holds the training of another recipe or other examples", where=str(folder))
    return result


def publish(folder: Path, write: Callable[[Path], TrainingResult]) -> TrainingResult:
    """Let `write` fill a folder beside `folder`, then move it there in one step; on failure nothing remains.

    If another process has finished the same training meanwhile, its result stands.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(folder)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.partial-", dir=folder.parent))
    try:
        partial.chmod(0o755)
        result = write(partial)
        (partial / RESULT).write_text(json.dumps(result.plain(), indent=1))
        try:
            partial.replace(folder)
        except OSError:
            if (other := finished(folder, result.fingerprint)) is None:
                raise
            return other
        return result._replace(path=folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def read_recipe(folder: Path) -> Recipe:
    """The recipe of a trained classifier. Raises BadInput naming what is missing or wrong."""
    file = present(folder, RECIPE)
    try:
        return Recipe.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise BadInput(problems(error, Recipe), where=str(file)) from None


def present(folder: Path, name: str) -> Path:
    """`folder / name`, or BadInput saying what is missing."""
    file = folder / name
    if file.is_file():
        return file
    if not folder.is_dir():
        raise BadInput("no such folder", where=str(folder))
    unsafe = [path.name for path in folder.iterdir() if path.suffix in {".bin", ".pt", ".pth", ".pkl", ".ckpt"}]
    found = f"; {', '.join(sorted(unsafe))} can run code and is never read" if unsafe else ""
    raise BadInput(f"not a trained classifier: {name} is missing{found}", where=str(folder))


def _remove_stale(folder: Path) -> None:
    for left in folder.parent.glob(f".{folder.name}.partial-*"):
        if time.time() - left.stat().st_mtime > STALE_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
