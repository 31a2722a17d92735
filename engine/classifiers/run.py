"""`python -m engine.classifiers.run FOLDER`: the training that a folder asks for, in a process of its own.

The folder is as `request.write_request` made it. Progress and errors are left there as JSON; the classifier goes where
the request says. `accelerate launch -m engine.classifiers.run FOLDER` does it on several GPUs, and on nodes that share
a disk.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from engine.classifiers import train
from engine.classifiers.request import ERROR, EXAMPLES, PROGRESS, VALIDATION, read_examples, read_request
from engine.errors import EngineError, OutOfMemory
from engine.progress import Progress

logger = logging.getLogger(__name__)

PAUSE = 0.2
"""Seconds between two notes of the progress, at least."""
GRACE = 10.0
"""Seconds that a told process has for tidying up before it ends at once."""


def train_as_asked(folder: Path, progress: Progress) -> None:
    """The training that the folder asks for."""
    request = read_request(folder)
    train(
        read_examples(folder / EXAMPLES),
        request.recipe,
        out_dir=request.out_dir,
        validation=read_examples(folder / VALIDATION),
        checkpoints=request.checkpoints,
        logs=request.logs,
        progress=progress,
    )


def main(arguments: Sequence[str] | None = None, work: Callable[[Path, Progress], None] = train_as_asked) -> int:
    """Does the work that a folder asks for; 0 if it is done, 1 if not and the folder's error.json says why."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("folder", type=Path)
    options.add_argument("--ends-with-stdin", action="store_true", help="stop when standard input is closed")
    chosen = options.parse_args(arguments)
    signal.signal(signal.SIGTERM, _stop)
    if chosen.ends_with_stdin:
        threading.Thread(target=_watch, daemon=True).start()
    folder: Path = chosen.folder
    try:
        work(folder, _noting(folder))
    except MemoryError as error:
        _tell(folder, OutOfMemory(f"memory ran out ({error})"))
        return 1
    except Exception as error:  # whatever it is, the process that waits is told
        _tell(folder, error)
        logger.exception("the training failed")
        return 1
    return 0


def _noting(folder: Path) -> Callable[[int, int], None]:
    last = -PAUSE

    def note(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= PAUSE or done >= total:
            last = time.monotonic()
            _put(folder / PROGRESS, [done, total])

    return note


def _tell(folder: Path, error: Exception) -> None:
    text = str(error) if isinstance(error, EngineError) else f"{type(error).__name__}: {error}"
    said = {
        "code": error.code if isinstance(error, EngineError) else type(error).__name__,
        "text": (error.strerror or text) if isinstance(error, OSError) else text,
        "where": getattr(error, "where", ""),
        "errno": error.errno if isinstance(error, OSError) else None,
        "permanent": bool(getattr(error, "permanent", isinstance(error, OSError | ValueError))),
    }
    _put(folder / ERROR, said)


def _put(file: Path, value: object) -> None:
    """In one step, so that who reads it never sees half."""
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    partial.write_text(json.dumps(value))
    partial.replace(file)


def _stop(number: int, frame: FrameType | None) -> None:
    """What is half written is removed on the way out."""
    sys.exit(128 + number)


def _watch() -> None:
    """Standard input is a pipe that nobody writes to: it ends when the process that waits has ended, however it did."""
    while os.read(0, 1):  # not sys.stdin: a lock held at the interpreter's end is fatal to it
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
