"""PostgreSQL, RabbitMQ and worker processes of one acceptance test: its own database, its own queues."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
from kombu import Connection

from tests.services import BROKER_URL, DATABASE_URL

ROOT = Path(__file__).resolve().parents[2]
MANAGE = [sys.executable, str(ROOT / "manage.py")]


class Cluster:
    """Start workers, ask the database, kill workers; `close` leaves nothing behind."""

    def __init__(self, home: Path) -> None:
        self.name = f"gauntlet_test_{uuid.uuid4().hex[:10]}"
        self._admin = psycopg.connect(DATABASE_URL, autocommit=True)
        self._admin.execute(f'CREATE DATABASE "{self.name}"')
        self.url = f"{DATABASE_URL.rpartition('/')[0]}/{self.name}"
        self.workers: list[subprocess.Popen[bytes]] = []
        self._log = (home / "workers.log").open("ab")
        self.env = {
            **os.environ,
            "GAUNTLET_HOME": str(home / "store"),
            "DATABASE_URL": self.url,
            "BROKER_URL": BROKER_URL,
            "QUEUE_PREFIX": self.name,
            "JOB_LEASE_SECONDS": "6",
            "OMP_NUM_THREADS": "1",
            "LOG_LEVEL": "INFO",
        }
        self.manage("migrate", "--verbosity", "0")
        self.database = psycopg.connect(self.url, autocommit=True)

    def manage(self, *arguments: str) -> str:
        """What a management command prints. Fails the test if it fails."""
        done = subprocess.run([*MANAGE, *arguments], env=self.env, capture_output=True, text=True, timeout=180)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start_worker(self) -> subprocess.Popen[bytes]:
        """A worker for all queues, in a process group of its own."""
        worker = subprocess.Popen(
            [*MANAGE, "worker"], env=self.env, stdout=self._log, stderr=self._log, start_new_session=True
        )
        self.workers.append(worker)
        return worker

    def kill_worker_of(self, host_and_pid: str) -> None:
        """SIGKILL to the whole process group of the worker whose process has this pid."""
        pid = int(host_and_pid.rpartition(":")[2])
        group = os.getpgid(pid)
        killed = next(worker for worker in self.workers if worker.pid == group)
        os.killpg(group, signal.SIGKILL)
        killed.wait()
        self.workers.remove(killed)

    def ask(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows that answer."""
        return self.database.execute(query, values).fetchall()

    def wait_for(self, what: str, found: Callable[[], Any], seconds: float) -> Any:
        """The first true answer. Fails the test when none comes."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if answer := found():
                return answer
            assert all(worker.poll() is None for worker in self.workers), self.log()
            failed = self.ask("SELECT error FROM webapi_round WHERE state = 'failed'")
            assert not failed, f"{failed}\n{self.log()}"
            time.sleep(0.02)
        raise AssertionError(f"waited {seconds} s for {what}: {self.stages()}\n{self.log()}")

    def stages(self) -> list[tuple[Any, ...]]:
        """Name, state, runs and error of each stage, in order."""
        return self.ask("SELECT name, state, runs, error FROM webapi_stage ORDER BY position")

    def log(self) -> str:
        """The end of what the workers printed."""
        return Path(self._log.name).read_text(errors="replace")[-4000:]

    def close(self) -> None:
        """Stops the workers, drops database and queues."""
        for worker in self.workers:
            with suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
        self._log.close()
        self.database.close()
        self._admin.execute(f'DROP DATABASE IF EXISTS "{self.name}" WITH (FORCE)')
        self._admin.close()
        with Connection(BROKER_URL) as connection:
            channel = connection.channel()
            for queue in ("default", "generation", "scoring", "training"):
                channel.queue_delete(f"{self.name}.{queue}")


def settings_file(path: Path, settings: dict[str, Any]) -> Path:
    """Round settings as a TOML file: plain values first, then tables of plain values."""
    plain = {key: value for key, value in settings.items() if not isinstance(value, dict)}
    lines = [f"{key} = {json.dumps(value)}" for key, value in plain.items()]
    for table, values in settings.items():
        if isinstance(values, dict):
            lines += [f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    path.write_text("\n".join(lines) + "\n")
    return path
