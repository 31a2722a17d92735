"""Tuning in a process of its own: a crash or a lack of memory there takes nothing with it, and is told as such."""

from __future__ import annotations

import tempfile
from pathlib import Path

from engine.classifiers.apart import run_apart
from engine.generation.tuning.recipe import TuningRecipe
from engine.generation.tuning.results import TuningResult, read_result
from engine.generation.tuning.run import REQUEST, Request
from engine.progress import Progress, silent


def tune_apart(
    stories: Path,
    recipe: TuningRecipe,
    *,
    out_dir: Path,
    checkpoints: Path | None = None,
    logs: Path | None = None,
    progress: Progress = silent,
) -> TuningResult:
    """As `engine.generation.tuning.tune`, in a process that ends when this one does.

    Raises what `tune` raises, OutOfMemory where the system killed the process, Crashed where it ended otherwise.
    `progress` is called at least once a second; what it raises stops the tuning, and is raised.
    """
    with tempfile.TemporaryDirectory(prefix="tuning-") as name:
        request = Request(
            stories=stories.absolute(),
            recipe=recipe,
            out_dir=out_dir.absolute(),
            checkpoints=checkpoints and checkpoints.absolute(),
            logs=logs and logs.absolute(),
        )
        (Path(name) / REQUEST).write_text(request.model_dump_json(indent=1))
        run_apart("engine.generation.tuning.run", Path(name), progress)
    return read_result(out_dir)
