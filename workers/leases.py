"""Gives back what an absent annotator held, and forgets what no client will ask for again."""

from __future__ import annotations

from datetime import datetime, timedelta

from webapi.models import IdempotentRequest, Lease, LeaseState
from webapi.models.base import first_id_at

EXPIRE_AT_ONCE = 1000
"""Leases given back in one pass; the next pass takes the rest."""
KEEP_ANSWERS = timedelta(days=7)
"""How long an idempotency key is good for."""


def leases_expire(now: datetime) -> int:
    """Ends the leases that ran out before `now`, the oldest first; their tasks are free again. Returns how many.

    Any number of workers may call it at once: each lease is ended by one of them.
    """
    due = Lease.objects.filter(state=LeaseState.LIVE, expires_at__lt=now).order_by("expires_at")
    keys = list(due.values_list("pk", flat=True)[:EXPIRE_AT_ONCE])
    return len(Lease.end_all(keys, LeaseState.EXPIRED, due=now)) if keys else 0


def answers_forget(now: datetime) -> int:
    """Forgets the answers kept under idempotency keys older than `KEEP_ANSWERS`. Returns how many."""
    old = IdempotentRequest.objects.filter(pk__lt=first_id_at(now - KEEP_ANSWERS))
    return old.delete()[0] if old.exists() else 0
