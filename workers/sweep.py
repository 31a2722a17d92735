"""The sweeper: finds what stopped and starts it again. It runs in every worker; the database decides who wins.

What it does each second: gives back jobs whose worker died and tasks whose annotator left; announces jobs that are due
and were not announced, or whose message got lost; has vendors asked for the answers that tasks came to want; looks
whether a running round can go on and whether an index lags behind its policy; forgets what nobody will ask for again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models import Q, QuerySet
from django.utils import timezone

from webapi.models import Batch, BatchState, Job, JobState, Round, RoundState
from workers.aggregate import labels_follow
from workers.audits import batches_follow
from workers.deepen import batches_deepen
from workers.execute import execute, jobs_at_hand
from workers.index_refresh import indexes_follow
from workers.leases import answers_forget, leases_expire
from workers.publish import publish, work_is_due
from workers.rounds import advance
from workers.webhooks import messages_forget

logger = logging.getLogger(__name__)

LOST_AFTER = timedelta(seconds=60)
"""A message this old whose job is still queued is taken for lost."""

_stop = threading.Event()
_threads: list[threading.Thread] = []


def sweep() -> int:
    """One pass. Returns how many jobs it announced."""
    now = timezone.now()
    Job.objects.filter(state=JobState.RUNNING, lease_expires_at__lt=now).update(
        state=JobState.QUEUED, lease_token=None, lease_expires_at=None, published_at=None
    )
    leases_expire(now)
    answers_forget(now)
    messages_forget(now)
    labels_follow(now)
    for batch in Batch.objects.filter(state=BatchState.OPEN):
        batch.finish_if_complete()
    batches_follow()
    batches_deepen()
    indexes_follow()
    for round_id in Round.objects.filter(state=RoundState.RUNNING).values_list("pk", flat=True):
        advance(round_id)
    due = due_jobs().filter(Q(published_at=None) | Q(published_at__lt=now - LOST_AFTER))
    ids = list(due.values_list("pk", flat=True)[:1000])
    publish(ids)
    return len(ids)


def due_jobs() -> QuerySet[Job]:
    """Queued jobs that may begin now, oldest first."""
    held_back = Q(stage__round__state__in=[RoundState.PAUSED, RoundState.CANCELLED, RoundState.FAILED])
    return Job.objects.filter(state=JobState.QUEUED, not_before__lte=timezone.now()).exclude(held_back).order_by("pk")


def abandoned_jobs() -> QuerySet[Job]:
    """Running jobs whose lease ran out, oldest first: for who runs jobs without a sweeper beside."""
    return Job.objects.filter(state=JobState.RUNNING, lease_expires_at__lt=timezone.now()).order_by("pk")


def run_due_job() -> bool:
    """Runs the oldest due job in this thread. False if there was none to be had."""
    job_id = due_jobs().values_list("pk", flat=True).first()
    return job_id is not None and execute(job_id)


def start_sweeper() -> None:
    """Starts sweeping in a thread of this process."""
    _start(_sweep_for_ever, "sweeper")


def start_embedded_worker() -> None:
    """Starts the in-process worker: a sweeper, and a thread that runs what is due, one job at a time."""
    start_sweeper()
    _start(_work_for_ever, "worker")


def stop_sweeper() -> None:
    """Stops this process's sweeper and embedded worker after the job at hand."""
    _stop.set()
    work_is_due.set()
    for thread in _threads:
        thread.join()
    _threads.clear()
    _stop.clear()


def stop_now() -> int:
    """For a process about to end: begins nothing more and hands its jobs back, so that the next worker has them at once
    and no attempt is counted. Returns how many. Their threads still run; what they write is by unique key.
    """
    _stop.set()
    try:
        return sum(job.hand_back() for job in jobs_at_hand())
    except DatabaseError as error:
        logger.warning("jobs not handed back, database not reached: %s; they come back as their leases run out", error)
        return 0


def _start(target: Callable[[], None], name: str) -> None:
    if any(thread.name == name for thread in _threads):
        return
    thread = threading.Thread(target=target, name=name, daemon=True)
    _threads.append(thread)
    thread.start()


def _sweep_for_ever() -> None:
    while not _stop.wait(settings.SWEEP_SECONDS):
        try:
            sweep()
        except DatabaseError as error:
            logger.warning("sweep put off, database not reached: %s", error)
            connection.close()
    connection.close()


def _work_for_ever() -> None:
    while not _stop.is_set():
        try:
            if run_due_job():
                continue
        except DatabaseError as error:
            logger.warning("work put off, database not reached: %s", error)
            connection.close()
        work_is_due.wait(settings.SWEEP_SECONDS)
        work_is_due.clear()
    connection.close()
