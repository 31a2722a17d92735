"""PostgreSQL and RabbitMQ of the tests marked `services`: where they are, whether they answer, tests on PostgreSQL."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import cache

import psycopg
from kombu import Connection

DATABASE_URL = os.environ.get("TEST_DATABASE_URL") or "postgres://postgres@127.0.0.1:5432/test"
BROKER_URL = os.environ.get("TEST_BROKER_URL") or "amqp://guest:guest@127.0.0.1:5672//"
REQUIRED = os.environ.get("GAUNTLET_REQUIRE_SERVICES", "") not in {"", "0"}
"""Whether a silent service fails its tests instead of skipping them."""


@cache
def silent_services() -> str:
    """Which of the two do not answer and why, in words; empty if both do."""
    return "; ".join(filter(None, [_postgres(), _rabbitmq()]))


def _postgres() -> str:
    try:
        psycopg.connect(DATABASE_URL, connect_timeout=5).close()
    except psycopg.OperationalError as error:
        return f"no PostgreSQL at {DATABASE_URL.rpartition('@')[2]} ({str(error).splitlines()[0]})"
    return ""


def _rabbitmq() -> str:
    connection = Connection(BROKER_URL, connect_timeout=5)
    try:
        connection.connect()
    except OSError as error:
        return f"no RabbitMQ at {BROKER_URL.rpartition('@')[2]} ({error})"
    finally:
        connection.release()
    return ""


def assert_passes_on_postgresql(file: str, *, tests: int) -> None:
    """Runs a file's tests again in a process of its own, on PostgreSQL: so many pass, and none is skipped there."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", file, "-p", "no:xdist", "-p", "no:cacheprovider", "-m", "not services"],
        env={**os.environ, "DATABASE_URL": DATABASE_URL},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-4000:]
    counts = {word: int(n) for n, word in re.findall(r"(\d+) (passed|skipped)", run.stdout)}
    assert counts == {"passed": tests}, run.stdout[-4000:]
