"""What a command needs before it begins: each check ends in a message that says what to do."""

from __future__ import annotations

import fcntl
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from kombu.connection import Connection

from workers.publish import BROKER_ERRORS

BROKER_TIMEOUT = 5.0


def ready_database() -> None:
    """A database that answers and has its tables. Embedded it is made here; a shared one is migrated by hand."""
    try:
        if settings.EMBEDDED:
            _make_tables()
            return
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        raise CommandError(f"no database at {_database_place()}: {str(error).strip()}") from error
    if missing:
        raise CommandError(f"the database lacks {len(missing)} migrations; once: manage.py migrate")


def _make_tables() -> None:
    """One process at a time: two that begin together would both make them."""
    with (Path(settings.GAUNTLET_HOME) / ".migrate.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        call_command("migrate", verbosity=0)


def ready_broker() -> None:
    """A broker that is set, answers and lets us in."""
    if settings.EMBEDDED:
        raise CommandError(
            "BROKER_URL is not set, so jobs run inside `manage.py serve` and `manage.py run_round`: no worker is "
            "needed. For workers of their own set BROKER_URL (amqp://user:password@host:5672//) and DATABASE_URL."
        )
    with Connection(settings.BROKER_URL, connect_timeout=BROKER_TIMEOUT) as broker:
        try:
            broker.ensure_connection(max_retries=1, timeout=BROKER_TIMEOUT)
        except BROKER_ERRORS as error:
            raise CommandError(f"no broker at {broker.as_uri()}: {error}. Jobs wait in the database.") from error


def _database_place() -> str:
    place = connection.settings_dict
    return f"{place['HOST']}:{place['PORT'] or 5432}/{place['NAME']}" if place["HOST"] else str(place["NAME"])
