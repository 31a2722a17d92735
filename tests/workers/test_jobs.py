"""Jobs: one worker at a time, nothing lost when it dies, nothing done twice."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from engine.errors import BadInput, GeneratorError
from webapi.models import Job, JobState
from workers import execute as execute_module
from workers.execute import JOBS, execute, jobs_at_hand
from workers.jobs import JobEnded, JobRun, Later, chunked, enqueue
from workers.sweep import run_due_job, stop_now, stop_sweeper, sweep

pytestmark = pytest.mark.django_db


def queued(kind: str = "count", **fields: object) -> Job:
    return Job.objects.create(kind=kind, **fields)


def lease_runs_out(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[JobRun]:
    """A job kind `count` that notes each run of it."""
    seen: list[JobRun] = []

    def count(run: JobRun) -> dict[str, object]:
        seen.append(run)
        run.progress(3, 7)
        return {"run": len(seen)}

    monkeypatch.setitem(JOBS, "count", count)
    return seen


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(run: JobRun) -> dict[str, object]:
        raise error

    monkeypatch.setitem(JOBS, "count", fail)


def test_a_job_is_claimed_once() -> None:
    job = queued()
    assert Job.claim(job.pk, worker="alice") is not None
    assert Job.claim(job.pk, worker="bob") is None
    job.refresh_from_db()
    assert (job.state, job.worker, job.attempts) == (JobState.RUNNING, "alice", 1)


def test_a_job_runs_once_and_keeps_its_result(runs: list[JobRun]) -> None:
    job = queued()
    assert execute(job.pk) is True
    assert execute(job.pk) is False
    job.refresh_from_db()
    assert (job.state, job.result, job.done, job.total) == (JobState.SUCCEEDED, {"run": 1}, 7, 7)
    assert len(runs) == 1


def test_a_dead_workers_job_comes_back_and_the_dead_cannot_end_it(runs: list[JobRun]) -> None:
    job = queued()
    dead = Job.claim(job.pk, worker="dead")
    assert dead is not None
    assert execute(job.pk) is False, "its lease still holds"
    lease_runs_out(job)
    sweep()
    assert run_due_job() is True
    assert dead.succeed({"run": "late"}) is False
    assert dead.renew(done=1, total=1) is False
    assert dead.fail("late") is False
    job.refresh_from_db()
    assert (job.state, job.result, job.attempts) == (JobState.SUCCEEDED, {"run": 1}, 2)


def test_who_lost_the_lease_is_told_to_stop() -> None:
    job = Job.claim(queued().pk, worker="slow")
    assert job is not None
    run = JobRun(job)
    lease_runs_out(job)
    assert Job.claim(job.pk, worker="fast") is not None
    run.beat()
    with pytest.raises(JobEnded):
        run.progress(1, 2)


def test_a_permanent_error_fails_the_job_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, BadInput("no such folder", where="stories"))
    job = queued()
    execute(job.pk)
    job.refresh_from_db()
    assert (job.state, job.error, job.attempts) == (JobState.FAILED, "stories: no such folder", 1)


def test_a_passing_error_puts_the_job_back_until_it_is_given_up(
    monkeypatch: pytest.MonkeyPatch, settings: object
) -> None:
    settings.JOB_MAX_ATTEMPTS = 2  # type: ignore[attr-defined]
    failing(monkeypatch, GeneratorError("unreachable", permanent=False))
    job = queued()
    execute(job.pk)
    job.refresh_from_db()
    assert (job.state, job.error) == (JobState.QUEUED, "unreachable")
    assert job.not_before > timezone.now() + timedelta(seconds=1)
    assert run_due_job() is False, "not before its time"
    Job.objects.update(not_before=timezone.now())
    execute(job.pk)
    job.refresh_from_db()
    assert (job.state, job.attempts) == (JobState.FAILED, 2)


def test_a_job_that_kills_its_workers_is_given_up(runs: list[JobRun], settings: object) -> None:
    settings.JOB_MAX_ATTEMPTS = 2  # type: ignore[attr-defined]
    job = queued()
    for _ in range(2):
        assert Job.claim(job.pk, worker="doomed") is not None
        lease_runs_out(job)
    assert execute(job.pk) is True
    job.refresh_from_db()
    assert job.state == JobState.FAILED
    assert job.error == "its worker died 2 times: out of memory, or killed"
    assert runs == []


def test_a_job_handed_back_is_due_at_once_and_the_attempt_is_not_counted(runs: list[JobRun], settings: object) -> None:
    settings.JOB_MAX_ATTEMPTS = 2  # type: ignore[attr-defined]
    job = queued()
    for _ in range(7):
        stopped = Job.claim(job.pk, worker="restarted")
        assert stopped is not None
        assert stopped.hand_back() is True
        assert stopped.hand_back() is False
        assert stopped.succeed({"run": "late"}) is False
    job.refresh_from_db()
    assert (job.state, job.attempts, job.error) == (JobState.QUEUED, 0, "")
    assert run_due_job() is True
    job.refresh_from_db()
    assert (job.state, job.attempts, job.result) == (JobState.SUCCEEDED, 1, {"run": 1})


def test_a_process_about_to_end_hands_back_what_it_runs_and_begins_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    handed_back: list[int] = []

    def interrupted(run: JobRun) -> dict[str, object]:
        handed_back.append(stop_now())
        run.beat()
        run.progress(1, 2)
        return {}

    monkeypatch.setitem(JOBS, "count", interrupted)
    job = queued()
    try:
        execute(job.pk)
        assert (handed_back, jobs_at_hand(), stop_now()) == ([1], [], 0)
    finally:
        stop_sweeper()
    job.refresh_from_db()
    assert (job.state, job.attempts, job.error) == (JobState.QUEUED, 0, "")


def test_later_puts_a_job_back_without_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, Later(30))
    job = queued()
    execute(job.pk)
    job.refresh_from_db()
    assert (job.state, job.error, job.published_at) == (JobState.QUEUED, "", None)
    assert run_due_job() is False


def test_a_job_that_waits_for_people_uses_up_no_attempts(monkeypatch: pytest.MonkeyPatch, settings: object) -> None:
    settings.JOB_MAX_ATTEMPTS = 2  # type: ignore[attr-defined]
    job = queued()
    outcomes = [GeneratorError("unreachable", permanent=False), Later(0), Later(0), Later(0)]
    for attempts, error in zip([1, 0, 0, 0], outcomes, strict=True):
        failing(monkeypatch, error)
        Job.objects.update(not_before=timezone.now())
        assert execute(job.pk) is True
        job.refresh_from_db()
        assert (job.state, job.attempts) == (JobState.QUEUED, attempts)
    failing(monkeypatch, GeneratorError("unreachable", permanent=False))
    assert execute(job.pk) is True
    job.refresh_from_db()
    assert (job.state, job.attempts) == (JobState.QUEUED, 1), "the failure before the waiting is forgotten"


def test_an_unknown_kind_fails_with_the_known_ones() -> None:
    job = queued("mine")
    execute(job.pk)
    job.refresh_from_db()
    assert job.state == JobState.FAILED
    assert job.error.startswith("unknown job kind 'mine'; known: ")
    assert all(kind in job.error for kind in execute_module.JOBS)


def test_the_oldest_due_job_runs_first(runs: list[JobRun]) -> None:
    first, second = queued(args={"n": 1}), queued(args={"n": 2})
    assert run_due_job()
    assert run_due_job()
    assert not run_due_job()
    assert [run.job.pk for run in runs] == [first.pk, second.pk]


def test_a_lost_message_is_announced_again() -> None:
    job = queued()
    assert sweep() == 1
    Job.objects.filter(pk=job.pk).update(published_at=timezone.now())
    assert sweep() == 0
    Job.objects.filter(pk=job.pk).update(published_at=timezone.now() - timedelta(seconds=61))
    assert sweep() == 1


def test_enqueue_outside_a_stage_makes_a_job_each_time() -> None:
    jobs = {enqueue("count", {"n": 1}).pk, enqueue("count", {"n": 1}).pk}
    assert Job.objects.filter(pk__in=jobs, kind="count", queue="default").count() == 2


def test_chunked_keeps_order_and_all() -> None:
    assert list(chunked(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(chunked([], 2)) == []
