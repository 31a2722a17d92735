"""Policies: what counts as a failure, kept as the checked data of `engine.policies`."""

from __future__ import annotations

import json
from functools import lru_cache

from django.db import models

from engine.policies import Policy as PolicySpec
from engine.policies import policy_from_dict
from webapi.models.base import Row


class Policy(Row):
    """One version of a policy. A change is a new row with the next version."""

    name = models.CharField(max_length=64)
    version = models.PositiveIntegerField(default=1)
    spec = models.JSONField()
    digest = models.CharField(max_length=64)
    """SHA-256 of the canonical JSON of `spec`: the same policy given twice is one row."""

    class Meta(Row.Meta):
        verbose_name_plural = "policies"
        constraints = [
            models.UniqueConstraint(fields=["name", "version"], name="policy_version_once"),
            models.UniqueConstraint(fields=["name", "digest"], name="policy_content_once"),
        ]

    def __str__(self) -> str:
        return f"{self.name} v{self.version}"

    @property
    def rules(self) -> PolicySpec:
        """The policy as the engine takes it."""
        return _checked(json.dumps(self.spec, sort_keys=True), str(self))


@lru_cache(maxsize=256)
def _checked(spec: str, where: str) -> PolicySpec:
    """Checking takes longer than reading: each lease and each answer needs the rules."""
    return policy_from_dict(json.loads(spec), where=where)
