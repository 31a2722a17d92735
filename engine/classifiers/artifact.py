"""A trained classifier as a folder: safetensors, JSON and an ONNX graph; nothing that can run code."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from engine.classifiers.base import Example
from engine.classifiers.recipe import Recipe
from engine.config import problems
from engine.errors import BadInput

RECIPE, CONFIG, TOKENIZER = "recipe.json", "config.json", "tokenizer.json"
WEIGHTS, INT8, RESULT = "model.safetensors", "model.onnx", "result.json"
STALE_SECONDS = 3600
"""A half-written folder older than this was left by a killed process: writing takes seconds."""


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


def fingerprint(examples: Sequence[Example], recipe: Recipe) -> str:
    """SHA-256 (hex) over the recipe and the examples in their order. O(characters)."""
    digest = hashlib.sha256(recipe.model_dump_json().encode())
    for example in examples:
        digest.update(f"\n{example.snippet.content_hash} {example.positive:d}".encode())
    return digest.hexdigest()


def finished(folder: Path, wanted: str) -> TrainingResult | None:
    """The result of the training with this fingerprint if it stands finished in `folder`, None if nothing is there.

    Raises BadInput if the folder holds anything else.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    try:
        values = json.loads((folder / RESULT).read_text())
        result = TrainingResult(path=folder, **values)
    except (OSError, ValueError, TypeError):
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
        values = {key: value for key, value in result._asdict().items() if key != "path"}
        (partial / RESULT).write_text(json.dumps(values, indent=1))
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
