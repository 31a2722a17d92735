"""Outgoing webhooks: written where something happens, delivered by a job, at least once, over days if need be."""

from __future__ import annotations

import ipaddress
import json
import socket
import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx2
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from labeling_adapters.signing import sign
from webapi.models import DeliveryState, WebhookDelivery, WebhookEndpoint
from workers.jobs import JobRun, Later, enqueue

EVENTS = (
    "batch.finished",
    "round.stage_finished",
    "round.finished",
    "annotator.paused",
    "export.finished",
    "ping",
)
BACKOFF_SECONDS = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Between the attempts, some three days in all; then the endpoint is switched off."""
TIMEOUT_SECONDS = 15
SHOWN = 500
GONE = 410
NAMESPACE = uuid.UUID("6f0f1c1e-5f4e-5d8c-9f57-0f7a6d2c9b11")


class Tried(NamedTuple):
    """One attempt: the answer's status (None: there was none) and how it began, or why there is none."""

    status: int | None
    answer: str

    @property
    def arrived(self) -> bool:
        """Any 2xx."""
        return self.status is not None and 200 <= self.status < 300


def tell(event: str, subject: str, data: Mapping[str, Any], *, only: Sequence[uuid.UUID] = ()) -> int:
    """Writes a message to every endpoint that wants the event, and queues its delivery; both with the transaction.

    `subject` names what happened: telling of the same again, after a crash, writes nothing. `only`: to these endpoints.
    One query where nobody listens. Returns how many messages were written.
    """
    endpoints = WebhookEndpoint.objects.filter(active=True)
    wanted = [one for one in (endpoints.filter(pk__in=only) if only else endpoints) if event in one.events or only]
    message = uuid.uuid5(NAMESPACE, f"{event} {subject}")
    payload = {"type": event, "timestamp": timezone.now().isoformat().replace("+00:00", "Z"), "data": dict(data)}
    written = 0
    for endpoint in wanted:
        with transaction.atomic():
            delivery, new = WebhookDelivery.objects.get_or_create(
                endpoint=endpoint, message=message, defaults={"event": event, "payload": payload}
            )
            if new:
                enqueue("deliver_webhook", {"delivery": str(delivery.pk)})
                written += 1
    return written


def deliver_webhook(run: JobRun) -> dict[str, Any]:
    """Job `deliver_webhook`: posts one message, signed, until it arrives or days have passed.

    Killed after the post it posts again, with the same `webhook-id`. 410 switches the endpoint off at once.
    """
    delivery = WebhookDelivery.objects.select_related("endpoint").get(pk=run.args["delivery"])
    if delivery.state != DeliveryState.PENDING or not delivery.endpoint.active:
        return {"state": delivery.state}
    tried = post(delivery)
    last = delivery.attempts >= len(BACKOFF_SECONDS)
    if tried.arrived:
        delivery.note(state=DeliveryState.DELIVERED, status=tried.status, answer=tried.answer, next_at=None)
        return {"state": DeliveryState.DELIVERED, "status": tried.status}
    if last or tried.status == GONE:
        delivery.note(state=DeliveryState.FAILED, status=tried.status, answer=tried.answer, next_at=None)
        delivery.endpoint.switch_off(f"messages did not arrive: {tried.status or ''} {tried.answer}".strip())
        return {"state": DeliveryState.FAILED, "status": tried.status}
    pause = BACKOFF_SECONDS[delivery.attempts]
    next_at = timezone.now() + timedelta(seconds=pause)
    delivery.note(state=DeliveryState.PENDING, status=tried.status, answer=tried.answer, next_at=next_at)
    raise Later(pause)


def post(delivery: WebhookDelivery) -> Tried:
    """One attempt. Redirects are not followed, and of the answer no more than its beginning is read."""
    body = json.dumps(delivery.payload, separators=(",", ":")).encode()
    headers = sign(delivery.endpoint.secret, f"msg_{delivery.message.hex}", body)
    headers |= {"content-type": "application/json", "user-agent": "Gauntlet-Webhooks"}
    if refusal := unreachable(delivery.endpoint.url):
        return Tried(None, refusal)
    try:
        with httpx2.stream(
            "POST", delivery.endpoint.url, content=body, headers=headers, timeout=TIMEOUT_SECONDS
        ) as answer:
            beginning = next(answer.iter_bytes(SHOWN), b"")
            return Tried(answer.status_code, beginning[:SHOWN].decode(errors="replace").replace("\0", ""))
    except httpx2.HTTPError as error:
        return Tried(None, f"{type(error).__name__}: {error}"[:SHOWN])


def unreachable(url: str) -> str:
    """Why nothing is posted there; empty where it is. Addresses of this network are for embedded use, or by setting.

    Asked before each post: a name may lead elsewhere by then. What it leads to between this look and the post, no look
    can tell; a proxy that lets only public addresses through can.
    """
    if settings.EMBEDDED or settings.WEBHOOKS_TO_PRIVATE:
        return ""
    parts = urlsplit(url)
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_STREAM)
    except OSError as error:
        return f"{parts.hostname}: {error.strerror or error}"
    private = [info[4][0] for info in found if not ipaddress.ip_address(str(info[4][0]).partition("%")[0]).is_global]
    return f"{parts.hostname} is {private[0]}, an address of this network (WEBHOOKS_TO_PRIVATE)" if private else ""
