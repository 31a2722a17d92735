"""Endpoints that are told of events, and messages sent to them again."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from django.db import transaction

from labeling_adapters.signing import SEPARATOR, new_secret
from webapi.errors import DomainError
from webapi.models import User, WebhookDelivery, WebhookEndpoint
from workers.jobs import enqueue
from workers.webhooks import tell


def webhook_create(*, owner: User, url: str, events: Sequence[str]) -> WebhookEndpoint:
    """An endpoint with a fresh secret."""
    return WebhookEndpoint.objects.create(owner=owner, url=url, events=sorted(set(events)), secret=new_secret())


def webhook_change(
    *,
    endpoint: WebhookEndpoint,
    url: str | None = None,
    events: Sequence[str] | None = None,
    active: bool | None = None,
) -> WebhookEndpoint:
    """Changes what is given. Switched on again, it is told of what happens from now on."""
    if url is not None:
        endpoint.url = url
    if events is not None:
        endpoint.events = sorted(set(events))
    if active is not None:
        endpoint.active, endpoint.trouble = active, ""
    endpoint.save()
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
    with transaction.atomic():
        tell("ping", str(uuid.uuid4()), {}, only=[endpoint.pk])
    return endpoint.deliveries.latest("pk")


def delivery_repeat(*, delivery: WebhookDelivery) -> WebhookDelivery:
    """Sends a message again, with the same id. One on its way stays so. Raises DomainError `webhook_inactive`."""
    if not delivery.endpoint.active:
        raise DomainError("webhook_inactive", "The endpoint is switched off.")
    with transaction.atomic():
        if delivery.again():
            enqueue("deliver_webhook", {"delivery": str(delivery.pk)})
    delivery.refresh_from_db()
    return delivery
