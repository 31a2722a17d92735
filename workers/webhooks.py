"""Outgoing webhooks: written where something happens, delivered by a job, at least once, over days if need be."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from labeling_adapters.signing import sign
from webapi.models import DeliveryState, Job, JobState, Label, Preference, WebhookDelivery, WebhookEndpoint
from webapi.models.base import first_id_at
from webapi.models.compiled import compiled
from webapi.permissions import PULL, TOKEN_ROLES, Actor, role_of, sees
from workers.jobs import JobRun, Later, enqueue
from workers.posting import Tried, post
from workers.publish import publish

EVENTS = {
    "label.recorded": "Labels are recorded",
    "batch.finished": "A batch ends",
    "round.stage_finished": "A stage of a round ends",
    "round.finished": "A round ends",
    "annotator.paused": "An annotator is paused",
    "export.finished": "An export ends",
}
"""What can be told, in words."""
VENDOR_EVENTS = ("label.recorded", "batch.finished", "annotator.paused")
"""Those a vendor can be told of: its own batches and workers, and only what it sees over the API."""
PING = "ping"
BACKOFF_SECONDS = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Between the attempts, some three days in all."""
GIVE_UP_AFTER = timedelta(seconds=sum(BACKOFF_SECONDS))
TIMEOUT_SECONDS = 15
GONE = 410
KEPT = timedelta(days=30)
"""How long the log of deliveries goes back."""
FORGOTTEN_AT_ONCE = 1000
NAMESPACE = uuid.UUID("6f0f1c1e-5f4e-5d8c-9f57-0f7a6d2c9b11")

Data = Mapping[str, Any]


def tell(event: str, subject: str, data: Data, *, vendors: Mapping[uuid.UUID, Data] | None = None) -> int:
    """Writes a message to every endpoint that wants the event, and queues its delivery; both with the transaction.

    `subject` names what happened: telling of the same again, after a crash, writes nothing. `data` is for those who
    may know everything; `vendors`, by vendor, for each of those. One query where nobody listens. Returns how many
    messages were written.
    """
    written = 0
    for endpoint in _listeners(event):
        about = data if endpoint.vendor is None else (vendors or {}).get(endpoint.vendor)
        written += about is not None and _write(endpoint, event, subject, about)
    return written


def tell_labels(given: Sequence[Label | Preference]) -> int:
    """`label.recorded`, one message for all that was recorded together. Their tasks and batches are at hand.

    Vendors are told of their own batches, and of what they do not know yet: whether an answer counts. Which completion
    of a comparison was the first, and all else about the texts, stays unsaid.
    """
    listeners = _listeners("label.recorded") if given else []
    for endpoint in listeners:
        mine = [one for one in given if endpoint.vendor is None or _is_of(endpoint.vendor, one)]
        about = [_own_label(one) if endpoint.vendor else _label(one) for one in mine]
        if about:
            _write(endpoint, "label.recorded", str(given[0].pk), {"labels": about})
    return len(listeners)


def _is_of(vendor: uuid.UUID, given: Label | Preference) -> bool:
    batch = given.task.batch if given.task else None
    return batch is not None and batch.adapter == PULL and batch.vendor_user_id == vendor


def _own_label(given: Label | Preference) -> dict[str, Any]:
    return {
        "label": str(given.pk),
        "task": str(given.task_id),
        "batch": str(given.task.batch_id) if given.task else None,
        "revision": given.revision,
        "outcome": "recorded" if given.counted else "surplus",
        "external_id": given.external_id,
    }


def _label(given: Label | Preference) -> dict[str, Any]:
    return {
        **_own_label(given),
        "policy": str(given.task.batch.policy_id) if given.task else None,
        "snippet": str(given.snippet_id),
        "rival": str(given.rival_id) if isinstance(given, Preference) else None,
        "annotator": str(given.annotator_id),
        "choice": given.choice,
        "flagged": given.flagged,
    }


def ping(endpoint: WebhookEndpoint) -> WebhookDelivery:
    """A message of no consequence, for a person who wants to see one arrive."""
    _write(endpoint, PING, str(uuid.uuid4()), {})
    endpoint.wake()
    return endpoint.deliveries.latest("pk")


def _listeners(event: str) -> list[WebhookEndpoint]:
    """Those switched on that want the event and may be told. One query."""
    return [endpoint for endpoint in _active() if event in endpoint.events and not refusal(endpoint)]


@compiled
def _active() -> QuerySet[WebhookEndpoint]:
    return WebhookEndpoint.objects.filter(active=True).select_related("owner")


def refusal(endpoint: WebhookEndpoint) -> str:
    """Why nothing is sent there; empty where it is. Its owner may have lost the role that it was made in."""
    if not endpoint.active:
        return "the endpoint was switched off"
    owner, role = endpoint.owner, endpoint.role
    if owner.is_active and role in TOKEN_ROLES.get(role_of(owner), ()) and sees(Actor(owner, role), "webhooks"):
        return ""
    return f"{owner.username} may not be told this any more"


def _write(endpoint: WebhookEndpoint, event: str, subject: str, data: Data) -> bool:
    message = uuid.uuid5(NAMESPACE, f"{event} {subject}")
    payload = {"type": event, "timestamp": timezone.now().isoformat().replace("+00:00", "Z"), "data": dict(data)}
    with transaction.atomic():
        delivery, new = WebhookDelivery.objects.get_or_create(
            endpoint=endpoint, message=message, defaults={"event": event, "payload": payload}
        )
        if new:
            _queue(delivery)
    return new


def _queue(delivery: WebhookDelivery) -> None:
    job = enqueue("deliver_webhook", {"delivery": str(delivery.pk)})
    WebhookDelivery.objects.filter(pk=delivery.pk).update(job=job)


def send_again(delivery: WebhookDelivery) -> None:
    """Sends a message now, whether it arrived, was given up or waits for its next attempt; under the same id."""
    with transaction.atomic():
        ended, job = delivery.again(), delivery.job
        delivery.endpoint.wake()
        if ended or job is None or job.state not in (JobState.QUEUED, JobState.RUNNING):
            _queue(delivery)
        elif job.hurry():
            delivery.put_off(None)
            transaction.on_commit(lambda: publish([job.pk]))


def deliver_webhook(run: JobRun) -> dict[str, Any]:
    """Job `deliver_webhook`: posts one message, signed, until it arrives or days have passed.

    Killed after the post it posts again, with the same `webhook-id`. 410 switches the endpoint off at once; so does a
    message given up, unless a later one has arrived.
    """
    delivery = WebhookDelivery.objects.select_related("endpoint__owner").filter(pk=run.args["delivery"]).first()
    if delivery is None or delivery.state != DeliveryState.PENDING or delivery.job_id not in (None, run.job.pk):
        return {"state": delivery.state if delivery else "removed"}
    endpoint = delivery.endpoint
    if why := refusal(endpoint):
        delivery.give_up(why)
        return {"state": DeliveryState.FAILED}
    now = timezone.now()
    if delivery.next_at and delivery.next_at > now:  # the worker was killed as it put the job back
        raise Later((delivery.next_at - now).total_seconds())
    if endpoint.rests_until and endpoint.rests_until > now:
        raise Later(_put_off(delivery, endpoint.rests_until))
    began = timezone.now()
    tried = _post(delivery)
    if tried.status is not None:
        endpoint.rest_after(timezone.now() - began)
    return _settle(delivery, tried)


def _put_off(delivery: WebhookDelivery, until: datetime) -> float:
    """Seconds to wait. The older a message, the less often it asks whether the endpoint still rests."""
    now = timezone.now()
    pause = max(until - now, (now - delivery.since) / 2)
    delivery.put_off(now + pause)
    return pause.total_seconds()


def _post(delivery: WebhookDelivery) -> Tried:
    """One attempt. Addresses of this network are for embedded use, or by setting."""
    body = json.dumps(delivery.payload, separators=(",", ":")).encode()
    headers = sign(delivery.endpoint.secret, f"msg_{delivery.message.hex}", body)
    headers |= {"content-type": "application/json", "user-agent": "Gauntlet-Webhooks"}
    public_only = not (settings.EMBEDDED or settings.WEBHOOKS_TO_PRIVATE)
    return post(delivery.endpoint.url, body, headers, timeout_s=TIMEOUT_SECONDS, public_only=public_only)


def _settle(delivery: WebhookDelivery, tried: Tried) -> dict[str, Any]:
    """Notes what became of an attempt. Raises Later where there will be another."""
    endpoint, now = delivery.endpoint, timezone.now()
    if tried.status is None:
        endpoint.rest()
    elif endpoint.silent_since:
        endpoint.wake()
    if tried.arrived:
        delivery.note(state=DeliveryState.DELIVERED, status=tried.status, answer=tried.answer, next_at=None)
        return {"state": DeliveryState.DELIVERED, "status": tried.status}
    over = delivery.attempts >= len(BACKOFF_SECONDS) or now - delivery.since > GIVE_UP_AFTER
    if over or tried.status == GONE:
        delivery.note(state=DeliveryState.FAILED, status=tried.status, answer=tried.answer, next_at=None)
        if tried.status == GONE or not _arrived_since(delivery):
            endpoint.switch_off(f"messages did not arrive: {tried.status or ''} {tried.answer}".strip())
        return {"state": DeliveryState.FAILED, "status": tried.status}
    pause = BACKOFF_SECONDS[delivery.attempts]
    next_at = now + timedelta(seconds=pause)
    delivery.note(state=DeliveryState.PENDING, status=tried.status, answer=tried.answer, next_at=next_at)
    raise Later(pause)


def _arrived_since(delivery: WebhookDelivery) -> bool:
    """Whether the endpoint took anything while this message was tried: then the message is at fault."""
    return WebhookDelivery.objects.filter(
        endpoint=delivery.endpoint_id, state=DeliveryState.DELIVERED, tried_at__gt=delivery.since
    ).exists()


def messages_forget(now: datetime) -> int:
    """Takes what ended more than `KEPT` ago out of the log, the oldest first, and its jobs. Returns how many."""
    made, long_ago = first_id_at(now - KEPT), now - KEPT
    old = WebhookDelivery.objects.filter(pk__lt=made, since__lt=long_ago).exclude(state=DeliveryState.PENDING)
    found = dict(old.order_by("pk").values_list("pk", "job")[:FORGOTTEN_AT_ONCE])
    if found:
        WebhookDelivery.objects.filter(pk__in=found).delete()
        Job.objects.filter(pk__in=[job for job in found.values() if job]).delete()
    return len(found)


def delivery_ended(job: Job) -> None:
    """After a `deliver_webhook` job that failed for good, its worker killed again and again: the message has too."""
    if job.state == JobState.FAILED:
        for delivery in WebhookDelivery.objects.filter(job=job):
            delivery.give_up(job.error)
