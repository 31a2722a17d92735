"""A tuned generator as a folder: safetensors and JSON, which `causal_lm` loads; nothing that can run code."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from engine.environment import Environment
from engine.errors import BadInput
from engine.generation.tuning.perplexity import PerplexityDict
from engine.generation.tuning.reading import Divided
from engine.generation.tuning.recipe import TuningRecipe

RECIPE, RESULT, STORIES = "recipe.json", "result.json", "stories.json"


class Point(NamedTuple):
    """One evaluation."""

    step: int
    blocks: int
    """Seen so far."""
    loss: float | None
    """Mean training loss of a token since the evaluation before, in nats; None before the first step."""
    validation_loss: float


class TuningResult(NamedTuple):
    """What a tuning did. `path` holds the generator."""

    path: Path
    fingerprint: str
    """SHA-256 over recipe and stories: the same fingerprint in the same place is not tuned again."""
    base_sha256: str
    """Of the weights that it began with, by parameter."""
    parameters: int
    stories: int
    """Trained on."""
    tokens: int
    """Trained on in one epoch."""
    steps: int
    best_step: int
    """After which the kept weights were taken; 0: no step did any good, and they are as they were."""
    stopped_early: bool
    curve: tuple[Point, ...]
    measured_on: str
    """The split of the stories that `before`, `after` and `change` are of: test, unless no story fell to it."""
    measured_stories: int
    measured_tokens: int
    before: PerplexityDict
    """Of held-out stories, by the model that it began with."""
    after: PerplexityDict
    change: PerplexityDict
    """The factor between the two, story by story: below 1 is better."""
    seconds: float
    """Of training, evaluations included, over all attempts."""
    tokens_per_second: float
    """Training only."""
    environment: Environment
    """What it was made with."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types, without the path."""
        values = {name: value for name, value in self._asdict().items() if name != "path"}
        return {**values, "curve": [point._asdict() for point in self.curve]}


def fingerprint(recipe: TuningRecipe, stories: Divided) -> str:
    """SHA-256 (hex) over the recipe and the stories' hashes. O(stories)."""
    digest = hashlib.sha256(recipe.model_dump_json().encode())
    digest.update(json.dumps(stories.hashes, sort_keys=True).encode())
    return digest.hexdigest()


def finished(folder: Path, wanted: str) -> TuningResult | None:
    """The result of the tuning with this fingerprint if it stands finished in `folder`, None if nothing is there.

    Raises BadInput if the folder holds anything else.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    found = read_result(folder)
    if found.fingerprint != wanted:
        raise BadInput("holds a generator of another recipe or of other stories", where=str(folder))
    return found


def read_result(folder: Path) -> TuningResult:
    """What the tuning said that filled `folder`. Raises BadInput for any other folder."""
    try:
        values = json.loads((folder / RESULT).read_text())
        curve = tuple(Point(**point) for point in values.pop("curve"))
        return TuningResult(path=folder, curve=curve, **values)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BadInput(f"holds no finished tuning ({error})", where=str(folder)) from None


def trained_on(folder: Path) -> frozenset[str]:
    """Hashes of the stories that the generator in `folder` was trained on. Raises BadInput."""
    try:
        return frozenset(json.loads((folder / STORIES).read_text())["train"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BadInput(f"does not say which stories it was trained on ({error})", where=str(folder)) from None
