"""Jobs that stand alone: cancelled by those who may."""

from __future__ import annotations

from django.utils import timezone

from webapi.errors import DomainError
from webapi.models import Job, JobState


def job_cancel(*, job: Job) -> Job:
    """Ends a job that belongs to no round, attack, sweep or evaluation: a queued one never begins, one that runs stops
    at its next heartbeat.

    Raises DomainError `job_of_a_round`, `job_of_an_attack`, `job_of_a_sweep`, `job_of_an_evaluation` or
    `job_finished`.
    """
    if job.stage_id is not None:
        raise DomainError("job_of_a_round", "The job is part of a round; pause or cancel the round.")
    if job.attack_id is not None:
        raise DomainError("job_of_an_attack", "The job is part of an attack; cancel the attack.")
    if job.sweep_id is not None:
        raise DomainError("job_of_a_sweep", "The job is part of a sweep; cancel the sweep.")
    if job.evaluation_id is not None:
        raise DomainError("job_of_an_evaluation", "The job is part of an evaluation; cancel the evaluation.")
    unfinished = Job.objects.filter(pk=job.pk, state__in=(JobState.QUEUED, JobState.RUNNING))
    # Without its lease's token the worker cannot renew, and so notices that it is no longer wanted.
    if not unfinished.update(state=JobState.CANCELLED, lease_token=None, finished_at=timezone.now()):
        job.refresh_from_db()
        raise DomainError("job_finished", f"The job has {job.state}.")
    job.refresh_from_db()
    return job
