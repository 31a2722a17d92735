"""What the queue's benchmarks share: a PostgreSQL database of their own, our server on gunicorn, and HTTP clients."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

ROOT = Path(__file__).resolve().parents[1]
SERVER = os.environ.get("TEST_DATABASE_URL") or "postgres://postgres@127.0.0.1:5432/test"
"""A database on the server where the benchmark makes its own."""
WORKERS, THREADS = 2, 4
START_SECONDS = 300


def silent_server() -> str:
    """Why there is no PostgreSQL, in words; empty if there is."""
    try:
        psycopg.connect(SERVER, connect_timeout=5).close()
    except psycopg.OperationalError as error:
        return f"no PostgreSQL at {SERVER.rpartition('@')[2]} ({str(error).splitlines()[0]})"
    return ""


@contextmanager
def own_database() -> Iterator[str]:
    """The URL of a database that is gone afterwards."""
    name = f"gauntlet_bench_{uuid.uuid4().hex[:10]}"
    with psycopg.connect(SERVER, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}"')
        try:
            yield f"{SERVER.rpartition('/')[0]}/{name}"
        finally:
            admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@contextmanager
def gauntlet_on(url: str, **settings: str) -> Iterator[dict[str, str]]:
    """Django in this process on that database, migrated; yields the environment for servers beside it."""
    with tempfile.TemporaryDirectory() as home:
        own = {"DATABASE_URL": url, "BROKER_URL": "", "GAUNTLET_HOME": home, "API_RATE": "1000000/s", **settings}
        os.environ.update(own, DJANGO_SETTINGS_MODULE="webapi.settings")
        import django
        from django.core.management import call_command
        from django.db import connections

        django.setup()
        call_command("migrate", verbosity=0)
        try:
            yield {**os.environ}
        finally:
            connections.close_all()


@contextmanager
def gunicorn(
    python: Sequence[str],
    application: str,
    *,
    folder: Path,
    env: dict[str, str],
    health: str,
    workers: int = WORKERS,
    threads: int = THREADS,
) -> Iterator[str]:
    """`application` on two processes of four threads; yields its URL once it answers at `health`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*python, "-m", "gunicorn", application, "--bind", f"127.0.0.1:{port}", "--log-level", "warning"]
    command += ["--workers", str(workers), "--threads", str(threads), "--keep-alive", "60", "--timeout", "120"]
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True)
        try:
            _wait_for(f"http://127.0.0.1:{port}", health, server, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def our_server(env: dict[str, str], *, workers: int = WORKERS, threads: int = THREADS) -> Any:
    """Gauntlet on gunicorn."""
    return gunicorn(
        [sys.executable],
        "webapi.wsgi",
        folder=ROOT,
        env=env,
        health="/api/v1/errors",
        workers=workers,
        threads=threads,
    )


def _wait_for(url: str, path: str, server: subprocess.Popen[bytes], log: Any) -> None:
    deadline = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        try:
            if Client(url, {}, timeout=30).ask("GET", path)[0] < 400:
                return
        except OSError:
            time.sleep(0.2)
    log.seek(0)
    raise SystemExit(f"the server does not answer:\n{log.read().decode(errors='replace')[-4000:]}")


class Client:
    """One connection, kept open; opened again when the server closed it."""

    def __init__(self, url: str, headers: dict[str, str], timeout: float = 60) -> None:
        self._headers = {"Content-Type": "application/json", **headers}
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=timeout)

    def ask(self, verb: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """Status and body. Raises OSError where no answer came.

        A server may close a connection just as it is used again; what only reads is then asked once more.
        """
        try:
            return self._ask(verb, path, body, **headers)
        except ConnectionError:
            if verb != "GET":
                raise
            return self._ask(verb, path, body, **headers)

    def _ask(self, verb: str, path: str, body: object, **headers: str) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        try:
            self._connection.request(verb, path, data, {**self._headers, **headers})
            answer = self._connection.getresponse()
            text = answer.read()
        except (http.client.HTTPException, OSError) as error:
            self._connection.close()
            raise ConnectionError(repr(error)) from error
        try:
            return answer.status, json.loads(text or b"null")
        except json.JSONDecodeError:
            return answer.status, text.decode(errors="replace")

    def must(self, verb: str, path: str, body: object = None, **headers: str) -> Any:
        """The body of an answer that is not an error. Raises RuntimeError."""
        status, answer = self.ask(verb, path, body, **headers)
        if status >= 400:
            raise RuntimeError(f"{verb} {path}: {status} {str(answer)[:500]}")
        return answer

    def cut(self, verb: str, path: str, body: object, **headers: str) -> None:
        """Sends the request and goes away before the answer."""
        with suppress(http.client.HTTPException, OSError):
            self._connection.request(verb, path, json.dumps(body).encode(), {**self._headers, **headers})
        self._connection.close()


def fill(tasks: int, *, people: int, wanted: int = 1, batch: str = "bench", **quality: Any) -> list[str]:
    """A batch of open tasks and so many contractors; returns their tokens. Needs `gauntlet_on`."""
    from django.db import connection

    from webapi.models import ApiToken, Batch, Role, Snippet, Task, User
    from webapi.services.policies import policy_create

    spec = {"name": "bench", "question": "Was anyone injured?", "quality": quality, "depth": {"first": wanted}}
    policy = policy_create(spec=spec)
    rows = [
        Snippet(
            policy=policy,
            prompt=f"Story {n} began. It was dark. She ran on.",
            completion=f"Then, at the {n}th gate, she stopped, and nobody was there.",
            content_hash=f"{n:064x}",
            root_hash=f"{n:064x}",
            split="train",
            source="corpus",
        )
        for n in range(tasks)
    ]
    Snippet.objects.bulk_create(rows, batch_size=2000)
    made = Batch.objects.create(policy=policy, name=batch)
    Task.objects.bulk_create([Task(batch=made, snippet=row, wanted=wanted) for row in rows], batch_size=2000)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")  # as autovacuum does within a minute
    users = [User.objects.create(username=f"labeler{n}", role=Role.CONTRACTOR) for n in range(people)]
    return [ApiToken.issue(user=user, name="bench").secret for user in users]
