"""Endpoints that are told of events, and messages sent to them again."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from labeling_adapters.signing import SEPARATOR, new_secret
from webapi.errors import DomainError, FieldError
from webapi.models import Role, WebhookDelivery, WebhookEndpoint
from webapi.permissions import Actor
from workers.webhooks import EVENTS, VENDOR_EVENTS, ping, send_again


def events_for(role: str) -> tuple[str, ...]:
    """What an endpoint made in this role can be told of."""
    return VENDOR_EVENTS if role == Role.VENDOR else tuple(EVENTS)


def webhook_create(*, actor: Actor, url: str, events: Sequence[str]) -> WebhookEndpoint:
    """An endpoint with a fresh secret. Raises DomainError for what is no web address, or an event not for the role."""
    return WebhookEndpoint.objects.create(
        owner=actor.user,
        role=actor.role,
        url=_checked_url(url),
        events=_checked_events(events, actor.role),
        secret=new_secret(),
    )


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:  # a port beyond all ports, or half an IPv6 address
        good = False
    if not good:
        message = "This is no address of the web: it begins with https:// or http://."
        raise DomainError("invalid", message, errors=[FieldError(("url",), "invalid", message)])
    return url


def _checked_events(events: Sequence[str], role: str) -> list[str]:
    if unknown := sorted(set(events) - set(events_for(role))):
        message = f"There is no event {unknown[0]}; known are {', '.join(events_for(role))}."
        raise DomainError("invalid", message, errors=[FieldError(("events",), "invalid_choice", message)])
    return sorted(set(events))


def webhook_change(
    *,
    endpoint: WebhookEndpoint,
    url: str | None = None,
    events: Sequence[str] | None = None,
    active: bool | None = None,
) -> WebhookEndpoint:
    """Changes what is given. Switched on again, it is told of what happens from now on.

    Raises DomainError for what is no web address, or an event that is not for the role it was made in.
    """
    if url is not None:
        endpoint.url = _checked_url(url)
    if events is not None:
        endpoint.events = _checked_events(events, endpoint.role)
    if active is not None:
        endpoint.active, endpoint.trouble = active, ""
    endpoint.silent_since = endpoint.rests_until = None
    endpoint.save(update_fields=["url", "events", "active", "trouble", "silent_since", "rests_until"])
    return endpoint


def webhook_rotate(*, endpoint: WebhookEndpoint) -> WebhookEndpoint:
    """A fresh secret; messages are signed with the one before too, until the next rotation."""
    endpoint.secret = SEPARATOR.join([new_secret(), endpoint.secret.partition(SEPARATOR)[0]])
    endpoint.save(update_fields=["secret"])
    return endpoint


def webhook_ping(*, endpoint: WebhookEndpoint) -> WebhookDelivery:
    """A message of no consequence. Raises DomainError `webhook_inactive`."""
    if not endpoint.active:
        raise DomainError("webhook_inactive", "The endpoint is switched off.")
    return ping(endpoint)


def delivery_repeat(*, delivery: WebhookDelivery) -> WebhookDelivery:
    """Sends a message at once, with the same id, whatever became of it. Raises DomainError `webhook_inactive`."""
    if not delivery.endpoint.active:
        raise DomainError("webhook_inactive", "The endpoint is switched off.")
    send_again(delivery)
    delivery.refresh_from_db()
    return delivery
