"""Webhooks over the API: an endpoint made, changed, tried, given another secret, its log, a message sent again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rest_framework.test import APIClient
from standardwebhooks.webhooks import WebhookVerificationError

from tests.labeling_adapters.http_server import HttpServer, Reply, http_server
from tests.workers.webhook_receiver import deliver, opened
from webapi.models import Job, Role, User, WebhookDelivery, WebhookEndpoint
from workers.webhooks import EVENTS, VENDOR_EVENTS

Api = Callable[..., APIClient]
AT = "/api/v1/webhooks"
URL = "https://dashboard.example/hook"


@pytest.fixture
def receiver() -> Iterator[HttpServer]:
    with http_server(lambda request: Reply(204)) as server:
        yield server


def made(client: APIClient, *events: str, url: str = URL) -> dict[str, Any]:
    response = client.post(AT, {"url": url, "events": list(events) or ["batch.finished"]})
    assert response.status_code == 201, response.content
    row: dict[str, Any] = response.json()
    return row


def test_the_secret_is_shown_once(rita: User, api: Api) -> None:
    client = api(rita)
    key = {"HTTP_IDEMPOTENCY_KEY": "k"}
    first = client.post(AT, {"url": URL, "events": ["round.finished", "batch.finished"]}, **key).json()
    assert first.pop("secret").startswith("whsec_")
    assert (first["events"], first["active"], first["role"]) == (
        ["batch.finished", "round.finished"],
        True,
        "researcher",
    )
    again = client.post(AT, {"url": URL, "events": ["round.finished", "batch.finished"]}, **key).json()
    assert again == {**first, "secret": None}
    assert client.get(f"{AT}/{first['id']}").json() == first
    assert client.get(AT).json()["results"] == [first]
    assert WebhookEndpoint.objects.count() == 1


def test_a_ping_arrives_and_stands_in_the_log(rita: User, api: Api, receiver: HttpServer, settings: Any) -> None:
    settings.JOB_LEASE_SECONDS = 3600
    client = api(rita)
    row = made(client, url=f"{receiver.base_url}/hook")
    pinged = client.post(f"{AT}/{row['id']}/ping").json()
    assert (pinged["event"], pinged["state"], pinged["attempts"]) == ("ping", "pending", 0)
    deliver()
    assert opened(receiver.requests[0], row["secret"])["data"] == {}
    (log,) = client.get(f"{AT}/{row['id']}/deliveries").json()["results"]
    assert (log["id"], log["state"], log["attempts"], log["status"]) == (pinged["id"], "delivered", 1, 204)


def test_after_a_rotation_both_secrets_verify_until_the_next(
    rita: User, api: Api, receiver: HttpServer, settings: Any
) -> None:
    settings.JOB_LEASE_SECONDS = 3600
    client = api(rita)
    row = made(client, url=f"{receiver.base_url}/hook")
    at = f"{AT}/{row['id']}"
    second = client.post(f"{at}/rotate").json()["secret"]
    client.post(f"{at}/ping")
    deliver()
    assert opened(receiver.requests[0], row["secret"]) == opened(receiver.requests[0], second)
    third = client.post(f"{at}/rotate").json()["secret"]
    assert len({row["secret"], second, third}) == 3
    (log,) = client.get(f"{at}/deliveries").json()["results"]
    client.post(f"{at}/deliveries/{log['id']}/redeliver")
    deliver()
    for good in (second, third):
        opened(receiver.requests[1], good)
    with pytest.raises(WebhookVerificationError):
        opened(receiver.requests[1], row["secret"])
    assert receiver.requests[0].headers["webhook-id"] == receiver.requests[1].headers["webhook-id"]


def test_a_message_is_sent_again_by_its_endpoint_alone(rita: User, api: Api) -> None:
    client = api(rita)
    one, other = made(client), made(client)
    delivery = client.post(f"{AT}/{one['id']}/ping").json()["id"]
    WebhookDelivery.objects.update(state="failed", attempts=10)
    for wrong in (f"{AT}/{other['id']}/deliveries/{delivery}/redeliver", f"{AT}/{one['id']}/deliveries/x/redeliver"):
        assert client.post(wrong).status_code == 404
    assert Job.objects.count() == 1
    again = client.post(f"{AT}/{one['id']}/deliveries/{delivery}/redeliver").json()
    assert (again["id"], again["state"], again["attempts"]) == (delivery, "pending", 0)
    assert Job.objects.count() == 2


def test_changed_switched_off_and_removed(rita: User, api: Api) -> None:
    client = api(rita)
    row = made(client)
    at = f"{AT}/{row['id']}"
    delivery = client.post(f"{at}/ping").json()["id"]
    changed = client.post(f"{at}/change", {"events": ["round.finished"], "active": False}).json()
    assert (changed["events"], changed["active"], changed["url"]) == (["round.finished"], False, URL)
    for refused in (f"{at}/ping", f"{at}/deliveries/{delivery}/redeliver"):
        response = client.post(refused)
        assert (response.status_code, response.json()["code"]) == (409, "webhook_inactive")
    assert client.post(f"{at}/remove").json()["id"] == row["id"]
    assert client.get(at).status_code == 404
    assert not WebhookDelivery.objects.exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "ftp://x.example/"},
        {"url": "javascript:alert(1)"},
        {"url": "https://x.example:99999/"},
        {"url": ""},
        {"events": ["everything"]},
        {"events": ["ping"]},
        {"events": []},
        {"colour": 1},
    ],
)
def test_bad_input_makes_and_changes_nothing(rita: User, api: Api, wrong: dict[str, Any]) -> None:
    client = api(rita)
    row = made(client)
    before = WebhookEndpoint.objects.values().get()
    for path, body in ((AT, {"url": URL, "events": ["batch.finished"], **wrong}), (f"{AT}/{row['id']}/change", wrong)):
        response = client.post(path, body)
        assert (response.status_code, response.json()["code"]) == (400, "invalid")
        assert response.json()["errors"][0]["loc"][0] == next(iter(wrong))
    assert WebhookEndpoint.objects.values().get() == before


def test_vendors_have_their_own_and_researchers_all(rita: User, acme: User, ada: User, api: Api) -> None:
    other = User.objects.create_user(username="other", role=Role.VENDOR)
    mine, theirs, hers = (made(api(user))["id"] for user in (acme, other, rita))

    def listed(user: User) -> set[str]:
        return {row["id"] for row in api(user).get(AT).json()["results"]}

    assert listed(acme) == {mine}
    assert listed(rita) == listed(ada) == {mine, theirs, hers}
    for path in ("", "/deliveries"):
        assert api(acme).get(f"{AT}/{theirs}{path}").status_code == 404
    for move in ("change", "remove", "rotate", "ping"):
        for hidden in (theirs, hers):
            assert api(acme).post(f"{AT}/{hidden}/{move}", {}).status_code == 404
    assert WebhookEndpoint.objects.count() == 3
    assert not WebhookDelivery.objects.exists()


@pytest.mark.parametrize("event", EVENTS)
def test_vendors_are_told_of_what_is_theirs_alone(acme: User, rita: User, api: Api, event: str) -> None:
    """Whoever asks: what counts is who made the endpoint."""
    row = made(api(acme), "label.recorded")
    status = 201 if event in VENDOR_EVENTS else 400
    assert api(acme).post(AT, {"url": URL, "events": [event]}).status_code == status
    for user in (acme, rita):
        response = api(user).post(f"{AT}/{row['id']}/change", {"events": [event]})
        assert response.status_code == (200 if status == 201 else 400)
        if status == 400:
            assert response.json()["errors"][0]["loc"] == ["events"]


def test_an_endpoint_made_with_a_lesser_token_is_of_that_role(ada: User, api: Api) -> None:
    client = api(ada, role=Role.VENDOR)
    assert client.post(AT, {"url": URL, "events": ["round.finished"]}).status_code == 400
    assert made(client, "batch.finished")["role"] == "vendor"
    made(api(ada), "round.finished")
    assert len(client.get(AT).json()["results"]) == 1
    assert len(api(ada).get(AT).json()["results"]) == 2


def test_the_log_comes_a_page_at_a_time(rita: User, api: Api) -> None:
    client = api(rita)
    row = made(client)
    for _ in range(3):
        client.post(f"{AT}/{row['id']}/ping")
    first = client.get(f"{AT}/{row['id']}/deliveries?page_size=2").json()
    assert (len(first["results"]), first["previous"]) == (2, None)
    second = client.get(first["next"]).json()
    assert len({one["id"] for one in [*first["results"], *second["results"]]}) == 3
