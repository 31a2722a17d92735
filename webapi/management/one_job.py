"""A command's own jobs, run here where there is no worker, and watched until they end."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from django.conf import settings
from django.core.management.base import CommandError
from django.db import connection

from webapi.management.progress import watch_job
from webapi.models import Job, JobState
from workers.execute import execute
from workers.sweep import stop_now


def run_jobs(jobs: Sequence[Job], title: str, *, go_on: str) -> list[Job]:
    """Runs these jobs and no others, one after the other, with a bar each. Raises CommandError where one fails.

    `go_on` is the command that goes on after an interruption.
    """
    ended = []
    for number, job in enumerate(jobs, 1):
        name = f"{title} ({number}/{len(jobs)})" if len(jobs) > 1 else title
        if settings.EMBEDDED:
            threading.Thread(target=_run, args=(job,), daemon=True).start()
        try:
            job = watch_job(job, name)
        except KeyboardInterrupt:
            stop_now()
            raise CommandError(f"stopped; go on with: {go_on}", returncode=130) from None
        if job.state != JobState.SUCCEEDED:
            raise CommandError(job.error or f"{title}: the job was {job.state}")
        ended.append(job)
    return ended


def _run(job: Job) -> None:
    """This job and no other: a round that waits for a worker is not this command's business."""
    try:
        while Job.objects.filter(pk=job.pk, state__in=[JobState.QUEUED, JobState.RUNNING]).exists():
            if not execute(job.pk):
                time.sleep(1)  # another process has it, or it rests before another try
    finally:
        connection.close()
