"""Delivery of webhooks over real HTTP: to a receiver that takes, fails, stalls, repeats and goes away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.labeling_adapters.http_server import HttpServer, Reply, http_server
from tests.workers.webhook_receiver import deliver, opened, run_early
from webapi.models import DeliveryState, Job, JobState, Role, User, WebhookDelivery, WebhookEndpoint
from webapi.permissions import Actor
from webapi.services.webhooks import delivery_repeat, webhook_change, webhook_create, webhook_ping
from workers import webhooks
from workers.execute import execute
from workers.sweep import sweep
from workers.webhooks import BACKOFF_SECONDS, GIVE_UP_AFTER, KEPT, messages_forget, tell

pytestmark = pytest.mark.django_db


class WorkerKilled(BaseException):
    """As SIGKILL: nothing of the worker's own gets a word in."""


@pytest.fixture
def receiver() -> Iterator[HttpServer]:
    with http_server(lambda request: Reply(204)) as server:
        yield server


@pytest.fixture
def endpoint(receiver: HttpServer, rita: User, settings: Any) -> WebhookEndpoint:
    settings.JOB_LEASE_SECONDS = 3600  # the test's transaction holds the database: no heartbeat could be written
    actor = Actor(rita, Role.RESEARCHER)
    return webhook_create(actor=actor, url=f"{receiver.base_url}/hook", events=["round.finished"])


def told(number: int = 7) -> WebhookDelivery:
    """One more round has ended, and nothing is sent yet."""
    assert tell("round.finished", f"round {number}", {"round": str(number), "state": "succeeded"}) == 1
    return WebhookDelivery.objects.latest("pk")


def ids(receiver: HttpServer) -> list[str]:
    return [request.headers["webhook-id"] for request in receiver.requests]


def test_an_event_arrives_once_and_signed(endpoint: WebhookEndpoint, receiver: HttpServer) -> None:
    delivery = told()
    assert tell("round.finished", "round 7", {}) == 0, "told before"
    assert tell("batch.finished", "batch 1", {}) == 0, "not asked for"
    assert deliver().result == {"state": "delivered", "status": 204}
    (request,) = receiver.requests
    said = opened(request, endpoint.secret)
    assert (said["type"], said["data"]) == ("round.finished", {"round": "7", "state": "succeeded"})
    delivery.refresh_from_db()
    assert request.headers["webhook-id"] == f"msg_{delivery.message.hex}"
    assert (delivery.state, delivery.attempts, delivery.next_at) == (DeliveryState.DELIVERED, 1, None)


def test_it_is_rolled_back_with_what_it_tells_of(endpoint: WebhookEndpoint) -> None:
    with transaction.atomic():
        told()
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
    delivery = told()
    for number, seconds in enumerate(BACKOFF_SECONDS, 1):
        job = deliver()
        delivery.refresh_from_db()
        assert (job.state, job.attempts, delivery.state, delivery.attempts) == ("queued", 0, "pending", number)
        assert delivery.next_at is not None
        wait = (delivery.next_at - timezone.now()).total_seconds()
        assert seconds - 5 < wait <= seconds
        assert job.not_before >= delivery.next_at
    assert deliver().result["state"] == "failed"
    endpoint.refresh_from_db()
    assert (endpoint.active, endpoint.trouble.startswith("messages did not arrive")) == (False, True)
    assert ids(receiver) == [f"msg_{delivery.message.hex}"] * (len(BACKOFF_SECONDS) + 1)
    assert {request.path for request in receiver.requests} == {"/hook"}
    assert tell("round.finished", "round 8", {}) == 0


def test_the_waits_are_those_of_the_plan() -> None:
    assert (5, 5 * 60, 30 * 60, *(hours * 3600 for hours in (2, 5, 10, 14, 20, 24))) == BACKOFF_SECONDS
    assert timedelta(days=3) < GIVE_UP_AFTER < timedelta(days=3.2)


def test_a_receiver_that_comes_back_has_missed_nothing(endpoint: WebhookEndpoint, receiver: HttpServer) -> None:
    receiver.answer = lambda request: Reply(500)
    messages = [told(number) for number in range(3)]
    assert [deliver(message).state for message in messages] == ["queued"] * 3
    receiver.requests.clear()
    receiver.answer = lambda request: Reply(200)
    assert [deliver(message).state for message in messages] == ["succeeded"] * 3
    assert [opened(request, endpoint.secret)["data"]["round"] for request in receiver.requests] == ["0", "1", "2"]


def test_what_one_message_does_wrong_does_not_switch_the_endpoint_off(
    endpoint: WebhookEndpoint, receiver: HttpServer
) -> None:
    receiver.answer = lambda request: Reply(400 if b'"round":"7"' in request.body else 204)
    bad = told(7)
    for _ in BACKOFF_SECONDS:
        deliver(bad)
    assert deliver(told(8)).state == "succeeded"
    assert deliver(bad).result == {"state": "failed", "status": 400}
    endpoint.refresh_from_db()
    assert (endpoint.active, endpoint.trouble) == (True, "")


def test_days_end_the_tries_whatever_their_number(endpoint: WebhookEndpoint, receiver: HttpServer) -> None:
    receiver.answer = lambda request: Reply(drops=True)
    told()
    WebhookDelivery.objects.update(since=timezone.now() - GIVE_UP_AFTER - timedelta(seconds=1))
    assert deliver().result == {"state": "failed", "status": None}
    endpoint.refresh_from_db()
    assert not endpoint.active


def test_a_receiver_that_stalls_is_left_in_time(
    endpoint: WebhookEndpoint, receiver: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "TIMEOUT_SECONDS", 0.2)
    receiver.answer = lambda request: Reply(stalls=5.0)
    delivery = told()
    assert deliver().state == "queued"
    delivery.refresh_from_db()
    assert (delivery.status, delivery.answer) == (None, "no answer within 0.2 s")
    receiver.answer = lambda request: Reply(200, "thanks " + "x" * 1000)
    assert deliver().state == "succeeded"
    delivery.refresh_from_db()
    assert delivery.answer == ("thanks " + "x" * 1000)[:500]


def test_one_that_does_not_answer_keeps_no_worker_waiting(endpoint: WebhookEndpoint, receiver: HttpServer) -> None:
    """Of twenty messages one is tried; the others wait with the endpoint, and none counts an attempt for it."""
    receiver.answer = lambda request: Reply(drops=True)
    messages = [told(number) for number in range(20)]
    assert [run_early(message).state for message in messages] == ["queued"] * 20
    assert len(receiver.requests) == 1
    assert sorted(WebhookDelivery.objects.values_list("attempts", flat=True)) == [0] * 19 + [1]
    endpoint.refresh_from_db()
    assert endpoint.rests_until is not None
    assert set(Job.objects.filter(not_before__lt=endpoint.rests_until).values_list("pk", flat=True)) <= {
        message.job_id for message in WebhookDelivery.objects.filter(attempts=1)
    }


@pytest.mark.parametrize(("silent", "rest"), [(0, 5), (60, 30), (86_400, 300)])
def test_the_longer_it_is_silent_the_longer_it_is_left_alone(
    endpoint: WebhookEndpoint, receiver: HttpServer, silent: int, rest: int
) -> None:
    receiver.answer = lambda request: Reply(drops=True)
    if silent:
        WebhookEndpoint.objects.update(silent_since=timezone.now() - timedelta(seconds=silent))
    deliver(told())
    endpoint.refresh_from_db()
    assert endpoint.rests_until is not None
    assert rest - 2 < (endpoint.rests_until - timezone.now()).total_seconds() < rest + 2
    receiver.answer = lambda request: Reply(500)
    deliver()
    endpoint.refresh_from_db()
    assert (endpoint.silent_since, endpoint.rests_until) == (None, None), "an error is an answer"


def test_an_old_message_asks_less_often_whether_the_endpoint_rests(endpoint: WebhookEndpoint) -> None:
    delivery = told()
    WebhookEndpoint.objects.update(rests_until=timezone.now() + timedelta(minutes=5))
    WebhookDelivery.objects.update(since=timezone.now() - timedelta(hours=10))
    job = run_early(delivery)
    assert 17_990 < (job.not_before - timezone.now()).total_seconds() < 18_010


def test_gone_switches_the_endpoint_off_and_what_waits_fails(endpoint: WebhookEndpoint, receiver: HttpServer) -> None:
    receiver.answer = lambda request: Reply(410)
    other = told(8)
    assert deliver(told(7)).result == {"state": "failed", "status": 410}
    endpoint.refresh_from_db()
    assert not endpoint.active
    assert deliver(other).result == {"state": "failed"}
    other.refresh_from_db()
    assert (other.state, other.attempts, other.answer) == ("failed", 0, "the endpoint was switched off")
    assert len(receiver.requests) == 1
    receiver.answer = lambda request: Reply(204)
    webhook_change(endpoint=endpoint, active=True)
    delivery_repeat(delivery=WebhookDelivery.objects.select_related("endpoint", "job").get(pk=other.pk))
    assert deliver(other).state == "succeeded"


def test_an_owner_who_lost_the_role_is_told_nothing_more(
    endpoint: WebhookEndpoint, receiver: HttpServer, rita: User
) -> None:
    waiting = told(7)
    User.objects.filter(pk=rita.pk).update(role=Role.VENDOR)
    assert tell("round.finished", "round 8", {}) == 0
    assert deliver(waiting).result == {"state": "failed"}
    User.objects.filter(pk=rita.pk).update(role=Role.RESEARCHER, is_active=False)
    assert tell("round.finished", "round 9", {}) == 0
    assert receiver.requests == []


@pytest.mark.parametrize(
    ("owner", "name", "posts"),
    [(webhooks, "_post", 2), (WebhookDelivery, "note", 2), (Job, "succeed", 1)],
)
def test_killed_anywhere_it_arrives_under_one_id(
    endpoint: WebhookEndpoint,
    receiver: HttpServer,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    posts: int,
) -> None:
    """As it has posted, as it notes that, as it ends: before the note it must post again, after it must not."""
    original = getattr(owner, name)

    def dying(*args: Any, **kwargs: Any) -> None:
        if owner is webhooks:
            original(*args, **kwargs)
        raise WorkerKilled

    delivery = told()
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, dying)
        with pytest.raises(WorkerKilled):
            deliver()
    assert deliver().state == "succeeded"
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts) == ("delivered", 1)
    assert ids(receiver) == [f"msg_{delivery.message.hex}"] * posts


def test_killed_as_it_comes_back_it_keeps_its_time(
    endpoint: WebhookEndpoint, receiver: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.answer = lambda request: Reply(500)
    delivery = told()

    def dying(*args: Any, **kwargs: Any) -> None:
        raise WorkerKilled

    with monkeypatch.context() as patched:
        patched.setattr(Job, "come_back", dying)
        with pytest.raises(WorkerKilled):
            deliver()
    assert run_early(delivery).state == "queued"
    delivery.refresh_from_db()
    assert (delivery.attempts, len(receiver.requests)) == (1, 1)


def test_run_twice_or_by_a_stray_job_it_posts_once(endpoint: WebhookEndpoint, receiver: HttpServer) -> None:
    delivery = told()
    stray = Job.objects.create(kind="deliver_webhook", args={"delivery": str(delivery.pk)})
    assert execute(stray.pk)
    assert receiver.requests == []
    deliver()
    Job.objects.update(state=JobState.QUEUED, not_before=timezone.now())
    for job in Job.objects.all():
        assert execute(job.pk)
    assert len(receiver.requests) == 1
    endpoint.delete()
    Job.objects.update(state=JobState.QUEUED, not_before=timezone.now())
    assert execute(stray.pk)
    stray.refresh_from_db()
    assert (stray.state, stray.result) == ("succeeded", {"state": "removed"})


def test_a_worker_killed_again_and_again_fails_the_message(
    endpoint: WebhookEndpoint, receiver: HttpServer, settings: Any
) -> None:
    delivery = told()
    Job.objects.update(attempts=settings.JOB_MAX_ATTEMPTS)
    assert deliver().state == "failed"
    delivery.refresh_from_db()
    assert (delivery.state, "its worker died" in delivery.answer) == ("failed", True)
    assert receiver.requests == []


def test_sent_again_it_has_the_same_id_and_all_its_tries(endpoint: WebhookEndpoint, receiver: HttpServer) -> None:
    delivery = told()
    deliver()
    first = delivery.since
    for _ in range(2):
        delivery = delivery_repeat(
            delivery=WebhookDelivery.objects.select_related("endpoint", "job").get(pk=delivery.pk)
        )
    assert (delivery.state, delivery.attempts) == ("pending", 0)
    assert delivery.since > first
    assert Job.objects.filter(state=JobState.QUEUED).count() == 1, "asked for twice, sent once"
    assert deliver().state == "succeeded"
    assert ids(receiver) == [f"msg_{delivery.message.hex}"] * 2


def test_one_that_waits_for_hours_is_sent_now(endpoint: WebhookEndpoint, receiver: HttpServer) -> None:
    receiver.answer = lambda request: Reply(drops=True)
    delivery = told()
    for _ in range(5):
        deliver()
    receiver.answer = lambda request: Reply(204)
    delivery_repeat(delivery=WebhookDelivery.objects.select_related("endpoint", "job").get(pk=delivery.pk))
    (job,) = Job.objects.all()
    assert execute(job.pk), "due now"
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts) == ("delivered", 6)


def test_one_whose_job_was_cancelled_is_sent_by_another(endpoint: WebhookEndpoint, receiver: HttpServer) -> None:
    delivery = told()
    Job.objects.update(state=JobState.CANCELLED)
    delivery_repeat(delivery=WebhookDelivery.objects.select_related("endpoint", "job").get(pk=delivery.pk))
    assert deliver(delivery).state == "succeeded"
    assert len(receiver.requests) == 1


def test_a_ping_goes_out_though_the_endpoint_rests(endpoint: WebhookEndpoint, receiver: HttpServer) -> None:
    soon = timezone.now() + timedelta(minutes=5)
    WebhookEndpoint.objects.update(silent_since=timezone.now(), rests_until=soon)
    delivery = webhook_ping(endpoint=endpoint)
    assert run_early(delivery).state == "succeeded"
    assert opened(receiver.requests[0], endpoint.secret)["type"] == "ping"


def test_addresses_of_this_network_are_for_embedded_use_or_by_setting(
    endpoint: WebhookEndpoint, receiver: HttpServer, settings: Any
) -> None:
    told()
    settings.EMBEDDED = False
    assert deliver().state == "queued"
    assert "127.0.0.1, an address of this network" in WebhookDelivery.objects.get().answer
    assert receiver.requests == []
    settings.WEBHOOKS_TO_PRIVATE = True
    assert deliver().state == "succeeded"


def test_the_log_goes_back_thirty_days(endpoint: WebhookEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    old, kept, waits = told(1), told(2), told(3)
    for message in (old, kept):
        deliver(message)
    now = timezone.now()
    assert messages_forget(now + KEPT - timedelta(minutes=1)) == 0
    WebhookDelivery.objects.filter(pk=kept.pk).update(since=now + timedelta(days=1))
    monkeypatch.setattr("workers.sweep.timezone.now", lambda: now + KEPT + timedelta(minutes=1))
    sweep()
    assert set(WebhookDelivery.objects.values_list("pk", flat=True)) == {kept.pk, waits.pk}
    assert not Job.objects.filter(args__delivery=str(old.pk)).exists()
    assert Job.objects.count() == 2


def test_one_that_is_slow_to_answer_rests_ten_times_as_long(
    endpoint: WebhookEndpoint, receiver: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of five messages one is sent; a person who wants one tried wakes it."""
    monkeypatch.setattr("webapi.models.webhooks.SLOW", timedelta(seconds=0.1))
    slept: list[float] = []

    def slowly(request: Any) -> Reply:
        time.sleep(0.2)
        slept.append(0.2)
        return Reply(200)

    receiver.answer = slowly
    messages = [told(number) for number in range(5)]
    states = [run_early(message).state for message in messages]
    assert (states, len(slept)) == (["succeeded", *["queued"] * 4], 1)
    endpoint.refresh_from_db()
    assert endpoint.silent_since is None
    left = endpoint.rests_until - timezone.now()
    assert timedelta(seconds=1) < left < timedelta(seconds=20)
    endpoint.wake()
    endpoint.refresh_from_db()
    assert endpoint.rests_until is None
