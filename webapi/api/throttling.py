"""How fast one user may ask."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

if TYPE_CHECKING:
    # REST framework loads this module while it loads its views.
    from rest_framework.views import APIView

SECONDS = {"s": 1, "sec": 1, "min": 60, "hour": 3600, "day": 86400}
FORGET_AT = 10_000


class _Bucket(NamedTuple):
    left: float
    at: float


class PerUser(BaseThrottle):
    """A bucket of requests for each user, refilled evenly: `API_RATE` of them may come at once, and as many a period.

    Kept in the memory of each server process, so that the true limit is the rate times the processes.
    """

    _buckets: dict[str, _Bucket] = {}
    _lock = threading.Lock()

    def __init__(self) -> None:
        self._wait = 0.0

    def allow_request(self, request: Request, view: APIView) -> bool:
        """Takes one from the user's bucket, if there is one. O(1)."""
        most, period = rate()
        key, now = str(request.user.pk), time.monotonic()
        with self._lock:
            if len(self._buckets) > FORGET_AT:
                self._buckets.clear()
            bucket = self._buckets.get(key, _Bucket(most, now))
            left = min(most, bucket.left + (now - bucket.at) * most / period)
            allowed = left >= 1
            self._buckets[key] = _Bucket(left - 1 if allowed else left, now)
        self._wait = 0.0 if allowed else (1 - left) * period / most
        return allowed

    def wait(self) -> float:
        """Seconds until the next request may come."""
        return self._wait


def rate() -> tuple[float, float]:
    """Requests and seconds of `API_RATE`, such as `6000/min`. Raises ImproperlyConfigured."""
    number, _, period = settings.API_RATE.partition("/")
    if not number.isdigit() or int(number) < 1 or period not in SECONDS:
        raise ImproperlyConfigured(f"API_RATE={settings.API_RATE!r} is not like 6000/min")
    return float(number), float(SECONDS[period])
