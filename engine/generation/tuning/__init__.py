"""Generators fine-tuned on raw stories (paper, A.2), or trained from nothing where they are small.

`tune` imports torch when first called, so that a web process can name recipes for free.
"""

from __future__ import annotations

from pathlib import Path

from engine.generation.tuning.recipe import FreshModel, TuningRecipe
from engine.generation.tuning.results import Point, TuningResult
from engine.progress import Progress, silent

__all__ = ["FreshModel", "Point", "TuningRecipe", "TuningResult", "tune"]


def tune(
    stories: Path,
    recipe: TuningRecipe,
    *,
    out_dir: Path,
    checkpoints: Path | None = None,
    logs: Path | None = None,
    progress: Progress = silent,
) -> TuningResult:
    """See `engine.generation.tuning.running.tune`."""
    from engine.generation.tuning import running

    return running.tune(stories, recipe, out_dir=out_dir, checkpoints=checkpoints, logs=logs, progress=progress)
