"""Audits: a share of what was labelled, drawn once, for trusted labelers alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from rest_framework.test import APIClient

from webapi.models import Batch, BatchKind, Consensus, Job, Policy, Snippet, Task, User
from webapi.services.policies import policy_create
from workers.audits import batches_follow
from workers.execute import execute
from workers.sweep import sweep

Api = Callable[..., APIClient]


@pytest.fixture
def ended(policy: Policy, make_snippets: Callable[..., list[Snippet]]) -> Batch:
    """Forty labelled snippets under a policy that audits a quarter."""
    checked = policy_create(spec={**policy.spec, "quality": {"audit_rate": 0.25}})
    rows = make_snippets(40)
    Snippet.objects.update(policy=checked)
    batch = Batch.objects.create(policy=checked, name="first", state="done", priority=3)
    Task.objects.bulk_create(Task(batch=batch, snippet=row, state="done", taken=1, labelled=1) for row in rows)
    return batch


def drawn() -> list[str]:
    tasks = Task.objects.filter(batch__kind=BatchKind.AUDIT)
    return sorted(str(key) for key in tasks.values_list("snippet", flat=True))


def test_a_share_is_drawn_once_however_often_it_runs(ended: Batch) -> None:
    assert [batches_follow(), batches_follow()] == [1, 0]
    (job,) = Job.objects.filter(kind="draw_audits")
    assert execute(job.pk)
    first = drawn()
    assert 4 <= len(first) <= 17  # 10 expected; outside once in a thousand draws, and the draw is fixed
    job.refresh_from_db()
    assert job.result == {"audits": len(first), "of": 40}
    again = Job.objects.create(kind="draw_audits", args={"batch": str(ended.pk)})
    assert execute(again.pk)
    assert drawn() == first
    audits = Batch.objects.get(kind=BatchKind.AUDIT)
    assert (audits.name, audits.priority, audits.round, audits.state) == ("first, audits", 3, None, "open")


def test_killed_in_the_middle_it_draws_the_same(ended: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def dying(tasks: list[Task], **options: object) -> None:
        calls.append(len(tasks))
        raise KeyboardInterrupt

    job = Job.objects.create(kind="draw_audits", args={"batch": str(ended.pk)})
    with monkeypatch.context() as patched:
        patched.setattr(Task.objects.__class__, "bulk_create", lambda self, tasks, **options: dying(tasks, **options))
        with pytest.raises(KeyboardInterrupt):
            execute(job.pk)
    assert drawn() == []
    assert Job.objects.filter(pk=job.pk).update(state="queued")
    assert execute(job.pk)
    assert len(drawn()) == calls[0]
    assert Batch.objects.filter(kind=BatchKind.AUDIT).count() == 1


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
