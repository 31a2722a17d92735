"""What every table shares: a sortable, unguessable key and the time it was made."""

from __future__ import annotations

import os
import secrets
import threading
import time
import uuid
from datetime import datetime
from typing import TypeVar

from django.db import models
from django.db.models import QuerySet

RowType = TypeVar("RowType", bound=models.Model)
RANDOM_BITS = 74
"""Of a UUIDv7, besides its time, version and variant."""
STEP_BITS = 60
"""Random bits of the step to the next key of the same millisecond: one key does not give away the next."""


class _Keys:
    """UUIDv7s that only grow within this process, and do not run ahead of the clock (RFC 9562, 6.2, method 2).

    Those of one millisecond count up by random steps from a random number with its first bit clear, which leaves room
    for 8,000 at the least: over that, or with a clock set back, time goes on by a millisecond once they are used up.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._millisecond = self._random = 0

    def next(self) -> uuid.UUID:
        with self._lock:
            now = time.time_ns() // 1_000_000
            self._random += 1 + secrets.randbits(STEP_BITS)
            if now > self._millisecond or self._random >> RANDOM_BITS:
                self._millisecond = max(now, self._millisecond + 1)
                self._random = secrets.randbits(RANDOM_BITS - 1)
            return _uuid7(self._millisecond, self._random)


def _uuid7(millisecond: int, random: int) -> uuid.UUID:
    return uuid.UUID(int=millisecond << 80 | 7 << 76 | random >> 62 << 64 | 2 << 62 | random & ((1 << 62) - 1))


_keys = _Keys()
os.register_at_fork(after_in_child=_keys.__init__)  # type: ignore[misc]  # another thread may have held the lock


def new_id() -> uuid.UUID:
    """A UUIDv7: sortable by time of creation, unguessable."""
    return _keys.next()


def first_id_at(when: datetime) -> uuid.UUID:
    """The smallest UUIDv7 of that millisecond: rows made since are found by the index on their keys."""
    return _uuid7(max(0, int(when.timestamp() * 1000)), 0)


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
