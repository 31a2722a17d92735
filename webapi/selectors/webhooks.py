"""Endpoints of webhooks with what became of their last message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from django.db.models import OuterRef, Subquery

from webapi.models import WebhookDelivery, WebhookEndpoint


class EndpointRecord(NamedTuple):
    """An endpoint, and the newest message to it."""

    row: WebhookEndpoint
    last: WebhookDelivery | None


def endpoint_records(endpoints: Sequence[WebhookEndpoint]) -> list[EndpointRecord]:
    """In the order of the endpoints. One query for the messages, by the index on endpoint and key."""
    newest = WebhookDelivery.objects.filter(endpoint=OuterRef("pk")).order_by("-pk").values("pk")[:1]
    keys = WebhookEndpoint.objects.filter(pk__in=[row.pk for row in endpoints]).values(newest=Subquery(newest))
    last = {one.endpoint_id: one for one in WebhookDelivery.objects.filter(pk__in=keys).defer("payload")}
    return [EndpointRecord(row, last.get(row.pk)) for row in endpoints]
