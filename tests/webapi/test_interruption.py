"""Ctrl-C and SIGTERM in a command that has the embedded worker at hand: what it says, and what becomes of the job."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
COMMAND = """
import signal, sys, time
from pathlib import Path

import django

signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite that runs in the background ignores it

django.setup()
from django.core.management import call_command
from django.core.management.base import CommandError

from webapi.management.embedded import worker_at_hand
from webapi.models import Job
from workers.execute import JOBS

end = Path(sys.argv[1])


def slow(run):
    print("begun", flush=True)
    while not end.exists():
        time.sleep(0.02)
        run.progress(1, 2)
    return {}


JOBS["slow"] = slow
call_command("migrate", verbosity=0)
job, _ = Job.objects.get_or_create(kind="slow")
try:
    with worker_at_hand(go_on="the same again"):
        while Job.objects.get().state != "succeeded":
            time.sleep(0.05)
except CommandError as error:
    print(error, file=sys.stderr)
    sys.exit(error.returncode)
"""
SERVING = """
import sys, time

import django

django.setup()
from django.core.management import call_command

from webapi.management.commands.serve import _start_worker
from webapi.models import Job
from workers.execute import JOBS


class Process:
    \"\"\"What gunicorn's worker does at SIGTERM: it ends soon, and not at once.\"\"\"

    def handle_exit(self, number, frame):
        time.sleep(1)
        sys.exit(0)


def slow(run):
    print("begun", flush=True)
    while True:
        time.sleep(0.02)
        run.progress(1, 2)


JOBS["slow"] = slow
call_command("migrate", verbosity=0)
job, _ = Job.objects.get_or_create(kind="slow")
_start_worker(Process())
while True:
    time.sleep(1)
"""
WAITS = "Stopping as soon as the job at hand (slow) has ended. Ctrl-C again leaves at once.\n"
LEAVES = "stopped; the job at hand begins again with: the same again\n"


@pytest.fixture
def end(tmp_path: Path) -> Path:
    """The job ends once this file is there."""
    return tmp_path / "end"


@pytest.fixture
def start(tmp_path: Path, end: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the command and waits until it runs the job."""
    left_out = ("DATABASE_URL", "BROKER_URL")
    env = {name: value for name, value in os.environ.items() if name not in left_out}
    env |= {"GAUNTLET_HOME": str(tmp_path), "DJANGO_SETTINGS_MODULE": "webapi.settings", "JOB_MAX_ATTEMPTS": "1"}
    started: list[subprocess.Popen[str]] = []

    def begin(command: str = COMMAND) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", command, str(end)], env=env, cwd=ROOT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def job(home: Path) -> tuple[str, int]:
    """State and attempts of the one job there is."""
    with sqlite3.connect(home / "gauntlet.sqlite3") as database:
        (row,) = database.execute("SELECT state, attempts FROM webapi_job").fetchall()
    return row[0], row[1]


def said(process: subprocess.Popen[str]) -> str:
    """The next line that is not empty."""
    assert process.stderr is not None
    return next(line for line in process.stderr if line.strip())


def test_ctrl_c_says_what_it_waits_for_and_lets_the_job_end(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path, end: Path
) -> None:
    process = start()
    process.send_signal(signal.SIGINT)
    assert said(process) == WAITS
    assert job(tmp_path) == ("running", 1)
    end.touch()
    _, rest = process.communicate(timeout=30)
    assert (process.returncode, rest) == (130, "stopped; go on with: the same again\n")
    assert job(tmp_path) == ("succeeded", 1)


def test_stopped_at_once_any_number_of_times_the_job_goes_on(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path, end: Path
) -> None:
    process = start()
    process.send_signal(signal.SIGINT)
    assert said(process) == WAITS
    process.send_signal(signal.SIGINT)
    assert said(process) == LEAVES
    assert process.wait(timeout=30) == 130
    assert job(tmp_path) == ("queued", 0)
    process = start()
    assert job(tmp_path) == ("running", 1)
    process.send_signal(signal.SIGTERM)
    assert said(process) == LEAVES
    assert process.wait(timeout=30) == 130
    assert job(tmp_path) == ("queued", 0)
    process = start()
    end.touch()
    assert process.wait(timeout=30) == 0
    assert job(tmp_path) == ("succeeded", 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_a_server_that_is_stopped_hands_its_job_back_uncounted(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path, number: signal.Signals
) -> None:
    for _ in range(2):  # more often than a job may be attempted
        process = start(SERVING)
        assert job(tmp_path) == ("running", 1)
        process.send_signal(number)
        assert process.wait(timeout=30) == 0
        assert job(tmp_path) == ("queued", 0)
