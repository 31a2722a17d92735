"""Outgoing webhooks over real HTTP: to a receiver that takes, fails, stalls and goes away."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient
from standardwebhooks.webhooks import Webhook

from tests.labeling_adapters.http_server import HttpServer, Reply, http_server
from webapi.models import Annotator, Batch, DeliveryState, Job, Policy, User, WebhookDelivery, WebhookEndpoint
from webapi.services.webhooks import webhook_create
from workers import webhooks
from workers.audits import batches_follow
from workers.execute import execute
from workers.quality import pause, standing_of
from workers.webhooks import BACKOFF_SECONDS, tell, unreachable

Api = Callable[..., APIClient]
pytestmark = pytest.mark.django_db


@pytest.fixture
def receiver() -> Iterator[HttpServer]:
    with http_server(lambda request: Reply(204)) as server:
        yield server


@pytest.fixture
def endpoint(receiver: HttpServer, rita: User, settings: Any) -> WebhookEndpoint:
    settings.JOB_LEASE_SECONDS = 3600
    return webhook_create(owner=rita, url=f"{receiver.base_url}/hook", events=["round.finished", "annotator.paused"])


def deliver() -> Job:
    """Runs the newest delivery as if its time had come."""
    job = Job.objects.filter(kind="deliver_webhook").latest("pk")
    Job.objects.filter(pk=job.pk, state="queued").update(not_before=timezone.now())
    Job.objects.filter(pk=job.pk, state="running").update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    assert execute(job.pk)
    job.refresh_from_db()
    return job


def test_an_event_arrives_once_and_signed(endpoint: WebhookEndpoint, receiver: HttpServer) -> None:
    for _ in range(2):
        tell("round.finished", "round 7", {"round": "7", "state": "succeeded"})
    assert tell("batch.finished", "batch 1", {}) == 0
    assert Job.objects.filter(kind="deliver_webhook").count() == 1
    assert deliver().result == {"state": "delivered", "status": 204}
    (request,) = receiver.requests
    said = Webhook(endpoint.secret).verify(request.body, dict(request.headers))
    assert (said["type"], said["data"]) == ("round.finished", {"round": "7", "state": "succeeded"})
    delivery = WebhookDelivery.objects.get()
    assert request.headers["webhook-id"] == f"msg_{delivery.message.hex}"
    assert (delivery.state, delivery.attempts, delivery.next_at) == (DeliveryState.DELIVERED, 1, None)
    again = Job.objects.create(kind="deliver_webhook", args={"delivery": str(delivery.pk)})
    assert execute(again.pk)
    assert len(receiver.requests) == 1


def test_it_is_rolled_back_with_what_it_tells_of(endpoint: WebhookEndpoint) -> None:
    with transaction.atomic():
        tell("round.finished", "round 7", {})
        transaction.set_rollback(True)
    assert not WebhookDelivery.objects.exists()
    assert not Job.objects.exists()


def test_nobody_listening_costs_one_query(db: None) -> None:
    with CaptureQueriesContext(connection) as asked:
        assert tell("round.finished", "round 7", {}) == 0
    assert len(asked) == 1


@pytest.mark.parametrize("fault", [Reply(503, "busy"), Reply(drops=True), Reply(302, "", {"Location": "/elsewhere"})])
def test_a_receiver_that_fails_is_tried_for_days_and_then_left(
    endpoint: WebhookEndpoint, receiver: HttpServer, fault: Reply
) -> None:
    receiver.answer = lambda request: fault
    tell("round.finished", "round 7", {})
    for number, pause_seconds in enumerate(BACKOFF_SECONDS, 1):
        job = deliver()
        delivery = WebhookDelivery.objects.get()
        assert (job.state, job.attempts, delivery.state, delivery.attempts) == ("queued", 0, "pending", number)
        assert delivery.next_at is not None
        wait = (delivery.next_at - timezone.now()).total_seconds()
        assert pause_seconds - 5 < wait <= pause_seconds
    assert deliver().result["state"] == "failed"
    endpoint.refresh_from_db()
    assert (endpoint.active, endpoint.trouble.startswith("messages did not arrive")) == (False, True)
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1
    assert {request.path for request in receiver.requests} == {"/hook"}
    assert tell("round.finished", "round 8", {}) == 0


def test_a_receiver_that_stalls_is_left_in_time(
    endpoint: WebhookEndpoint, receiver: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "TIMEOUT_SECONDS", 0.2)
    receiver.answer = lambda request: Reply(stalls=5.0)
    tell("round.finished", "round 7", {})
    assert deliver().state == "queued"
    assert WebhookDelivery.objects.get().answer.startswith("ReadTimeout")
    receiver.answer = lambda request: Reply(200, "thanks " + "x" * 1000)
    assert deliver().state == "succeeded"
    assert WebhookDelivery.objects.get().answer == ("thanks " + "x" * 1000)[:500]


def test_gone_switches_the_endpoint_off(endpoint: WebhookEndpoint, receiver: HttpServer) -> None:
    receiver.answer = lambda request: Reply(410)
    tell("round.finished", "round 7", {})
    assert deliver().result == {"state": "failed", "status": 410}
    endpoint.refresh_from_db()
    assert not endpoint.active


def test_killed_after_the_post_it_posts_again_under_the_same_id(
    endpoint: WebhookEndpoint, receiver: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dying(*args: object, **fields: object) -> bool:
        raise KeyboardInterrupt

    tell("round.finished", "round 7", {})
    with monkeypatch.context() as patched:
        patched.setattr(WebhookDelivery, "note", dying)
        with pytest.raises(KeyboardInterrupt):
            deliver()
    assert deliver().state == "succeeded"
    assert [request.headers["webhook-id"] for request in receiver.requests] == [
        f"msg_{WebhookDelivery.objects.get().message.hex}"
    ] * 2


def test_addresses_of_this_network_are_for_embedded_use_or_by_setting(settings: Any) -> None:
    assert unreachable("http://127.0.0.1:1/") == ""
    settings.EMBEDDED = False
    assert "127.0.0.1, an address of this network" in unreachable("http://127.0.0.1:1/")
    assert "an address of this network" in unreachable("http://[::1]/")
    assert unreachable("https://8.8.8.8/") == ""
    settings.WEBHOOKS_TO_PRIVATE = True
    assert unreachable("http://127.0.0.1:1/") == ""


def test_who_is_paused_and_what_has_ended_is_told(
    endpoint: WebhookEndpoint, policy: Policy, make_batch: Callable[..., Batch]
) -> None:
    ann = Annotator.objects.create(name="ann")
    standing = standing_of(ann, policy)
    assert [pause(standing, "hurried"), pause(standing, "hurried")] == [True, False]
    told = WebhookDelivery.objects.get()
    assert told.payload["data"] == {"annotator": str(ann.pk), "policy": str(policy.pk), "reason": "hurried"}
    WebhookEndpoint.objects.update(events=["batch.finished"])
    batch = make_batch(1)
    Batch.objects.update(state="done", finished_at=timezone.now())
    assert [batches_follow(), batches_follow()] == [1, 0]
    assert WebhookDelivery.objects.get(event="batch.finished").payload["data"]["batch"] == str(batch.pk)


def test_endpoints_over_the_api(rita: User, alice: User, api: Api, receiver: HttpServer) -> None:
    body = {"url": f"{receiver.base_url}/hook", "events": ["batch.finished"]}
    made = api(rita).post("/api/v1/webhooks", body)
    assert made.status_code == 201
    at, secret = f"/api/v1/webhooks/{made.json()['id']}", made.json()["secret"]
    assert "secret" not in api(rita).get(at).json()
    assert api(alice).get(at).status_code == 404
    pinged = api(rita).post(f"{at}/ping").json()
    assert (pinged["event"], pinged["state"]) == ("ping", "pending")
    deliver()
    Webhook(secret).verify(receiver.requests[0].body, dict(receiver.requests[0].headers))
    (log,) = api(rita).get(f"{at}/deliveries").json()["results"]
    assert (log["state"], log["status"]) == ("delivered", 204)
    rotated = api(rita).post(f"{at}/rotate").json()["secret"]
    assert rotated != secret
    again = api(rita).post(f"{at}/redeliver", {"delivery": log["id"]}).json()
    assert (again["id"], again["state"], again["attempts"]) == (log["id"], "pending", 0)
    deliver()
    for good in (rotated, secret):
        Webhook(good).verify(receiver.requests[1].body, dict(receiver.requests[1].headers))
    assert receiver.requests[1].headers["webhook-id"] == receiver.requests[0].headers["webhook-id"]
    assert api(rita).post(f"{at}/change", {"active": False}).json()["active"] is False
    off = api(rita).post(f"{at}/ping")
    assert (off.status_code, off.json()["code"]) == (409, "webhook_inactive")
    for wrong in ({"url": "ftp://x.example/"}, {"events": ["everything"]}, {"events": []}, {"colour": 1}):
        assert api(rita).post("/api/v1/webhooks", {**body, **wrong}).status_code == 400
    assert api(rita).post(f"{at}/remove").json()["id"] == made.json()["id"]
    assert json.loads(api(rita).get("/api/v1/webhooks").content)["results"] == []
