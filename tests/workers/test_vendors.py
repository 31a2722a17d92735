"""Jobs about a batch at a vendor, over real HTTP: run twice, killed at any call, overtaken by another."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from labeling_adapters.http import JsonClient
from tests.labeling_adapters.http_server import FAULTS, Fault
from tests.labeling_adapters.webhook_vendor_harness import WebhookVendorHarness
from webapi.models import Batch, Job, JobState, Label, Policy, Snippet
from webapi.services.batches import BatchOrder, batch_create, batch_move
from workers.execute import execute


class WorkerKilled(BaseException):
    """As SIGKILL: nothing of the worker's own gets a word in."""


@pytest.fixture
def vendor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebhookVendorHarness]:
    for name, value in WebhookVendorHarness.environment.items():
        monkeypatch.setenv(name, value)
    with WebhookVendorHarness(tmp_path) as harness:
        yield harness


@pytest.fixture
def batch(
    vendor: WebhookVendorHarness, policy: Policy, make_snippets: Callable[..., list[Snippet]], settings: Any
) -> Batch:
    """Three snippets for a vendor; nothing is sent yet."""
    settings.JOB_LEASE_SECONDS = 3600  # the test's transaction holds the database: no heartbeat could be written
    keys = [row.pk for row in make_snippets(3)]
    order = BatchOrder(policy=policy, name="n", snippets=keys, adapter="webhook_vendor", config=dict(vendor.config))
    return batch_create(order=order)


def run(kind: str, **args: object) -> Job:
    """Runs the newest job of this kind, or a new one with these arguments."""
    job = Job.objects.create(kind=kind, args=args) if args else Job.objects.filter(kind=kind).latest("pk")
    Job.objects.filter(pk=job.pk, state=JobState.QUEUED).update(not_before=timezone.now())
    assert execute(job.pk)
    job.refresh_from_db()
    return job


def killed_at(call: int, owner: Any, name: str, patch: pytest.MonkeyPatch, kind: str) -> None:
    """The newest job of this kind dies at its call number `call` of that function: the vendor's part of it is done, the
    job's own end (a function of Job) is not."""
    calls, original = [0], getattr(owner, name)

    def dying(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        dies = calls[0] == call
        done = None if dies and owner is Job else original(*args, **kwargs)
        if dies:
            raise WorkerKilled
        return done

    with patch.context() as patched:
        patched.setattr(owner, name, dying)
        with pytest.raises(WorkerKilled):
            run(kind)
    past = timezone.now() - timedelta(seconds=1)
    assert Job.objects.filter(kind=kind, state=JobState.RUNNING).update(lease_expires_at=past) == 1


@pytest.mark.parametrize("step", [(JsonClient, "ask"), (Job, "succeed")])
def test_sending_twice_or_after_a_kill_leaves_each_task_once(
    batch: Batch, vendor: WebhookVendorHarness, monkeypatch: pytest.MonkeyPatch, step: tuple[Any, str]
) -> None:
    killed_at(1, *step, monkeypatch, "send_batch")
    assert run("send_batch").state == JobState.SUCCEEDED
    assert run("send_batch", batch=str(batch.pk)).result == {"sent": 0}
    assert sorted(vendor.holds()) == sorted(str(task.pk) for task in batch.tasks.all())
    assert len([one for one in vendor.fake.taken if one["type"] == "tasks.created"]) == 1
    assert not batch.tasks.filter(remote_id="").exists()


@pytest.mark.parametrize("step", [(JsonClient, "ask"), (Job, "come_back")])
def test_collecting_twice_or_after_a_kill_takes_each_label_once(
    batch: Batch, vendor: WebhookVendorHarness, monkeypatch: pytest.MonkeyPatch, step: tuple[Any, str]
) -> None:
    run("send_batch")
    one, *others = vendor.holds()
    vendor.answer(one, "ann", "Yes")
    killed_at(1, *step, monkeypatch, "collect_labels")
    for _ in range(2):
        waiting = run("collect_labels")
        assert (waiting.state, waiting.attempts) == (JobState.QUEUED, 0)
        assert list(Label.objects.values_list("choice", flat=True)) == ["Yes"]
    for task in others:
        vendor.answer(task, "ann", "No")
    assert run("collect_labels").state == JobState.SUCCEEDED
    assert Label.objects.count() == 3
    batch.refresh_from_db()
    assert batch.state == "done"


@pytest.mark.parametrize("step", [(JsonClient, "ask"), (Job, "succeed")])
def test_a_move_is_made_once_whatever_becomes_of_its_job(
    batch: Batch, vendor: WebhookVendorHarness, monkeypatch: pytest.MonkeyPatch, step: tuple[Any, str]
) -> None:
    run("send_batch")
    batch_move(batch=batch, move="launch")
    killed_at(1, *step, monkeypatch, "move_batch")
    assert run("move_batch").state == JobState.SUCCEEDED
    assert vendor.state() == "in_progress"
    batch.refresh_from_db()
    assert (batch.asked, batch.told) == ("launch", "launch")


def test_of_two_moves_the_later_holds(batch: Batch, vendor: WebhookVendorHarness) -> None:
    run("send_batch")
    for move in ("launch", "pause"):
        batch_move(batch=batch, move=move)
        batch.refresh_from_db()
    launched, paused = Job.objects.filter(kind="move_batch").order_by("pk")
    for job in (paused, launched):
        assert execute(job.pk)
    launched.refresh_from_db()
    assert launched.result == {"move": "launch", "instead": "pause"}
    batch.refresh_from_db()
    assert (batch.told, [one["type"] for one in vendor.fake.taken]) == ("pause", ["tasks.created", "batch.paused"])


def test_a_move_waits_until_the_tasks_are_sent(batch: Batch, vendor: WebhookVendorHarness) -> None:
    batch_move(batch=batch, move="launch")
    assert run("move_batch").state == JobState.QUEUED
    assert vendor.fake.taken == []
    run("send_batch")
    assert run("move_batch").state == JobState.SUCCEEDED
    assert vendor.state() == "in_progress"


def test_a_vendor_that_was_away_is_told_again_when_asked_again(batch: Batch, vendor: WebhookVendorHarness) -> None:
    run("send_batch")
    vendor.server.faults += [Fault(FAULTS["refused key"])]
    batch_move(batch=batch, move="launch")
    assert run("move_batch").state == JobState.FAILED
    batch.refresh_from_db()
    assert (batch.told, bool(batch.vendor_error)) == ("", True)
    batch_move(batch=batch, move="launch")
    assert Job.objects.filter(kind="move_batch").count() == 2
    assert run("move_batch").state == JobState.SUCCEEDED
    batch.refresh_from_db()
    assert (batch.told, batch.vendor_error, vendor.state()) == ("launch", "", "in_progress")


def test_answers_that_cannot_be_kept_do_not_hold_up_the_others(batch: Batch, vendor: WebhookVendorHarness) -> None:
    run("send_batch")
    one, other, _ = vendor.holds()
    vendor.answer(one, "a\0", "Yes")
    vendor.answer(other, "ann", "Yes")
    for _ in range(2):
        assert run("collect_labels").state == JobState.QUEUED
        assert list(Label.objects.values_list("annotator__external_id", "task")) == [("ann", uuid.UUID(other))]


def test_a_vendor_that_is_away_is_asked_again_at_the_next_look(batch: Batch, vendor: WebhookVendorHarness) -> None:
    run("send_batch")
    for _ in range(7):  # more often than a job may fail
        vendor.server.faults += [Fault(FAULTS["server error"])] * 10
        job = run("collect_labels")
        assert (job.state, job.attempts) == (JobState.QUEUED, 0)
        vendor.server.faults.clear()
    batch.refresh_from_db()
    assert batch.vendor_error
    run("collect_labels")
    batch.refresh_from_db()
    assert batch.vendor_error == ""
