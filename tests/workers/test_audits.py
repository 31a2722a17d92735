"""Audits: a share of what was labelled, drawn once, for trusted labelers alone."""

from __future__ import annotations

import itertools
import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from rest_framework.test import APIClient

from tests.driving import WorkerKilled, killed_at
from webapi.models import Annotator, Batch, BatchKind, Consensus, Job, Label, Policy, Snippet, Task, User
from webapi.services.policies import policy_create
from workers.audits import batches_follow, draw_audits
from workers.execute import execute
from workers.jobs import JobRun
from workers.record import Answer, record_labels
from workers.sweep import sweep

Api = Callable[..., APIClient]


@pytest.fixture
def ended(policy: Policy, make_snippets: Callable[..., list[Snippet]]) -> Batch:
    """Forty labelled snippets under a policy that audits a quarter."""
    checked = policy_create(spec={**policy.spec, "quality": {"audit_rate": 0.25}})
    rows = make_snippets(40)
    Snippet.objects.update(policy=checked)
    # What is drawn follows from the batch's key and the texts: with both fixed, so is the draw.
    key = uuid.UUID(int=1)
    batch = Batch.objects.create(pk=key, policy=checked, name="first", state="done", priority=3)
    Task.objects.bulk_create(Task(batch=batch, snippet=row, state="done", taken=1, labelled=1) for row in rows)
    return batch


def everything(batch: Batch) -> None:
    """The batch's policy audits all that can be audited."""
    batch.policy.spec["quality"]["audit_rate"] = 1.0
    batch.policy.save()


def drawn() -> list[str]:
    tasks = Task.objects.filter(batch__kind=BatchKind.AUDIT)
    return sorted(str(key) for key in tasks.values_list("snippet", flat=True))


def test_a_share_is_drawn_once_however_often_it_runs(ended: Batch) -> None:
    assert [batches_follow(), batches_follow()] == [1, 0]
    (job,) = Job.objects.filter(kind="draw_audits")
    assert execute(job.pk)
    first = drawn()
    assert len(first) == 11  # of 40 at a rate of 0.25
    job.refresh_from_db()
    assert job.result == {"audits": len(first), "of": 40}
    again = Job.objects.create(kind="draw_audits", args={"batch": str(ended.pk)})
    assert execute(again.pk)
    assert drawn() == first
    audits = Batch.objects.get(kind=BatchKind.AUDIT)
    assert (audits.name, audits.priority, audits.round, audits.state) == ("first, audits", 3, None, "open")


def test_killed_at_any_statement_and_swept_it_draws_the_same(ended: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.audits.CHUNK", 3)
    Batch.objects.update(followed_at=timezone.now())
    args = {"batch": str(ended.pk)}
    draw_audits(JobRun(Job(args=args)))
    drawn_at_once = drawn()
    assert len(drawn_at_once) == 11
    audits = Batch.objects.filter(kind=BatchKind.AUDIT)
    for statement in itertools.count():
        Task.objects.filter(batch__in=audits).delete()
        audits.delete()
        died = False
        with connection.execute_wrapper(killed_at(statement)):
            try:
                draw_audits(JobRun(Job(args=args)))
            except WorkerKilled:
                died = True
        sweep()
        result = draw_audits(JobRun(Job(args=args)))
        sweep()
        assert result == {"audits": len(drawn_at_once), "of": 40}
        assert drawn() == drawn_at_once
        assert audits.get().state == "open"
        if not died:
            break
    assert statement > 10


@pytest.mark.django_db(transaction=True)
def test_a_sweep_between_any_two_statements_does_not_close_the_audits(
    ended: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another process would see there is asked over a connection of its own."""
    monkeypatch.setattr("workers.audits.CHUNK", 3)
    seen: list[tuple[int, int]] = []

    def look() -> None:
        audits = Batch.objects.filter(kind=BatchKind.AUDIT)
        seen.append((audits.count(), Task.objects.filter(batch__in=audits).count()))
        connection.close()

    def between(execute: Callable[..., Any], *call: Any) -> Any:
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        return execute(*call)

    with connection.execute_wrapper(between):
        draw_audits(JobRun(Job(args={"batch": str(ended.pk)})))
    assert set(seen) == {(0, 0), (1, len(drawn()))}


def test_what_no_trusted_labeler_may_take_is_not_drawn(ended: Batch, bob: User, alice: User, api: Api) -> None:
    """Bob is the only one who is trusted. Alice is not: what she answered or wrote is drawn. Where bob says otherwise,
    nobody else is asked, though the test set wants a third label of what two differ in."""
    trusted = Annotator.objects.create(name="bob", user=bob, staff=True)
    other = Annotator.objects.create(name="alice", user=alice)
    tasks = list(ended.tasks.order_by("pk"))
    for task in tasks[:10]:
        Label.objects.create(task=task, snippet=task.snippet, annotator=trusted, choice="No", counted=task != tasks[0])
    Label.objects.create(task=tasks[20], snippet=tasks[20].snippet, annotator=other, choice="No")
    Snippet.objects.filter(tasks__in=tasks[10:15]).update(author=trusted)
    Snippet.objects.filter(tasks__in=tasks[15:20]).update(author=other)
    Snippet.objects.filter(tasks=tasks[20]).update(split="test")
    everything(ended)
    assert draw_audits(JobRun(Job(args={"batch": str(ended.pk)}))) == {"audits": 25, "of": 25}
    assert drawn() == sorted(str(task.snippet_id) for task in tasks[15:])
    given = api(bob).post("/api/v1/tasks/lease", {"count": 40}).json()["tasks"]
    assert len(given) == 25
    for task in given:
        body = {"task": task["id"], "lease": task["lease"]["token"], "choice": "Yes"}
        assert api(bob).post("/api/v1/labels", body).status_code == 201
    assert Batch.objects.get(kind=BatchKind.AUDIT).state == "done"
    assert draw_audits(JobRun(Job(args={"batch": str(ended.pk)}))) == {"audits": 25, "of": 25}


def test_an_audit_that_was_answered_elsewhere_since_is_cancelled_and_its_batch_ends(
    ended: Batch, bob: User, alice: User
) -> None:
    """Bob answers two of three snippets in another batch, alice the third; what is held, or was ordered for snippets
    that bob had answered before, stays."""
    trusted = Annotator.objects.create(name="bob", user=bob, staff=True)
    other = Annotator.objects.create(name="alice", user=alice)
    three = [task.snippet for task in ended.tasks.order_by("pk")[:3]]
    again = Batch.objects.create(policy=ended.policy, name="again")
    Label.objects.create(snippet=three[0], annotator=trusted, choice="No")
    ordered, drawn_ = (Batch.objects.create(policy=ended.policy, name=n, kind="audit") for n in ("ordered", "drawn"))
    Task.objects.create(batch=ordered, snippet=three[0])
    audits = [Task.objects.create(batch=drawn_, snippet=snippet) for snippet in three[1:]]
    held = Task.objects.create(batch=ordered, snippet=three[1], taken=1)
    for snippet, who in ((three[1], trusted), (three[2], other)):
        task = Task.objects.create(batch=again, snippet=snippet)
        assert [one.outcome for one in record_labels([Answer(task.pk, who.pk, "Yes")])] == ["recorded"]
    follow = {"kind": "follow_labels", "args": {"policy": str(ended.policy_id)}}
    for _ in range(2):
        assert execute(Job.objects.create(**follow).pk)
        sweep()
        assert [Task.objects.get(pk=task.pk).state for task in audits] == ["cancelled", "open"]
        assert set(ordered.tasks.values_list("state", flat=True)) == {"open"}
        assert Task.objects.get(pk=held.pk).taken == 1
        assert Batch.objects.get(pk=drawn_.pk).state == "open"
    Label.objects.create(snippet=three[2], annotator=trusted, choice="No")
    assert execute(Job.objects.create(**follow).pk)
    sweep()
    assert Batch.objects.get(pk=drawn_.pk).state == "done"


def test_what_one_trusted_labeler_wrote_another_audits(ended: Batch, bob: User, rita: User) -> None:
    Snippet.objects.update(author=Annotator.objects.create(name="bob", user=bob, staff=True))
    everything(ended)
    assert draw_audits(JobRun(Job(args={"batch": str(ended.pk)}))) == {"audits": 40, "of": 40}


def test_where_nothing_is_drawn_there_is_no_batch(ended: Batch) -> None:
    staff = Annotator.objects.create(name="sam", staff=True)
    Label.objects.bulk_create(
        Label(task=task, snippet_id=task.snippet_id, annotator=staff, choice="No") for task in ended.tasks.all()
    )
    everything(ended)
    assert draw_audits(JobRun(Job(args={"batch": str(ended.pk)}))) == {"audits": 0, "of": 0}
    assert not Batch.objects.filter(kind=BatchKind.AUDIT).exists()


def test_no_audits_are_drawn_where_none_are_wanted(policy: Policy, make_batch: Callable[..., Batch]) -> None:
    batch = make_batch(2)
    assert batches_follow() == 0  # it is still open
    Batch.objects.filter(pk=batch.pk).update(state="done")
    assert [batches_follow(), batches_follow()] == [1, 0]
    batch.refresh_from_db()
    assert batch.followed_at is not None
    assert not Job.objects.exists()


def test_only_trusted_labelers_are_given_audits_and_their_answer_wins(
    ended: Batch, alice: User, bob: User, api: Api
) -> None:
    sweep()
    assert execute(Job.objects.get(kind="draw_audits").pk)
    assert api(alice).post("/api/v1/tasks/lease", {"count": 1}).json()["tasks"] == []
    (task,) = api(bob).post("/api/v1/tasks/lease", {"count": 1}).json()["tasks"]
    assert "audit" not in str(task)
    body = {"task": task["id"], "lease": task["lease"]["token"], "choice": "Yes"}
    assert api(bob).post("/api/v1/labels", body).status_code == 201
    sweep()
    for key in Job.objects.filter(kind="follow_labels", state="queued").values_list("pk", flat=True):
        assert execute(key)
    assert Consensus.objects.get().choice == "Yes"
