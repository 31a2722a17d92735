"""Artifacts: files in the store, known by their hash."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings
from django.db import models

from webapi.models.base import Row


class Artifact(Row):
    """A file or folder in the store. Readers go through `workers.artifacts`, which fetches and verifies it."""

    kind = models.CharField(max_length=32)
    path = models.CharField(max_length=500, unique=True)
    sha256 = models.CharField(max_length=64)
    size = models.PositiveBigIntegerField()
    files = models.JSONField(default=list, blank=True)
    """Of a folder, each file's `name`, `size` and `sha256`, so that a damaged one can be named."""

    def __str__(self) -> str:
        return self.path

    @property
    def file(self) -> Path:
        """Where it lies on this machine, if it is there."""
        return Path(settings.GAUNTLET_HOME) / self.path
