"""What every table shares: a sortable, unguessable key and the time it was made."""

from __future__ import annotations

import uuid
from datetime import datetime

from django.db import models
from uuid6 import uuid7


def new_id() -> uuid.UUID:
    """A UUIDv7: sortable by time of creation, unguessable."""
    return uuid.UUID(int=uuid7().int)


def first_id_at(when: datetime) -> uuid.UUID:
    """The smallest UUIDv7 of that millisecond: rows made since are found by the index on their keys."""
    milliseconds = max(0, int(when.timestamp() * 1000))
    return uuid.UUID(int=(milliseconds << 80) | (7 << 76) | (2 << 62))


class Row(models.Model):
    """Base of the tables."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        abstract = True
        ordering = ["id"]
