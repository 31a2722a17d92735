"""Reads of jobs: how fast one goes and when it will be done."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from django.utils import timezone

from webapi.models import Job, JobState


class Pace(NamedTuple):
    """Items a second since the job began, and when it ends at that rate. None where that cannot be said."""

    rate: float | None
    eta: datetime | None


def pace_of(job: Job) -> Pace:
    """The pace of a running job."""
    now = timezone.now()
    if job.state != JobState.RUNNING or job.started_at is None or not job.done:
        return Pace(None, None)
    rate = job.done / max((now - job.started_at).total_seconds(), 1e-3)
    left = max(job.total - job.done, 0)
    return Pace(rate, now + timedelta(seconds=left / rate))
