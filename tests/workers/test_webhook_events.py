"""What is told, and to whom: everything to researchers, to vendors their own and nothing that would end blindness."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from tests.webapi.test_api_tasks import answer, lease
from webapi.api.webhook_events import EVENTS_TOLD, LABEL, payload_schema
from webapi.models import (
    Annotator,
    Batch,
    Corpus,
    Gold,
    Job,
    Label,
    Lease,
    Policy,
    Role,
    Round,
    Snippet,
    Stage,
    Task,
    User,
    WebhookDelivery,
)
from webapi.permissions import Actor
from webapi.services.batches import batch_move
from webapi.services.rounds import round_cancel
from webapi.services.transfers import export_create
from webapi.services.webhooks import webhook_create
from workers import rounds, transfer
from workers.audits import batches_follow
from workers.execute import execute
from workers.quality import pause, standing_of
from workers.record import Answer, record_labels
from workers.webhooks import EVENTS, VENDOR_EVENTS

Api = Callable[..., APIClient]
pytestmark = pytest.mark.django_db
SECRETS = re.compile(r"paraphrase|source|score|logit|target|split|pool|gold|held_out|adversar|snippet|rival|round|name")


@pytest.fixture(autouse=True)
def endpoints(rita: User, acme: User, other: User, settings: Any) -> Iterator[None]:
    """Rita wants everything, and so do two vendors of what they may. All that is told is as the API describes it."""
    settings.JOB_LEASE_SECONDS = 3600
    webhook_create(actor=Actor(rita, Role.RESEARCHER), url="https://rita.example/", events=list(EVENTS))
    for vendor in (acme, other):
        webhook_create(actor=Actor(vendor, Role.VENDOR), url="https://vendor.example/", events=VENDOR_EVENTS)
    yield
    for one in WebhookDelivery.objects.select_related("endpoint"):
        jsonschema.validate(one.payload, payload_schema(one.event))
        if one.endpoint.role == Role.VENDOR:
            assert staff_only(one.event, one.payload["data"]) == set()


@pytest.fixture
def other(db: None) -> User:
    return User.objects.create_user(username="other", role=Role.VENDOR)


def staff_only(event: str, data: dict[str, Any]) -> set[str]:
    """Fields that are described as not for vendors, a worker's name apart."""
    rows = data.get("labels", [data])
    told = LABEL if "labels" in data else EVENTS_TOLD[event]
    return {name for row in rows for name in row if name in told.staff} - {"worker"}


def said(user: User, event: str = "") -> list[dict[str, Any]]:
    """What the user's endpoint is told, the earliest first."""
    found = WebhookDelivery.objects.filter(endpoint__owner=user, event__startswith=event).order_by("pk")
    return [one.payload["data"] for one in found]


# Labels


def test_labels_recorded_together_are_one_message(rita: User, alice: User, api: Api, make_batch: Any) -> None:
    batch = make_batch(3)
    client = api(alice)
    tasks = lease(client, count=3)
    labels = [{"task": task["id"], "lease": task["lease"]["token"], "choice": "No"} for task in tasks]
    assert client.post("/api/v1/labels", {"labels": labels}).json()["counts"] == {"recorded": 3}
    assert client.post("/api/v1/labels", {"labels": labels}).json()["counts"] == {"duplicate": 3}
    (message,) = said(rita, "label.recorded")
    assert len(message["labels"]) == 3
    label = Label.objects.get(pk=message["labels"][0]["label"])
    assert message["labels"][0] == {
        "label": str(label.pk),
        "task": str(label.task_id),
        "batch": str(batch.pk),
        "revision": 0,
        "outcome": "recorded",
        "external_id": "",
        "policy": str(batch.policy_id),
        "snippet": str(label.snippet_id),
        "rival": None,
        "annotator": str(label.annotator_id),
        "choice": "No",
        "flagged": False,
    }


def test_a_change_of_mind_and_a_surplus_answer_are_told(rita: User, make_batch: Any) -> None:
    (task,) = make_batch(1).tasks.all()
    ann, ben = (Annotator.objects.create(name=name) for name in ("ann", "ben"))
    for annotator in (ann, ben):
        record_labels([Answer(task.pk, annotator.pk, "Yes")])
    assert [one["labels"][0]["outcome"] for one in said(rita, "label.recorded")] == ["recorded", "surplus"]


def test_labels_that_are_rolled_back_are_not_told(rita: User, make_batch: Any, monkeypatch: Any) -> None:
    (task,) = make_batch(1).tasks.all()
    monkeypatch.setattr("workers.webhooks._queue", lambda delivery: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        record_labels([Answer(task.pk, Annotator.objects.create(name="ann").pk, "Yes")])
    assert (Label.objects.count(), WebhookDelivery.objects.count()) == (0, 0)


def test_where_nobody_listens_labels_cost_one_query_more(rita: User, make_batch: Any) -> None:
    rita.webhooks.update(events=["round.finished"])
    User.objects.filter(role=Role.VENDOR).delete()
    tasks = list(make_batch(4).tasks.all())
    ann = Annotator.objects.create(name="ann")
    with CaptureQueriesContext(connection) as asked:
        record_labels([Answer(task.pk, ann.pk, "Yes") for task in tasks[:3]])
    assert sum("webhook" in one["sql"] for one in asked) == 1
    assert not WebhookDelivery.objects.exists()


@pytest.fixture
def secretive(policy: Policy, acme: User, make_batch: Any, make_snippets: Any) -> Batch:
    """A batch of Acme's for a round, of paraphrases in the test split, some of them gold."""
    round_ = Round.objects.create(name="held_out", policy=policy, corpus=Corpus.objects.create(name="c"))
    snippets = make_snippets(4, source="paraphrase", split="test", external_id="adversary")
    gold = Gold.objects.create(policy=policy, snippet=snippets[3], choice="No")
    batch: Batch = make_batch(snippets=snippets, round=round_, name="held_out_attack", vendor_user=acme)
    batch.tasks.filter(snippet=snippets[3]).update(gold=gold)
    return batch


def test_a_vendor_is_told_of_its_own_labels_and_nothing_that_ends_blindness(
    acme: User, other: User, rita: User, secretive: Batch, make_batch: Any, make_snippets: Any
) -> None:
    theirs = make_batch(snippets=make_snippets(1, first=90), vendor_user=other)
    free = make_batch(snippets=make_snippets(1, first=91))
    ann = Annotator.objects.create(name="ann")
    tasks = [*secretive.tasks.all(), *theirs.tasks.all(), *free.tasks.all()]
    record_labels([Answer(task.pk, ann.pk, "Yes", external_id="x") for task in tasks])
    (message,) = said(acme)
    assert {one["task"] for one in message["labels"]} == {str(task.pk) for task in secretive.tasks.all()}
    assert {frozenset(one) for one in message["labels"]} == {
        frozenset({"label", "task", "batch", "revision", "outcome", "external_id"})
    }, "gold is told as all else"
    assert {one["batch"] for one in message["labels"]} == {str(secretive.pk)}
    assert not SECRETS.search(json.dumps(message))
    assert [one["batch"] for one in said(other)[0]["labels"]] == [str(theirs.pk)]
    assert len(said(rita)[0]["labels"]) == 6


def test_of_a_comparison_a_vendor_does_not_learn_which_was_the_first(
    acme: User, rita: User, make_batch: Any, make_snippets: Any
) -> None:
    first, second = make_snippets(2)
    batch = make_batch(snippets=[], kind="compare", vendor_user=acme)
    task = Task.objects.create(batch=batch, snippet=first, rival=second, taken=1)
    ann = Annotator.objects.create(name="ann")
    token = uuid.uuid4()
    when = "2100-01-01T00:00:00Z"
    Lease.objects.create(task=task, annotator=ann, token=token, expires_at=when, flipped=True)
    record_labels([Answer(task.pk, ann.pk, "left", lease_token=token)])
    ((row,),) = (one["labels"] for one in said(rita, "label.recorded"))
    assert (row["choice"], row["snippet"], row["rival"]) == ("second", str(first.pk), str(second.pk))
    ((own,),) = (one["labels"] for one in said(acme, "label.recorded"))
    assert own == {key: row[key] for key in ("label", "task", "batch", "revision", "outcome", "external_id")}


# Batches


def test_a_batchs_end_is_told_once_to_whom_it_concerns(acme: User, other: User, rita: User, secretive: Batch) -> None:
    assert batches_follow() == 0
    secretive.tasks.update(state="done")
    assert secretive.finish_if_complete()
    assert [batches_follow(), batches_follow()] == [1, 0]
    about = {"batch": str(secretive.pk), "policy": str(secretive.policy_id), "state": "done"}
    assert said(acme) == [about]
    assert said(other) == []
    assert said(rita) == [{**about, "name": "held_out_attack", "kind": "label", "round": str(secretive.round_id)}]
    assert not SECRETS.search(json.dumps(said(acme)))


def test_a_cancelled_batch_has_ended_too_and_is_not_audited(
    acme: User, rita: User, secretive: Batch, policy: Policy
) -> None:
    policy.spec = {**policy.spec, "quality": {**policy.spec["quality"], "audit_rate": 1}}
    policy.save()
    batch_move(batch=secretive, move="cancel")
    assert batches_follow() == 1
    assert [one["state"] for user in (acme, rita) for one in said(user)] == ["cancelled", "cancelled"]
    assert not Job.objects.filter(kind="draw_audits").exists()


def test_what_was_sent_to_an_adapter_concerns_no_vendor_here(acme: User, rita: User, make_batch: Any) -> None:
    batch = make_batch(0, adapter="simulated", vendor_user=acme)
    assert batch.finish_if_complete()
    assert batches_follow() == 1
    assert (len(said(acme)), len(said(rita))) == (0, 1)


# Rounds


def test_stages_and_the_end_of_a_round_are_told_to_no_vendor(
    rita: User, acme: User, policy: Policy, monkeypatch: Any
) -> None:
    round_ = Round.objects.create(name="r", policy=policy, corpus=Corpus.objects.create(name="c"), state="running")
    stage = Stage.objects.create(round=round_, name="report", position=0, state="running")
    Job.objects.create(kind="stage", stage=stage, state="succeeded", result={})
    for _ in range(2):
        rounds.advance(round_.pk)
    assert [one.event for one in WebhookDelivery.objects.order_by("pk")] == ["round.stage_finished", "round.finished"]
    assert said(rita) == [
        {"round": str(round_.pk), "stage": "report"},
        {"round": str(round_.pk), "state": "succeeded", "error": ""},
    ]
    assert said(acme) == []


def test_a_failed_or_cancelled_round_has_ended(rita: User, policy: Policy) -> None:
    failed, cancelled = (
        Round.objects.create(name=name, policy=policy, corpus=Corpus.objects.create(name=name), state="running")
        for name in ("one", "two")
    )
    rounds.fail(Stage.objects.create(round=failed, name="report", position=0, state="running"), "no room")
    round_cancel(round_=cancelled)
    assert said(rita) == [
        {"round": str(failed.pk), "state": "failed", "error": "report: no room"},
        {"round": str(cancelled.pk), "state": "cancelled", "error": ""},
    ]


# Annotators


def test_a_vendor_learns_of_its_own_paused_workers_by_the_name_it_gave_them(
    acme: User, other: User, rita: User, alice: User, policy: Policy
) -> None:
    worker = Annotator.objects.create(name="acme w7", vendor=f"pull:{acme.pk}", external_id="w7")
    person = Annotator.objects.create(name="alice", user=alice)
    stranger = Annotator.objects.create(name="s", vendor="surge", external_id="w7")
    for annotator in (worker, person, stranger):
        standing = standing_of(annotator, policy)
        assert [pause(standing, "hurried"), pause(standing, "hurried")] == [True, False]
    assert said(acme) == [{"worker": "w7", "policy": str(policy.pk), "reason": "hurried"}]
    assert said(other) == []
    assert [(one["annotator"], one["name"]) for one in said(rita)] == [
        (str(worker.pk), "acme w7"),
        (str(person.pk), "alice"),
        (str(stranger.pk), "s"),
    ]


# Exports


def test_an_export_is_told_with_its_end_and_its_file_is_there(
    rita: User, acme: User, api: Api, make_snippets: Callable[..., list[Snippet]]
) -> None:
    make_snippets(2)
    job = export_create(what="snippets", filters={}, file_format="jsonl", created_by=rita)
    assert execute(job.pk)
    (message,) = said(rita)
    assert message == {"export": str(job.pk), "what": "snippets", "state": "succeeded", "rows": 2, "error": ""}
    assert api(rita).get(f"/api/v1/exports/{message['export']}/download").status_code == 200
    assert said(acme) == []


def test_an_export_that_fails_is_told_once_it_is_given_up(rita: User, monkeypatch: Any, settings: Any) -> None:
    monkeypatch.setattr(transfer, "write_lines", lambda *args, **kwargs: 1 / 0)
    job = export_create(what="snippets", filters={}, file_format="jsonl", created_by=rita)
    for attempt in range(settings.JOB_MAX_ATTEMPTS):
        assert said(rita) == [], attempt
        Job.objects.update(not_before="2020-01-01T00:00:00Z")
        assert execute(job.pk)
    (message,) = said(rita)
    assert (message["state"], message["rows"]) == ("failed", None)
    assert message["error"].startswith("ZeroDivisionError")


def test_an_export_and_its_message_are_written_together_or_not_at_all(rita: User, monkeypatch: Any) -> None:
    job = export_create(what="snippets", filters={}, file_format="jsonl", created_by=rita)
    monkeypatch.setattr("workers.webhooks._queue", lambda delivery: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        execute(job.pk)
    job.refresh_from_db()
    assert (job.state, WebhookDelivery.objects.count()) == ("running", 0)


def test_answers_over_the_api_are_told_to_the_vendor_who_gave_them(acme: User, api: Api, make_batch: Any) -> None:
    batch = make_batch(1, vendor_user=acme)
    client = api(acme)
    (task,) = lease(client, annotator="w7")
    assert answer(client, task).json()["outcome"] == "recorded"
    (message,) = said(acme, "label.recorded")
    assert message["labels"][0]["task"] == task["id"]
    assert [one["state"] for one in said(acme, "batch.finished")] == []
    assert batches_follow() == 1
    assert [one["batch"] for one in said(acme, "batch.finished")] == [str(batch.pk)]
