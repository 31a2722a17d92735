"""Job `tune_generator`: a causal LM goes on learning from a corpus' stories."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from django.conf import settings

from engine.generation.tuning import TuningRecipe
from engine.generation.tuning.apart import tune_apart
from webapi.models import Generator
from workers.artifacts import register
from workers.jobs import JobRun


def tune_generator(run: JobRun) -> dict[str, Any]:
    """Tunes the generator `args["generator"]`. Killed in its middle it goes on from the last checkpoint; run again
    when it is done, it tells the same.
    """
    row = Generator.objects.select_related("corpus").get(pk=run.args["generator"])
    folder = generator_path(row)
    checkpoints = folder.with_name(f"{folder.name}.checkpoints")
    result = tune_apart(
        Path(row.corpus.path),
        TuningRecipe(**row.recipe),
        out_dir=folder,
        checkpoints=checkpoints,
        logs=folder.with_name(f"{folder.name}.logs"),
        progress=run.progress,
    )
    metrics = result.as_dict()
    row.finish(register(folder, "generator"), metrics, metrics.pop("environment"))
    shutil.rmtree(checkpoints, ignore_errors=True)
    told = ("steps", "best_step", "stopped_early", "tokens", "measured_on", "before", "after", "change")
    return {name: metrics[name] for name in told}


def generator_path(row: Generator) -> Path:
    """Where the generator lies."""
    return Path(settings.GAUNTLET_HOME) / "generators" / str(row.pk)
