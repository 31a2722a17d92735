"""A training asked for as a folder, so that another process can do it: JSON and JSON lines, nothing that runs code."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from engine.classifiers.base import Example
from engine.classifiers.recipe import Recipe
from engine.config import problems
from engine.errors import BadInput
from engine.snippets import Snippet

REQUEST, EXAMPLES, VALIDATION = "request.json", "examples.jsonl", "validation.jsonl"
PROGRESS, ERROR, OUTPUT = "progress.json", "error.json", "output.txt"


class Request(BaseModel):
    """What `train` is to be called with, besides the examples, which lie beside it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: Recipe
    out_dir: Path
    """Absolute paths: the other process may stand elsewhere."""
    checkpoints: Path | None = None
    logs: Path | None = None


def write_request(
    folder: Path, request: Request, examples: Iterable[Example], validation: Iterable[Example] = ()
) -> None:
    """Puts all of it into `folder`. O(characters)."""
    (folder / REQUEST).write_text(request.model_dump_json(indent=1))
    _write(folder / EXAMPLES, examples)
    _write(folder / VALIDATION, validation)


def read_request(folder: Path) -> Request:
    """Raises BadInput naming the file and the field that are wrong."""
    file = folder / REQUEST
    try:
        return Request.model_validate_json(file.read_bytes())
    except OSError as error:
        raise BadInput(f"cannot be read ({error.strerror})", where=str(file)) from error
    except ValidationError as error:
        raise BadInput(problems(error, Request), where=str(file)) from None


def read_examples(file: Path) -> list[Example]:
    """One example a line. Raises BadInput naming the line that is none."""
    try:
        lines = file.read_text().splitlines()
    except OSError as error:
        raise BadInput(f"cannot be read ({error.strerror})", where=str(file)) from error
    return [_example(line, f"{file}:{number}") for number, line in enumerate(lines, start=1)]


def _example(line: str, where: str) -> Example:
    try:
        prompt, completion, positive = json.loads(line)
        return Example(Snippet(str(prompt), str(completion)), bool(positive))
    except (ValueError, TypeError) as error:
        raise BadInput("is not [prompt, completion, positive]", where=where) from error


def _write(file: Path, examples: Iterable[Example]) -> None:
    with file.open("w") as lines:  # json escapes everything beyond ASCII, lone surrogates too
        lines.writelines(
            json.dumps([one.snippet.prompt, one.snippet.completion, one.positive]) + "\n" for one in examples
        )
