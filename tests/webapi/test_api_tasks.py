"""The labeling queue: leases, blindness, answers."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from webapi.models import Annotator, Batch, Corpus, Gold, Label, Lease, LeaseState, Policy, Round, Snippet, Task, User
from webapi.selectors.tasks import tasks_for
from workers.leases import leases_expire

Api = Callable[..., APIClient]
MakeBatch = Callable[..., Batch]
NOWHERE = "0193a5f2-7c1e-7b3a-9d2f-4e5a6b7c8d9e"


def lease(client: APIClient, **body: Any) -> list[dict[str, Any]]:
    response = client.post("/api/v1/tasks/lease", body)
    assert response.status_code == 200, response.content
    tasks: list[dict[str, Any]] = response.json()["tasks"]
    return tasks


def answer(client: APIClient, task: dict[str, Any], choice: str = "No", **fields: Any) -> Any:
    return client.post(
        "/api/v1/labels", {"task": task["id"], "lease": task["lease"]["token"], "choice": choice, **fields}
    )


def run_out(*leases: Lease) -> None:
    """The leases' time is over, and the sweeper has seen it."""
    Lease.objects.filter(pk__in=[row.pk for row in leases] or Lease.objects.values("pk")).update(
        expires_at=timezone.now() - timedelta(seconds=1)
    )
    leases_expire(timezone.now())


def test_a_leased_task_holds_the_text_the_question_and_nothing_else(
    alice: User, api: Api, policy: Policy, make_snippets: Callable[..., list[Snippet]], make_batch: MakeBatch
) -> None:
    round_ = Round.objects.create(name="secret", policy=policy, corpus=Corpus.objects.create(name="c"))
    (snippet,) = make_snippets(1, source="paraphrase", split="test", external_id="attack-7", details={"logit": -3})
    batch = make_batch(snippets=[snippet], round=round_, name="held_out_attack")
    response = api(alice).post("/api/v1/tasks/lease", {})
    (task,) = response.json()["tasks"]
    token = Lease.objects.get().token
    expires_at = Lease.objects.get().expires_at
    assert task == {
        "id": str(Task.objects.get().pk),
        "kind": "label",
        "batch": str(batch.pk),
        "policy": {
            "id": str(policy.pk),
            "name": "harm",
            "version": 1,
            "question": "Was anyone harmed?",
            "choices": ["Yes", "Unsure", "No"],
        },
        "prompt": "Story 0 began.",
        "completion": "It went on as story 0 does.",
        "rival": None,
        "annotator": "",
        "lease": {"token": str(token), "expires_at": expires_at.isoformat().replace("+00:00", "Z")},
    }
    seen = [response, answer(api(alice), task)]
    seen += [api(alice).get(f"/api/v1/{path}") for path in ("tasks", "labels", f"batches/{batch.pk}", "batches", "me")]
    for one in seen:
        text = one.content.decode()
        secrets = (str(snippet.pk), str(round_.pk), "paraphrase", "attack", "test", "split", "score", "logit", "secret")
        found = [word for word in secrets if word in text.replace("/api/v1/", "")]
        assert found == [], (one.request["PATH_INFO"], found)


def test_labelers_may_not_even_ask_for_what_they_may_not_know(alice: User, acme: User, api: Api) -> None:
    for user in (alice, acme):
        for query in ("labels?round=", "labels?snippet=", "batches?round=", "batches?adapter="):
            assert api(user).get(f"/api/v1/{query}{NOWHERE}").status_code == 400


def test_a_task_is_leased_as_often_as_it_wants_labels(
    alice: User, bob: User, rita: User, api: Api, make_batch: MakeBatch
) -> None:
    make_batch(1, wanted=2)
    assert len(lease(api(alice))) == 1
    assert lease(api(alice)) == []
    assert len(lease(api(bob))) == 1
    assert lease(api(rita)) == []
    task = Task.objects.get()
    assert (task.taken, task.labelled, task.state) == (2, 0, "open")


def test_nobody_is_given_what_they_wrote(
    alice: User, bob: User, api: Api, make_snippets: Callable[..., list[Snippet]], make_batch: MakeBatch
) -> None:
    writer = Annotator.objects.create(name="alice", user=alice)
    make_batch(snippets=make_snippets(1, author=writer))
    assert lease(api(alice)) == []
    assert len(lease(api(bob))) == 1


def test_nobody_is_given_a_snippet_twice_in_whatever_batch(
    alice: User, bob: User, api: Api, make_snippets: Callable[..., list[Snippet]], make_batch: MakeBatch
) -> None:
    snippets = make_snippets(2)
    make_batch(snippets=snippets, name="first")
    make_batch(snippets=snippets, name="second")
    mine = lease(api(alice), count=10)
    assert sorted(task["completion"] for task in mine) == sorted(row.completion for row in snippets)
    for task in mine:
        assert answer(api(alice), task).status_code == 201
    assert lease(api(alice), count=10) == []
    assert len(lease(api(bob), count=10)) == 2


def test_a_label_from_outside_counts_too(
    alice: User, api: Api, make_snippets: Callable[..., list[Snippet]], make_batch: MakeBatch
) -> None:
    (snippet,) = make_snippets(1)
    annotator = Annotator.objects.create(name="alice", user=alice)
    Label.objects.create(snippet=snippet, annotator=annotator, choice="No")
    make_batch(snippets=[snippet])
    assert lease(api(alice)) == []


def test_batches_by_policy_name_key_and_batch(alice: User, api: Api, make_batch: MakeBatch, policy: Policy) -> None:
    first, second = make_batch(2), make_batch(2)
    assert {t["batch"] for t in lease(api(alice), count=1, batch=str(second.pk))} == {str(second.pk)}
    assert {t["batch"] for t in lease(api(alice), count=1, policy="harm")} == {str(first.pk)}
    assert len(lease(api(alice), count=9, policy=str(policy.pk))) == 2
    for body in ({"policy": "nonsense"}, {"batch": NOWHERE}):
        response = api(alice).post("/api/v1/tasks/lease", body)
        assert response.status_code == 400
        assert response.json()["errors"][0]["code"] == "does_not_exist"


def test_only_open_batches_of_the_pull_queue_are_leased_from(alice: User, api: Api, make_batch: MakeBatch) -> None:
    make_batch(1, adapter="simulated")
    make_batch(1, state="cancelled")
    make_batch(1, vendor_user=User.objects.create_user(username="v", role="vendor"))
    assert lease(api(alice), count=9) == []


def test_vendors_name_their_workers_and_others_do_not(acme: User, alice: User, api: Api, make_batch: MakeBatch) -> None:
    make_batch(2, wanted=2, vendor_user=acme)
    (one,) = lease(api(acme), annotator="w1")
    (two,) = lease(api(acme), annotator="w2")
    assert one["annotator"] == "w1"
    assert one["id"] == two["id"]
    assert len(lease(api(acme), annotator="w1", count=9)) == 1
    assert Annotator.objects.filter(vendor=f"pull:{acme.pk}").count() == 2
    response = api(alice).post("/api/v1/tasks/lease", {"annotator": "w1"})
    assert (response.status_code, response.json()["code"]) == (409, "not_an_annotator")
    assert answer(api(acme), one).status_code == 201
    assert Label.objects.get().annotator.external_id == "w1"
    assert len(api(acme).get("/api/v1/labels").json()["results"]) == 1


def test_held_tasks_are_listed_where_a_client_goes_on(alice: User, bob: User, api: Api, make_batch: MakeBatch) -> None:
    make_batch(3)
    mine = lease(api(alice), count=2)
    held = api(alice).get("/api/v1/tasks").json()["results"]
    assert sorted(t["id"] for t in held) == sorted(t["id"] for t in mine)
    assert held[0].keys() == mine[0].keys()
    assert api(bob).get("/api/v1/tasks").json()["results"] == []


def test_a_lease_that_runs_out_goes_to_somebody_else_and_may_come_back(
    alice: User, bob: User, api: Api, make_batch: MakeBatch
) -> None:
    make_batch(1)
    (task,) = lease(api(alice))
    assert leases_expire(timezone.now()) == 0
    run_out()
    assert (Lease.objects.get().state, Task.objects.get().taken) == (LeaseState.EXPIRED, 0)
    assert leases_expire(timezone.now()) == 0
    (bobs,) = lease(api(bob))
    assert bobs["id"] == task["id"]
    assert lease(api(alice)) == []
    api(bob).post("/api/v1/tasks/release", {"leases": [bobs["lease"]["token"]]})
    (again,) = lease(api(alice))
    assert again["lease"]["token"] == task["lease"]["token"]
    assert Lease.objects.filter(annotator__user=alice).count() == 1


def test_renewed_leases_stay_and_released_ones_go(alice: User, bob: User, api: Api, make_batch: MakeBatch) -> None:
    make_batch(2)
    one, two = lease(api(alice), count=2)
    tokens = [one["lease"]["token"], two["lease"]["token"]]
    Lease.objects.update(expires_at=timezone.now() + timedelta(seconds=5))
    renewed = api(alice).post("/api/v1/tasks/renew", {"leases": [*tokens, NOWHERE]}).json()["results"]
    assert [r["outcome"] for r in renewed] == ["renewed", "renewed", "not_held"]
    assert all(row.expires_at > timezone.now() + timedelta(minutes=29) for row in Lease.objects.all())
    stolen = api(bob).post("/api/v1/tasks/release", {"leases": tokens}).json()["results"]
    assert [r["outcome"] for r in stolen] == ["not_held", "not_held"]
    assert Lease.objects.filter(state=LeaseState.LIVE).count() == 2
    for expected in ("released", "not_held"):
        released = api(alice).post("/api/v1/tasks/release", {"leases": tokens[:1]}).json()["results"]
        assert released == [{"token": tokens[0], "outcome": expected, "expires_at": None}]
    assert [Task.objects.get(pk=task["id"]).taken for task in (one, two)] == [0, 1]
    assert api(alice).post("/api/v1/tasks/renew", {"leases": tokens[:1]}).json()["results"][0]["outcome"] == "not_held"


def test_what_a_request_leased_is_released_without_its_answer(
    alice: User, bob: User, api: Api, make_batch: MakeBatch
) -> None:
    make_batch(3)
    client = api(alice)
    client.post("/api/v1/tasks/lease", {"count": 2}, HTTP_IDEMPOTENCY_KEY="k")
    tokens = {str(row.token) for row in Lease.objects.all()}
    assert api(bob).post("/api/v1/tasks/release", {"request": "k"}).json()["results"] == []
    assert Lease.objects.filter(state=LeaseState.LIVE).count() == 2
    for expected in ("released", "not_held"):
        results = client.post("/api/v1/tasks/release", {"request": "k"}).json()["results"]
        assert {(one["token"], one["outcome"]) for one in results} == {(token, expected) for token in tokens}
    assert set(Task.objects.values_list("taken", flat=True)) == {0}
    assert client.post("/api/v1/tasks/release", {}).json()["errors"][0]["loc"] == ["leases"]


def test_a_lease_request_that_comes_after_its_release_leases_nothing(
    alice: User, api: Api, make_batch: MakeBatch
) -> None:
    make_batch(3)
    client = api(alice)
    assert client.post("/api/v1/tasks/release", {"request": "k"}).json() == {"results": []}
    late = client.post("/api/v1/tasks/lease", {"count": 2}, HTTP_IDEMPOTENCY_KEY="k")
    assert (late.status_code, late.json()["code"]) == (409, "idempotency_key_reused")
    assert not Lease.objects.exists()
    made = client.post("/api/v1/tokens", {"name": "t"}, HTTP_IDEMPOTENCY_KEY="other")
    assert made.status_code == 201
    assert client.post("/api/v1/tasks/release", {"request": "other"}).json() == {"results": []}


def test_what_one_released_comes_back_last(alice: User, api: Api, make_batch: MakeBatch) -> None:
    make_batch(3)
    (skipped,) = lease(api(alice))
    api(alice).post("/api/v1/tasks/release", {"leases": [skipped["lease"]["token"]]})
    order = [lease(api(alice))[0]["id"] for _ in range(3)]
    assert order[-1] == skipped["id"]
    assert len(set(order)) == 3


def test_answers_one_by_one(alice: User, bob: User, api: Api, make_batch: MakeBatch) -> None:
    batch = make_batch(1)
    (task,) = lease(api(alice))
    assert answer(api(alice), task, "Maybe").json()["code"] == "unknown_choice"
    assert answer(api(bob), task).json()["code"] == "lease_not_found"
    assert answer(api(alice), {**task, "id": NOWHERE}).json()["code"] == "lease_not_found"
    assert answer(api(alice), task, seconds=-1).json()["errors"][0]["loc"] == ["seconds"]
    assert Label.objects.count() == 0
    response = answer(api(alice), task, "Yes", seconds=3.5, note="odd", external_id="x1")
    label = Label.objects.get()
    assert response.status_code == 201
    assert response.json() == {
        "index": 0,
        "outcome": "recorded",
        "task": task["id"],
        "label": str(label.pk),
        "late": False,
        "errors": [],
    }
    assert (label.choice, label.seconds, label.note, label.external_id) == ("Yes", 3.5, "odd", "x1")
    assert label.annotator.user == alice
    again = answer(api(alice), task, "Yes")
    assert (again.status_code, again.json()["outcome"], again.json()["label"]) == (200, "duplicate", str(label.pk))
    batch.refresh_from_db()
    assert (batch.state, Task.objects.get().state, Label.objects.count()) == ("done", "done", 1)
    assert Lease.objects.get().state == LeaseState.ANSWERED


def test_a_late_answer_counts_if_the_task_still_wants_one(alice: User, api: Api, make_batch: MakeBatch) -> None:
    make_batch(1)
    (task,) = lease(api(alice))
    run_out()
    response = answer(api(alice), task)
    assert (response.status_code, response.json()["outcome"], response.json()["late"]) == (201, "recorded", True)
    task_row = Task.objects.get()
    assert (task_row.taken, task_row.labelled) == (1, 1)


def test_a_late_answer_to_a_task_that_another_took_is_kept_and_does_not_count(
    alice: User, bob: User, api: Api, make_batch: MakeBatch
) -> None:
    make_batch(1)
    (task,) = lease(api(alice))
    run_out()
    (bobs,) = lease(api(bob))
    response = answer(api(alice), task)
    body = response.json()
    assert (response.status_code, body["outcome"], body["late"]) == (200, "surplus", True)
    assert Label.objects.get().counted is False
    assert answer(api(bob), bobs).json()["outcome"] == "recorded"
    assert (Task.objects.get().labelled, Label.objects.filter(counted=True).count()) == (1, 1)


def test_many_answers_have_an_outcome_each(alice: User, bob: User, api: Api, make_batch: MakeBatch) -> None:
    make_batch(4)
    mine = lease(api(alice), count=3)
    (bobs,) = lease(api(bob))
    given = [
        {"task": mine[0]["id"], "lease": mine[0]["lease"]["token"], "choice": "No"},
        {"task": mine[0]["id"], "lease": mine[0]["lease"]["token"], "choice": "No"},
        {"task": mine[1]["id"], "lease": mine[1]["lease"]["token"], "choice": "Perhaps"},
        {"task": mine[2]["id"], "lease": mine[1]["lease"]["token"], "choice": "No"},
        {"task": bobs["id"], "lease": bobs["lease"]["token"], "choice": "No"},
        {"task": "x", "lease": None},
        "nonsense",
        {"task": mine[2]["id"], "lease": mine[2]["lease"]["token"], "choice": "Unsure"},
    ]
    response = api(alice).post("/api/v1/labels", {"labels": given})
    assert response.status_code == 200
    body = response.json()
    outcomes = [result["outcome"] for result in body["results"]]
    assert outcomes == [
        "recorded",
        "duplicate",
        "unknown_choice",
        "lease_not_found",
        "lease_not_found",
        "invalid",
        "invalid",
        "recorded",
    ]
    assert [result["index"] for result in body["results"]] == list(range(8))
    assert body["counts"]["recorded"] == 2
    assert [e["loc"] for e in body["results"][5]["errors"]] == [["task"], ["lease"], ["choice"]]
    assert sorted(Label.objects.values_list("choice", flat=True)) == ["No", "Unsure"]


@pytest.mark.parametrize("count", [0, 1001])
def test_too_few_or_many_answers_are_refused_whole(alice: User, api: Api, count: int) -> None:
    response = api(alice).post("/api/v1/labels", {"labels": [{}] * count})
    assert response.status_code == 400
    assert response.json()["errors"][0]["loc"] == ["labels"]


def test_an_answer_may_bring_the_next_task(alice: User, api: Api, make_batch: MakeBatch) -> None:
    make_batch(3)
    client = api(alice)
    (task,) = lease(client)
    response = answer(client, task, next=1)
    (following,) = response.json()["tasks"]
    assert (response.status_code, response.json()["outcome"]) == (201, "recorded")
    assert (following.keys(), following["id"]) == (task.keys(), str(Lease.objects.get(state="live").task_id))
    given = [{"task": following["id"], "lease": following["lease"]["token"], "choice": "Yes"}]
    many = client.post("/api/v1/labels", {"labels": given, "next": 5}).json()
    assert (many["counts"], len(many["tasks"])) == ({"recorded": 1}, 1)
    last = answer(client, many["tasks"][0], next=1).json()
    assert (last["outcome"], last["tasks"]) == ("recorded", [])
    again = answer(client, task, next=2, choice="No").json()
    assert (again["outcome"], again["tasks"], Label.objects.count()) == ("duplicate", [], 3)


def test_a_wrong_answer_brings_no_task_and_a_refusal_changes_nothing(
    alice: User, api: Api, make_batch: MakeBatch
) -> None:
    make_batch(3)
    (task,) = lease(api(alice))
    for wrong in ({**task, "lease": {"token": NOWHERE}}, {**task, "id": NOWHERE}):
        assert answer(api(alice), wrong, next=1).json()["code"] == "lease_not_found"
    assert answer(api(alice), task, "Perhaps", next=1).json()["code"] == "unknown_choice"
    assert answer(api(alice), task, next=101).json()["errors"][0]["loc"] == ["next"]
    assert (Lease.objects.count(), Label.objects.count()) == (1, 0)


def test_next_is_for_the_worker_who_answered_and_of_the_same_kind(
    acme: User, api: Api, make_batch: MakeBatch, make_snippets: Callable[..., list[Snippet]]
) -> None:
    make_batch(3, vendor_user=acme)
    compared = make_batch(0, kind="compare", vendor_user=acme)
    one, two, three = make_snippets(3, first=50)
    for rival in (two, three):
        Task.objects.create(batch=compared, snippet=one, rival=rival)
    (task,) = lease(api(acme), annotator="w1")
    (following,) = answer(api(acme), task, next=1).json()["tasks"]
    assert (following["annotator"], following["kind"]) == ("w1", "label")
    (pair,) = lease(api(acme), annotator="w2", kind="compare")
    (following,) = answer(api(acme), pair, "left", next=3).json()["tasks"]
    assert (following["annotator"], following["kind"]) == ("w2", "compare")


def test_researchers_list_labels_with_their_annotators(
    alice: User, rita: User, bob: User, api: Api, make_batch: MakeBatch
) -> None:
    batch = make_batch(1)
    (task,) = lease(api(alice))
    answer(api(alice), task)
    (row,) = api(rita).get(f"/api/v1/labels?batch={batch.pk}&choice=No").json()["results"]
    assert row["annotator"]["name"] == "alice"
    assert row["snippet"] == str(Snippet.objects.get().pk)
    assert api(bob).get("/api/v1/labels").json()["results"] == []
    (mine,) = api(alice).get("/api/v1/labels").json()["results"]
    fields = {"id", "task", "choice", "revision", "seconds", "note", "flagged", "external_id", "created_at"}
    assert mine.keys() == fields


def test_a_batchs_progress(alice: User, rita: User, api: Api, make_batch: MakeBatch) -> None:
    batch = make_batch(3, wanted=2)
    one, _ = lease(api(alice), count=2)
    answer(api(alice), one)
    row = api(rita).get(f"/api/v1/batches/{batch.pk}").json()
    progress = row["progress"]
    assert {k: progress[k] for k in ("tasks", "tasks_done", "done", "total", "leased")} == {
        "tasks": 3,
        "tasks_done": 0,
        "done": 1,
        "total": 6,
        "leased": 1,
    }
    assert progress["rate"] == pytest.approx(1 / 600)
    assert progress["eta"].endswith("Z")
    assert row["adapter"] == "pull"


def test_a_batchs_progress_does_not_tell_of_gold(
    alice: User, api: Api, make_batch: MakeBatch, make_snippets: Callable[..., list[Snippet]], policy: Policy
) -> None:
    batch = make_batch(1)
    gold = Gold.objects.create(policy=policy, snippet=make_snippets(1, first=70)[0], choice="No")
    before = api(alice).get(f"/api/v1/batches/{batch.pk}").json()["progress"]
    task = Task.objects.create(batch=batch, snippet=gold.snippet, gold=gold, taken=1)
    annotator = Annotator.objects.create(name="alice", user=alice)
    expires_at = timezone.now() + timedelta(minutes=1)
    held = Lease.objects.create(task=task, annotator=annotator, token=uuid.uuid4(), expires_at=expires_at)
    assert api(alice).get(f"/api/v1/batches/{batch.pk}").json()["progress"] == before
    assert answer(api(alice), {"id": str(task.pk), "lease": {"token": str(held.token)}}).status_code == 201
    assert api(alice).get(f"/api/v1/batches/{batch.pk}").json()["progress"] == before


def plan(annotator: Annotator, batch: Batch) -> str:
    """How the database would look for a task to lease."""
    return tasks_for(annotator.pk, batch.pk)[:1].explain()


def test_the_next_task_is_found_by_the_index_of_free_tasks(alice: User, make_batch: MakeBatch) -> None:
    annotator = Annotator.objects.create(name="alice", user=alice)
    found = plan(annotator, make_batch(50))
    assert "task_free" in found
    if connection.vendor == "sqlite":
        assert "TEMP B-TREE" not in found
        assert "SCAN" not in found.replace("CORRELATED SCALAR SUBQUERY", "")


def test_a_lease_makes_as_many_queries_however_long_the_queue(
    alice: User, bob: User, api: Api, make_batch: MakeBatch
) -> None:
    def queries(user: User, count: int) -> int:
        client = api(user)
        make_batch(1)
        lease(client)
        batch = make_batch(count)
        with CaptureQueriesContext(
            connection,
        ) as captured:
            assert len(lease(client, batch=str(batch.pk))) == 1
        return len(captured)

    assert queries(alice, 2) == queries(bob, 300)


def test_the_payload_of_many_tasks_stays_json(alice: User, api: Api, make_batch: MakeBatch) -> None:
    make_batch(120)
    tasks = lease(api(alice), count=100)
    assert len(tasks) == 100
    assert json.dumps(tasks)
    response = api(alice).post("/api/v1/tasks/lease", {"count": 101})
    assert response.json()["errors"][0]["code"] == "max_value"
