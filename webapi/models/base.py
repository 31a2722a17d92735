"""What every table shares: a sortable, unguessable key and the time it was made."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import TypeVar

from django.db import models
from django.db.models import QuerySet
from uuid6 import uuid7

RowType = TypeVar("RowType", bound=models.Model)


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


def locked(rows: QuerySet[RowType]) -> QuerySet[RowType]:
    """These rows, held until the transaction ends. Rows that refer to them may still be written meanwhile.

    In the order of their keys, so that no two transactions wait for each other; of several tables, in the order
    annotators, tasks, batches. On SQLite the whole transaction is alone anyway.
    """
    return rows.select_for_update(of=("self",), no_key=True).order_by("pk")
