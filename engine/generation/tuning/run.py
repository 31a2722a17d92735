"""`python -m engine.generation.tuning.run FOLDER`: the tuning that a folder asks for, in a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from engine.classifiers.run import main
from engine.config import problems
from engine.errors import BadInput
from engine.generation.tuning import tune
from engine.generation.tuning.recipe import TuningRecipe
from engine.progress import Progress

REQUEST = "request.json"


class Request(BaseModel):
    """What `tune` is to be called with. Absolute paths: the other process may stand elsewhere."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stories: Path
    recipe: TuningRecipe
    out_dir: Path
    checkpoints: Path | None = None
    logs: Path | None = None


def tune_as_asked(folder: Path, progress: Progress) -> None:
    """The tuning that the folder asks for. Raises BadInput naming what is wrong with the request."""
    try:
        asked = Request.model_validate_json((folder / REQUEST).read_bytes())
    except OSError as error:
        raise BadInput(f"cannot be read ({error.strerror})", where=str(folder / REQUEST)) from error
    except ValidationError as error:
        raise BadInput(problems(error, Request), where=str(folder / REQUEST)) from None
    tune(
        asked.stories,
        asked.recipe,
        out_dir=asked.out_dir,
        checkpoints=asked.checkpoints,
        logs=asked.logs,
        progress=progress,
    )


if __name__ == "__main__":
    sys.exit(main(work=tune_as_asked))
