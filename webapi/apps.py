"""The one Django app."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db import connections
from django.db.migrations.recorder import MigrationRecorder
from django.db.models.signals import post_migrate

from webapi.triggers import make_triggers

TRIGGERS_SINCE = ("webapi", "0011_snapshots")


class WebapiConfig(AppConfig):
    """Tables, API and pages."""

    name = "webapi"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """A migration that rebuilds a table on SQLite loses its triggers: they are made again after each `migrate`."""
        post_migrate.connect(_make_triggers, sender=self)


def _make_triggers(using: str, **_: Any) -> None:
    if TRIGGERS_SINCE in MigrationRecorder(connections[using]).applied_migrations():
        make_triggers(connections[using])
