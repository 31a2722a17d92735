"""Answers kept by idempotency key, so that a request sent twice changes something once."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from webapi.models.base import Row


class IdempotentRequest(Row):
    """A changing request under a client's key: same key and body, same answer; another body, 409."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    key = models.CharField(max_length=200)
    method_path = models.CharField(max_length=500)
    body_digest = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(null=True)
    """Empty while the first request is still being answered."""
    answer = models.JSONField(null=True)

    class Meta(Row.Meta):
        constraints = [models.UniqueConstraint(fields=["user", "key"], name="idempotency_key_once")]

    def __str__(self) -> str:
        return f"{self.method_path} {self.key}"
