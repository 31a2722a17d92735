"""An endpoint that listens on loopback, and deliveries to it whose time has come."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone
from standardwebhooks.webhooks import Webhook

from tests.labeling_adapters.http_server import Request
from webapi.models import Job, JobState, WebhookDelivery, WebhookEndpoint
from workers.execute import execute


def deliver(delivery: WebhookDelivery | None = None) -> Job:
    """Runs a message's job, the newest one's if none is named, as if its time had come and its worker were dead."""
    chosen = delivery or WebhookDelivery.objects.latest("pk")
    WebhookDelivery.objects.filter(pk=chosen.pk).update(next_at=None)
    WebhookEndpoint.objects.update(rests_until=None)
    return run_early(chosen)


def run_early(delivery: WebhookDelivery) -> Job:
    """Runs a message's job now, whatever the message and its endpoint wait for."""
    job = Job.objects.get(pk=WebhookDelivery.objects.values_list("job", flat=True).get(pk=delivery.pk))
    Job.objects.filter(pk=job.pk, state=JobState.QUEUED).update(not_before=timezone.now())
    Job.objects.filter(pk=job.pk, state=JobState.RUNNING).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    assert execute(job.pk)
    job.refresh_from_db()
    return job


def opened(request: Request, secret: str) -> dict[str, Any]:
    """What a message says, its signature verified by the library that receivers use."""
    said: dict[str, Any] = Webhook(secret).verify(request.body, dict(request.headers))
    return said
