"""A real Label Studio on loopback for one test run: SQLite in a folder of its own, two users, gone afterwards."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("LABEL_STUDIO") or str(ROOT / ".venv-label-studio" / "bin" / "label-studio")
START_SECONDS = 300.0
USERS = {"alice@example.org": "a" * 40, "bob@example.org": "b" * 40}
"""Users and their legacy tokens; the first owns the organisation."""


def missing() -> str:
    """Why there is no Label Studio, in words; empty if there is."""
    return "" if shutil.which(PROGRAM) else f"no Label Studio at {PROGRAM}: `make test-label-studio` installs it"


@dataclass(frozen=True)
class Running:
    """Where it answers, and how to ask it as one of its users."""

    url: str
    alice: str
    bob: str

    def ask(self, token: str, verb: str, path: str, body: object = None) -> Any:
        """What Label Studio answers. Raises HTTPError."""
        request = urllib.request.Request(
            self.url + path,
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Token {token}", "Content-Type": "application/json"},
            method=verb,
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")


@contextmanager
def label_studio(folder: Path) -> Iterator[Running]:
    """Starts it and waits until it answers: about a minute, for its database is made first."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("DJANGO", "DATABASE", "PYTHON"))},
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder),
        "SSRF_PROTECTION_ENABLED": "false",  # else it calls back to no address of this machine
        "ML_BLOCK_LOCAL_IP": "false",  # nor asks an ML backend here
        "COLLECT_ANALYTICS": "false",
        "LATEST_VERSION_CHECK": "false",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
    }
    users = [
        ["--username", name, "--password", "not-secret", "--user-token", token, "--enable-legacy-api-token"]
        for name, token in USERS.items()
    ]
    with (folder / "label-studio.log").open("wb") as log:
        subprocess.run(
            [PROGRAM, "init", "-q", *users[0]], env=env, check=True, stdout=log, stderr=log, timeout=START_SECONDS
        )
        serve = ["start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(port), *users[1]]
        server = subprocess.Popen([PROGRAM, *serve], env=env, stdout=log, stderr=log, start_new_session=True)
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for(url, server, folder / "label-studio.log")
            yield Running(url, *USERS.values())
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text(errors="replace")[-4000:]
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.25)
    raise AssertionError(f"Label Studio did not answer in {START_SECONDS} s: {log.read_text(errors='replace')[-4000:]}")
