"""Telling workers that a job is due: through the broker where one is set, else by waking the in-process worker."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Iterable

from amqp.exceptions import AMQPError
from django.conf import settings
from django.utils import timezone
from kombu.exceptions import KombuError

from webapi.models import Job, JobState

logger = logging.getLogger(__name__)

BROKER_ERRORS = (OSError, KombuError, AMQPError)
"""All that a broker which is away, refuses us or closes the line can raise."""

work_is_due = threading.Event()
"""Set when a job of this process's embedded worker is due."""


def publish(job_ids: Iterable[uuid.UUID]) -> None:
    """Announces jobs. An unreachable broker is logged and survived: the sweeper announces them again."""
    ids = list(job_ids)
    if not ids:
        return
    if settings.EMBEDDED:
        work_is_due.set()
        return
    try:
        _send(ids)
    except BROKER_ERRORS as error:
        logger.warning("broker not reached (%s); %d jobs stay queued and are announced again", error, len(ids))


def _send(ids: list[uuid.UUID]) -> None:
    from workers.app import PREFIX, app, run_job

    with app.producer_or_acquire() as producer:
        for job_id, queue in Job.objects.filter(pk__in=ids, state=JobState.QUEUED).values_list("pk", "queue"):
            run_job.apply_async(args=[str(job_id)], queue=f"{PREFIX}.{queue}", producer=producer, retry=True)
            Job.objects.filter(pk=job_id).update(published_at=timezone.now())


def wake() -> None:
    """Has this process's embedded worker look for work at once; workers behind a broker look by themselves."""
    work_is_due.set()
