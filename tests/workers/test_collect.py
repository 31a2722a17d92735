"""Collecting from a vendor that holds many tasks: asked once, recorded as the answers stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from labeling_adapters import csv_dropbox
from tests.labeling_adapters import webhook_vendor_server
from tests.labeling_adapters.harness import Harness
from tests.labeling_adapters.http_server import FAULTS
from tests.labeling_adapters.test_contract import HARNESSES, OVER_HTTP
from tests.workers.test_vendors import run
from webapi.models import Batch, JobState, Label, Policy, Snippet
from webapi.services.batches import BatchOrder, batch_create
from workers import vendors
from workers.jobs import JobEnded, JobRun

pytestmark = pytest.mark.django_db
MANY = 600
REQUESTS = {"label_studio": 6, "surge": 7, "webhook_vendor": 6}
"""Pages of a hundred; of Surge's list the first empty page is the last."""


@pytest.fixture
def vendor(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Harness]:
    monkeypatch.setattr(webhook_vendor_server, "PAGE", 100)
    harness = HARNESSES[getattr(request, "param", "webhook_vendor")]
    for name, value in harness.environment.items():
        monkeypatch.setenv(name, value)
    with harness(tmp_path) as vendor:
        if hasattr(vendor, "surge"):
            vendor.surge.page_size = 100
        vendor.config = {**vendor.config, **({"timeout_s": 30} if harness.http else {})}
        yield vendor


@pytest.fixture
def batch(vendor: Harness, policy: Policy, make_snippets: Callable[..., list[Snippet]], settings: Any) -> Batch:
    """Six hundred tasks at the vendor, each for one person."""
    settings.JOB_LEASE_SECONDS = 3600  # the test's transaction holds the database: no heartbeat could be written
    adapter = next(name for name, kind in HARNESSES.items() if type(vendor) is kind)
    keys = [row.pk for row in make_snippets(MANY)]
    order = BatchOrder(policy=policy, name="n", snippets=keys, adapter=adapter, config=dict(vendor.config))
    batch = batch_create(order=order)
    run("send_batch")
    return batch


def answer_all(vendor: Harness, tasks: list[str]) -> None:
    for task in tasks:
        vendor.answer(task, "ann", "No")


@pytest.mark.parametrize("vendor", OVER_HTTP, indirect=True)
def test_many_tasks_are_asked_for_in_one_go(batch: Batch, vendor: Harness) -> None:
    tasks = vendor.holds()
    answer_all(vendor, tasks[:-1])
    all_pages = REQUESTS[batch.adapter]
    last_task = all_pages if batch.adapter == "webhook_vendor" else 1  # a status is of the whole batch
    for asked in (all_pages, last_task):
        vendor.server.requests.clear()
        assert run("collect_labels").state == JobState.QUEUED
        assert len(vendor.server.requests) == asked
        assert (Label.objects.count(), batch.tasks.filter(state="done").count()) == (MANY - 1, MANY - 1)
    answer_all(vendor, tasks[-1:])
    job = run("collect_labels")
    assert (job.state, job.done, job.total, job.result) == ("succeeded", MANY, MANY, {"tasks": MANY})


@pytest.mark.parametrize("vendor", ["csv_dropbox"], indirect=True)
def test_a_folder_is_read_once(batch: Batch, vendor: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = "".join(f"{task},ann,No\n" for task in vendor.holds())
    (vendor.folder / "in" / "back.csv").write_text(f"task,annotator,choice\n{rows}")
    read, original = list[str](), csv_dropbox.read_table
    monkeypatch.setattr(
        csv_dropbox, "read_table", lambda path, needed: (read.append(path.name), original(path, needed))[1]
    )
    assert run("collect_labels").state == JobState.SUCCEEDED
    assert (Label.objects.count(), read.count("back.csv")) == (MANY, 1)


def test_what_came_before_a_failure_is_recorded(batch: Batch, vendor: Harness) -> None:
    answer_all(vendor, vendor.holds())
    answer, pages = vendor.server.answer, list[int]()

    def failing(request: Any) -> Any:
        pages.append(1)
        return answer(request) if len(pages) < 4 else FAULTS["server error"]

    vendor.server.answer = failing
    job = run("collect_labels")
    assert (job.state, job.attempts, Label.objects.count()) == (JobState.QUEUED, 0, 300)
    vendor.server.answer = answer
    assert run("collect_labels").state == JobState.SUCCEEDED
    assert Label.objects.count() == MANY


def test_answers_are_recorded_in_chunks_and_a_cancelled_job_asks_no_further(
    batch: Batch, vendor: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_all(vendor, vendor.holds())
    taken, take = list[int](), vendors.take
    monkeypatch.setattr(
        vendors, "take", lambda batch, labels, adapter: (taken.append(len(labels)), take(batch, labels, adapter))[1]
    )
    look, looks = JobRun.look, list[int]()
    progress, said = JobRun.progress, list[tuple[int, int]]()
    monkeypatch.setattr(
        JobRun, "progress", lambda run, done, total: (said.append((done, total)), progress(run, done, total))[1]
    )

    def cancelled(run: JobRun) -> None:
        looks.append(1)
        if len(looks) == 350:
            raise JobEnded
        look(run)

    with monkeypatch.context() as patched:
        patched.setattr(JobRun, "look", cancelled)
        vendor.server.requests.clear()
        assert run("collect_labels").state == JobState.CANCELLED
    assert (taken, len(vendor.server.requests)) == ([250], 4)
    assert Label.objects.count() == 250
    assert said == [(0, MANY), (250, MANY)]
    taken.clear()
    said.clear()
    assert run("collect_labels", batch=str(batch.pk)).state == JobState.SUCCEEDED
    assert (taken, Label.objects.count()) == ([250, 100], MANY)
    assert said == [(250, MANY), (500, MANY), (MANY, MANY)]
