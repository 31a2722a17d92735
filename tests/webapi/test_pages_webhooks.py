"""The pages of webhooks: made with a secret shown once, tried, switched off, the log read and a message sent again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from tests.page_text import text_of
from webapi.models import Role, User, WebhookDelivery, WebhookEndpoint
from webapi.permissions import Actor
from webapi.services.webhooks import events_for, webhook_create
from workers.webhooks import tell

AT = "/settings/webhooks/"
URL = "https://dashboard.example/hook"


@pytest.fixture
def reader(client: Client, rita: User) -> Client:
    client.force_login(rita)
    return client


def make(user: User, *events: str) -> WebhookEndpoint:
    return webhook_create(actor=Actor(user, user.role), url=URL, events=events or events_for(user.role))


def test_one_is_made_and_its_secret_shown_once(reader: Client) -> None:
    assert "Nobody is told of what happens here yet." in text_of(reader.get(AT))
    made = reader.post(AT, {"url": URL, "events": ["round.finished", "label.recorded"]})
    row = WebhookEndpoint.objects.get()
    assert (row.url, row.events, row.role) == (URL, ["label.recorded", "round.finished"], Role.RESEARCHER)
    assert row.secret in made.content.decode()
    for page in (AT, f"{AT}{row.pk}/"):
        assert row.secret not in reader.get(page).content.decode()
    assert "1 endpoint is told of what happens." in text_of(reader.get(AT))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"url": "ftp://x.example/"}, "no address of the web"),
        ({"url": "nonsense at all"}, "This is no web address."),
        ({"url": ""}, "Give the address"),
        ({"events": []}, "Choose at least one event."),
        ({"events": ["everything"]}, "everything is not one of the available choices"),
    ],
)
def test_a_wrong_form_keeps_what_was_typed_and_makes_nothing(
    reader: Client, wrong: dict[str, object], says: str
) -> None:
    response = reader.post(AT, {"url": URL, "events": ["round.finished"], **wrong})
    assert response.status_code == 400
    assert says in text_of(response)
    if "url" in wrong:
        assert 'value="round.finished" checked' in response.content.decode()
        assert f'value="{wrong["url"]}"' in response.content.decode()
    assert not WebhookEndpoint.objects.exists()


def test_the_log_says_what_became_of_each_message(reader: Client, rita: User) -> None:
    row = make(rita)
    at = f"{AT}{row.pk}/"
    assert "Nothing has been sent there yet." in text_of(reader.get(at))
    for number in range(4):
        tell("round.finished", f"round {number}", {"round": f"<b>{number}"})
    arrived, waits, failed, _ = WebhookDelivery.objects.order_by("pk")
    arrived.note(state="delivered", status=204, answer="", next_at=None)
    waits.note(state="pending", status=503, answer="busy", next_at=timezone.now() + timedelta(minutes=4, seconds=30))
    failed.give_up("the endpoint was switched off")
    page = reader.get(at)
    text = text_of(page)
    assert f"{URL} is told of 6 events." in text
    for said in ("arrived just now", "next try in 4 min", "1 try; 503 busy", "given up", "on its way"):
        assert said in text
    assert "&lt;b&gt;0" in page.content.decode()
    assert 'hx-trigger="every 3s"' in page.content.decode(), "one is on its way"
    WebhookDelivery.objects.filter(state="pending").update(state="failed")
    assert "hx-trigger" not in reader.get(at).content.decode()


def test_one_message_is_sent_again_with_the_same_id(reader: Client, rita: User, acme: User) -> None:
    row = make(rita)
    tell("round.finished", "round 7", {})
    delivery = WebhookDelivery.objects.get()
    delivery.give_up("gone")
    again = f"{AT}{row.pk}/{delivery.pk}/redeliver"
    assert reader.get(again).status_code == 405
    assert "round.finished is sent again, with the same id." in text_of(reader.post(again, follow=True))
    assert WebhookDelivery.objects.get(state="pending").message == delivery.message
    assert reader.post(f"{AT}{make(acme).pk}/{delivery.pk}/redeliver").status_code == 404


def test_pinged_switched_off_and_on_changed_and_removed(reader: Client, rita: User) -> None:
    row = make(rita)
    at = f"{AT}{row.pk}/"
    assert "A ping is on its way" in text_of(reader.post(f"{at}ping", follow=True))
    assert WebhookDelivery.objects.get().event == "ping"
    off = text_of(reader.post(f"{at}off", follow=True))
    assert f"{URL} is switched off." in off
    assert "Send a ping" not in off
    assert "switched off" in text_of(reader.post(f"{at}ping", follow=True))
    assert WebhookDelivery.objects.count() == 1
    assert "0 endpoints are told of what happens, 1 is switched off." in text_of(reader.get(AT))
    assert "is told of 6 events" in text_of(reader.post(f"{at}on", follow=True))
    rotated = reader.post(f"{at}rotate")
    secret = WebhookEndpoint.objects.get().secret
    fresh, old = secret.split(",")
    assert (fresh in rotated.content.decode(), old in rotated.content.decode(), old) == (True, False, row.secret)
    assert reader.post(f"{at}nonsense").status_code == 404
    assert f"{URL} and the log of its messages are removed." in text_of(reader.post(f"{at}remove", follow=True))
    assert not WebhookEndpoint.objects.exists()


def test_trouble_is_said(reader: Client, rita: User) -> None:
    row = make(rita)
    row.rest()
    WebhookEndpoint.objects.update(silent_since=timezone.now() - timedelta(hours=3))
    assert "no answer" in text_of(reader.get(AT))
    assert "Nobody answers there; it began 3 h ago" in text_of(reader.get(f"{AT}{row.pk}/"))
    row.switch_off("messages did not arrive: 503 busy")
    assert "It was switched off: messages did not arrive: 503 busy" in text_of(reader.get(f"{AT}{row.pk}/"))


def test_a_vendor_sees_its_own_and_may_choose_what_is_its_own(client: Client, acme: User, rita: User) -> None:
    hers, mine = make(rita), make(acme)
    client.force_login(acme)
    page = client.get(AT)
    assert str(mine.pk) in page.content.decode()
    assert str(hers.pk) not in page.content.decode()
    assert "A batch ends" in text_of(page)
    assert "A round ends" not in text_of(page)
    assert client.post(AT, {"url": URL, "events": ["round.finished"]}).status_code == 400
    for path in ("", "ping", "off", "remove", "rotate"):
        answer = client.get(f"{AT}{hers.pk}/") if not path else client.post(f"{AT}{hers.pk}/{path}")
        assert answer.status_code == 404
    assert "the vendor acme may know" in text_of(client.get(f"{AT}{mine.pk}/"))
    assert WebhookEndpoint.objects.filter(active=True).count() == 2


def test_the_log_is_read_a_page_at_a_time(reader: Client, rita: User) -> None:
    row = make(rita)
    for number in range(51):
        tell("round.finished", f"round {number}", {})
    first = reader.get(f"{AT}{row.pk}/").content.decode()
    assert (first.count("<strong>round.finished"), ">Older</a>" in first) == (50, True)
    last = WebhookDelivery.objects.order_by("-pk")[49]
    assert reader.get(f"{AT}{row.pk}/?after={last.pk}").content.decode().count("<strong>round.finished") == 1
