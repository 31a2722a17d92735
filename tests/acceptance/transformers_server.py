"""`transformers serve` on loopback for one test run."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

START_SECONDS = 120.0


def missing() -> str:
    """Why it cannot be started, in words; empty if it can."""
    gone = [name for name in ("fastapi", "uvicorn", "accelerate") if find_spec(name) is None]
    wants = f"`transformers serve` wants {', '.join(gone)}"
    return f"{wants}: `make install` brings what requirements.lock has" if gone else ""


@contextmanager
def transformers_server(model: Path, log: Path) -> Iterator[str]:
    """Serves the model in this folder, by the folder's name, and waits until it answers: some twenty seconds. Gives the
    base URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = "from transformers.cli.transformers import main; main()"
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with log.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, "-c", script, "serve", model.name, *options],
            cwd=model.parent,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
        try:
            _wait(server, f"http://127.0.0.1:{port}/health", log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _wait(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.1)
    raise RuntimeError(f"`transformers serve` did not start:\n{log.read_text()[-2000:]}")
