"""Tasks at vendors that come to want more answers: asked for once, of somebody else, whatever dies in between."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import apps
from django.db import connection

from labeling_adapters.http import JsonClient
from tests.labeling_adapters.harness import Harness
from tests.labeling_adapters.http_server import FAULTS, Fault
from tests.labeling_adapters.test_contract import HARNESSES, SENDING
from tests.workers.test_vendors import killed_at, run
from webapi.models import (
    Annotator,
    Batch,
    Job,
    JobState,
    Label,
    Policy,
    Snippet,
    Standing,
    StandingState,
    Task,
)
from webapi.services.batches import BatchOrder, batch_create, batch_move
from workers.deepen import ASK_AGAIN, batches_deepen
from workers.quality import put_back
from workers.sweep import sweep

pytestmark = pytest.mark.django_db


@pytest.fixture
def vendor(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Harness]:
    harness = HARNESSES[getattr(request, "param", "webhook_vendor")]
    for name, value in harness.environment.items():
        monkeypatch.setenv(name, value)
    with harness(tmp_path) as vendor:
        yield vendor


@pytest.fixture
def batch(vendor: Harness, policy: Policy, make_snippets: Callable[..., list[Snippet]], settings: Any) -> Batch:
    """Three tasks at the vendor, each for two people; where they differ, one more decides."""
    settings.JOB_LEASE_SECONDS = 3600  # the test's transaction holds the database: no heartbeat could be written
    policy.spec["depth"] = {"test": 2, "more_on": ["disagreement"]}
    policy.save()
    adapter = next(name for name, kind in HARNESSES.items() if type(vendor) is kind)
    keys = [row.pk for row in make_snippets(3)]
    order = BatchOrder(policy=policy, name="n", snippets=keys, overlap=2, adapter=adapter, config=dict(vendor.config))
    batch = batch_create(order=order)
    batch_move(batch=batch, move="launch")
    run("send_batch")
    run("move_batch")
    batch.refresh_from_db()
    assert batches_deepen() == 0
    return batch


def differ(batch: Batch, vendor: Harness) -> Task:
    """The first task's two people differ; their answers are collected."""
    task = batch.tasks.order_by("place").first()
    assert task is not None
    vendor.answer(str(task.pk), "ann", "Yes")
    vendor.answer(str(task.pk), "bob", "No")
    run("collect_labels")
    task.refresh_from_db()
    assert (task.wanted, task.labelled, task.asked_for) == (3, 2, 2)
    return task


def depth(task: Task) -> tuple[str, int, int, int | None]:
    task.refresh_from_db()
    return task.state, task.wanted, task.labelled, task.asked_for


def told(vendor: Any) -> list[Any]:
    """What the vendor was asked for more, repeats aside."""
    return [one["data"]["tasks"] for one in vendor.fake.taken if one["type"] == "tasks.deepened"]


@pytest.mark.parametrize("vendor", SENDING, indirect=True)
def test_where_two_differ_a_third_decides_and_the_batch_ends(batch: Batch, vendor: Harness) -> None:
    task = differ(batch, vendor)
    others = batch.tasks.exclude(pk=task.pk)
    for _ in range(3):
        sweep()
    assert Job.objects.filter(kind="deepen_batch").count() == 1
    assert run("deepen_batch").result == {"tasks": 1}
    assert (depth(task), batches_deepen()) == (("open", 3, 2, 3), 0)
    assert vendor.wants(str(task.pk)) == 3
    assert [vendor.wants(str(one.pk)) for one in others] == [2, 2]
    assert vendor.keeps_out(str(task.pk)) == {vendor.id_of("ann"), vendor.id_of("bob")}
    vendor.answer(str(task.pk), "cleo", "No")
    for one in others:
        for annotator in ("ann", "bob"):
            vendor.answer(str(one.pk), annotator, "No")
    assert run("collect_labels").state == JobState.SUCCEEDED
    batch.refresh_from_db()
    assert (batch.state, batch.vendor_error, depth(task)) == ("done", "", ("done", 3, 3, 3))
    given = dict(Label.objects.filter(task=task, counted=True).values_list("annotator__external_id", "choice"))
    assert given == {vendor.id_of("ann"): "Yes", vendor.id_of("bob"): "No", vendor.id_of("cleo"): "No"}


@pytest.mark.parametrize("step", [(JsonClient, "ask"), (Job, "succeed")])
def test_asking_twice_or_after_a_kill_asks_for_one_answer(
    batch: Batch, vendor: Harness, monkeypatch: pytest.MonkeyPatch, step: tuple[Any, str]
) -> None:
    task = differ(batch, vendor)
    assert batches_deepen() == 1
    killed_at(1, *step, monkeypatch, "deepen_batch")
    assert depth(task) == ("open", 3, 2, 2 if step[1] == "ask" else 3)
    assert run("deepen_batch").result == {"tasks": 1 if step[1] != "succeed" else 0}
    assert run("deepen_batch", batch=str(batch.pk)).result == {"tasks": 0}
    asked = {"id": str(task.pk), "total": 3, "answered_by": ["ann", "bob"]}
    assert told(vendor) == [[asked]]
    assert depth(task) == ("open", 3, 2, 3)


def test_an_answer_between_a_kill_and_the_next_asking_asks_for_nothing_more(
    batch: Batch, vendor: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = differ(batch, vendor)
    batches_deepen()
    killed_at(1, JsonClient, "ask", monkeypatch, "deepen_batch")
    vendor.answer(str(task.pk), "cleo", "Unsure")
    run("collect_labels")
    assert depth(task) == ("open", 4, 3, 2)
    run("deepen_batch")
    assert [[one["total"] for one in each] for each in told(vendor)] == [[3], [4]]
    assert (vendor.wants(str(task.pk)), depth(task)) == (4, ("open", 4, 3, 4))


def test_a_vendor_that_refuses_is_asked_again_later_and_other_jobs_go_on(batch: Batch, vendor: Harness) -> None:
    task = differ(batch, vendor)
    vendor.server.faults.append(Fault(FAULTS["refused key"]))
    batches_deepen()
    refused = run("deepen_batch")
    assert (refused.state, refused.attempts, batches_deepen()) == (JobState.QUEUED, 0, 0)
    assert ASK_AGAIN - 5 < (refused.not_before - refused.created_at).total_seconds() < ASK_AGAIN + 60
    batch.refresh_from_db()
    assert "401" in batch.vendor_error
    batch_move(batch=batch, move="pause")
    assert run("move_batch").state == JobState.SUCCEEDED
    assert run("deepen_batch").result == {"tasks": 1}
    batch.refresh_from_db()
    assert (batch.vendor_error, depth(task)) == ("", ("open", 3, 2, 3))


def test_one_task_that_the_vendor_lost_holds_up_no_other(batch: Batch, vendor: Any) -> None:
    task = differ(batch, vendor)
    other = batch.tasks.exclude(pk=task.pk).order_by("place").first()
    assert other is not None
    Task.objects.filter(pk=other.pk).update(wanted=3)
    del vendor.fake.tasks[str(other.pk)]
    batches_deepen()
    assert run("deepen_batch").state == JobState.QUEUED
    assert (depth(task)[3], depth(other)[3]) == (3, 2)
    batch.refresh_from_db()
    assert batch.vendor_error == f"webhook_vendor refused 1 of 2 tasks: task {other.pk}: webhook_vendor: no such task"


def test_a_batch_that_ended_asks_for_nothing(batch: Batch, vendor: Harness) -> None:
    differ(batch, vendor)
    batches_deepen()
    batch.cancel()
    assert run("deepen_batch").result == {"tasks": 0}
    assert (told(vendor), batches_deepen()) == ([], 0)


def test_a_paused_annotators_answer_is_asked_for_again_once(batch: Batch, vendor: Harness) -> None:
    task, *_ = batch.tasks.order_by("place")
    mallory = Annotator.objects.create(vendor="webhook_vendor", external_id="mallory", name="mallory")
    Standing.objects.create(annotator=mallory, policy=batch.policy, state=StandingState.PAUSED)
    vendor.answer(str(task.pk), "mallory", "Yes")
    for choice in ("Yes", "Yes", "No"):
        vendor.change(str(task.pk), "mallory", choice)
        run("collect_labels")
        assert depth(task) == ("open", 2, 0, 1)
    assert list(Label.objects.values_list("choice", "counted")) == [("Yes", False), ("No", False)]
    batches_deepen()
    run("deepen_batch")
    assert told(vendor) == [[{"id": str(task.pk), "total": 3, "answered_by": ["mallory"]}]]
    assert depth(task) == ("open", 2, 0, 2)


def test_answers_taken_out_of_the_count_are_asked_for_again(batch: Batch, vendor: Harness) -> None:
    task, *others = batch.tasks.order_by("place")
    for annotator in ("ann", "bob"):
        vendor.answer(str(task.pk), annotator, "No")
    run("collect_labels")
    assert depth(task) == ("done", 2, 2, 2)
    standing = Standing.objects.create(annotator=Annotator.objects.get(external_id="ann"), policy=batch.policy)
    for _ in range(2):
        put_back(standing)
        assert depth(task) == ("open", 2, 1, 1)
    assert [depth(one)[3] for one in others] == [2, 2]
    batches_deepen()
    run("deepen_batch")
    assert told(vendor) == [[{"id": str(task.pk), "total": 3, "answered_by": ["ann", "bob"]}]]
    assert depth(task) == ("open", 2, 1, 2)


def test_tie_breaks_of_the_test_set_go_out_too(batch: Batch, vendor: Harness) -> None:
    batch.policy.spec["depth"] = {"test": 2, "more_on": []}
    batch.policy.save()
    for task in batch.tasks.all():
        test = task.pk == batch.tasks.order_by("place").values_list("pk", flat=True)[0]
        Snippet.objects.filter(pk=task.snippet_id).update(split="test" if test else "train")
        vendor.answer(str(task.pk), "ann", "Yes")
        vendor.answer(str(task.pk), "bob", "No")
    run("collect_labels")
    batches_deepen()
    run("deepen_batch")
    task = batch.tasks.order_by("place")[0]
    assert told(vendor) == [[{"id": str(task.pk), "total": 3, "answered_by": ["ann", "bob"]}]]


@pytest.mark.parametrize("adapter", ["pull", "simulated"])
def test_who_sees_by_himself_what_is_wanted_is_not_told(
    policy: Policy, make_batch: Callable[..., Batch], adapter: str
) -> None:
    policy.spec["simulation"] = {"judge": "lexicon", "lexicon": [{"any_of": ["story"]}]}
    policy.save()
    batch = make_batch(1, adapter=adapter)
    run("send_batch", batch=str(batch.pk))
    task = batch.tasks.get()
    assert (task.remote_id, task.asked_for) == (str(task.pk), None)
    Task.objects.update(wanted=2)
    assert batches_deepen() == 0


def test_the_migration_asks_again_where_nobody_noted_whether_more_was_asked_for(
    make_batch: Callable[..., Batch],
) -> None:
    made = importlib.import_module("webapi.migrations.0007_how_many_answers_a_vendor_was_asked_for")
    batch, here = make_batch(4, wanted=2, adapter="surge"), make_batch(1, adapter="pull")
    whole, short, sent, waiting = batch.tasks.order_by("pk")
    Task.objects.exclude(pk=waiting.pk).update(remote_id="r")
    Task.objects.filter(pk=whole.pk).update(state="done", taken=2, labelled=2)
    Task.objects.filter(pk=short.pk).update(wanted=3, taken=2, labelled=2)
    made.note_what_was_asked(apps, SimpleNamespace(connection=connection))
    assert [depth(task)[3] for task in (whole, short, sent, waiting, here.tasks.get())] == [2, 2, 2, None, None]
