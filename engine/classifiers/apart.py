"""Training in a process of its own: a crash or a lack of memory there takes nothing with it, and is told as such."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import engine
from engine.classifiers import artifact
from engine.classifiers.artifact import TrainingResult
from engine.classifiers.base import Example
from engine.classifiers.recipe import Recipe
from engine.classifiers.request import ERROR, OUTPUT, PROGRESS, Request, write_request
from engine.classifiers.trainable import checked
from engine.errors import BadInput, Crashed, EngineError, MissingModel, OutOfMemory, UnknownName
from engine.progress import Progress, silent

POLL = 0.1
"""Seconds between two looks at the process."""
GRACE = 15.0
"""Seconds that a stopped process has for removing what it has half written."""
KILLS = (Path("/sys/fs/cgroup/memory.events"), Path("/proc/vmstat"))
"""Where Linux counts them."""
LAST_LINES = 12
"""Of its output, quoted when it crashed."""


def train_apart(
    examples: Sequence[Example],
    recipe: Recipe,
    *,
    out_dir: Path,
    validation: Sequence[Example] = (),
    checkpoints: Path | None = None,
    logs: Path | None = None,
    progress: Progress = silent,
    processes: int = 1,
) -> TrainingResult:
    """As `engine.classifiers.train`, in `processes` processes of this machine's, one GPU each where it has them.

    Raises what `train` raises, OutOfMemory where the system killed the process, Crashed where it ended otherwise.
    `progress` is called at least once a second; what it raises stops the training, and is raised. The process ends
    when this one does. Until it has started, some seconds are spent on imports.
    """
    checked(examples, recipe, validation, out_dir=out_dir, others=(checkpoints, logs))
    identity = artifact.fingerprint(examples, recipe, validation)
    if (done := artifact.finished(out_dir, identity)) is not None:
        return done
    with tempfile.TemporaryDirectory(prefix="training-") as name:
        folder = Path(name)
        request = Request(
            recipe=recipe,
            out_dir=out_dir.absolute(),
            checkpoints=checkpoints and checkpoints.absolute(),
            logs=logs and logs.absolute(),
        )
        write_request(folder, request, examples, validation)
        run_apart("engine.classifiers.run", folder, progress, processes=processes)
        if (result := artifact.finished(out_dir, identity)) is None:
            raise Crashed(f"the training ended without a classifier; its last lines:\n{_last_lines(folder)}")
        return result


def run_apart(module: str, folder: Path, progress: Progress, *, processes: int = 1) -> None:
    """Runs `python -m module FOLDER`, whose `main` is that of `engine.classifiers.run`, to its end.

    Raises the error that it ended with, OutOfMemory or Crashed; progress is as `train_apart` has it.
    """
    killed_before = _kills()
    if code := _run(folder, processes, progress, module):
        raise _error(folder, code, killed=_kills() > killed_before)


def _run(folder: Path, processes: int, progress: Progress, module: str) -> int:
    """The exit status of the process, negative where a signal ended it."""
    with (folder / OUTPUT).open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own module and folder
            [*_launcher(processes), "-m", module, str(folder), "--ends-with-stdin"],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_environment(),
            start_new_session=True,
        )
    try:
        _follow(process, folder / PROGRESS, progress)
    finally:
        _stop(process)
    return process.returncode


def _launcher(processes: int) -> list[str]:
    if processes == 1:
        return [sys.executable]
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]


def _environment() -> dict[str, str]:
    home = str(Path(engine.__file__).parents[1])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))}


def _follow(process: subprocess.Popen[bytes], file: Path, progress: Progress) -> None:
    seen, told = [0, 0], time.monotonic()
    while process.poll() is None:
        now = _json(file) or seen
        if now != seen or time.monotonic() - told > 0.9:
            seen, told = now, time.monotonic()
            progress(*seen)
        time.sleep(POLL)
    if (now := _json(file)) and now != seen:
        progress(*now)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the process, and those that it started, which see their standard input end."""
    if process.stdin:
        process.stdin.close()
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _error(folder: Path, code: int, *, killed: bool) -> Exception:
    """What ended the process, as the error that it was; `killed`: the system has killed something for its memory."""
    if said := _json(folder / ERROR):
        return _typed(said)
    lines = _last_lines(folder)
    told = re.search(r"exitcode\s*:\s*(-\d+)", lines)  # how torchrun tells of one of several
    number = -int(told[1]) if told else -code
    if number == signal.SIGKILL:
        why = "the system had no memory left" if killed else "by somebody, or because the system had no memory left"
        return OutOfMemory(f"the training was killed (SIGKILL): {why}")
    how = f"died of {signal.Signals(number).name}" if number > 0 else f"ended with status {code}"
    return Crashed(f"the training {how}; its last lines:\n{lines}")


def _typed(said: dict[str, Any]) -> Exception:
    """The error that the process raised. One that is no error of ours and not of the system is a crash."""
    known: dict[str, type[EngineError]] = {kind.code: kind for kind in (BadInput, MissingModel, UnknownName)}
    if said["code"] in known:
        kind = known[said["code"]]
        error = kind.__new__(kind)
        error.args = (said["text"],)
        if isinstance(error, BadInput):
            error.where = said["where"]
        return error
    if said["code"] == OutOfMemory.code:
        return OutOfMemory(said["text"], permanent=said["permanent"])
    if said["errno"] is not None:
        return OSError(said["errno"], said["text"])
    return Crashed(said["text"], permanent=said["permanent"])


def _kills() -> int:
    """How often the system has killed a process because memory ran out, in this container or, failing that, at all."""
    for file in KILLS:
        try:
            told = re.search(r"^oom_kill (\d+)$", file.read_text(), re.MULTILINE)
        except OSError:
            continue
        if told:
            return int(told[1])
    return 0


def _last_lines(folder: Path) -> str:
    return "\n".join((folder / OUTPUT).read_text(errors="replace").splitlines()[-LAST_LINES:])


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
