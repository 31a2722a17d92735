"""Whether this process lives, and whether it can do its work."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse
from kombu.connection import Connection

from workers.publish import BROKER_ERRORS

BROKER_TIMEOUT = 2.0


def healthz(request: HttpRequest) -> JsonResponse:
    """`GET /healthz`: the process answers."""
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> JsonResponse:
    """`GET /readyz`: 200 if database, migrations and (where one is set) broker are as they should be, else 503."""
    checks = {name: check() for name, check in CHECKS.items()}
    ready = all(result in ("ok", "none") for result in checks.values())
    body = {"status": "ready" if ready else "not ready", "checks": checks}
    return JsonResponse(body, status=200 if ready else 503)


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return "not reached"
    return "ok"


def _migrations() -> str:
    try:
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError:
        return "not reached"
    return f"{len(missing)} not applied" if missing else "ok"


def _broker() -> str:
    if not settings.BROKER_URL:
        return "none"
    try:
        with Connection(settings.BROKER_URL, connect_timeout=BROKER_TIMEOUT) as broker:
            broker.ensure_connection(max_retries=1, timeout=BROKER_TIMEOUT)
    except BROKER_ERRORS:
        return "not reached"
    return "ok"


CHECKS: dict[str, Callable[[], str]] = {"database": _database, "migrations": _migrations, "broker": _broker}
"""What must hold, by name; the answers are `ok`, `none` or what is wrong."""
