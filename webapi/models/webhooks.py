"""Outgoing webhooks: who is told of what, and what became of each message."""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.utils import timezone

from webapi.models.accounts import User
from webapi.models.base import Row


class WebhookEndpoint(Row):
    """An address that is told of events. Its secret signs the messages, so that it has to be kept as it is."""

    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="webhooks")
    url = models.URLField(max_length=1000)
    secret = models.CharField(max_length=200)
    events = models.JSONField(default=list)
    """Names in `workers.webhooks.EVENTS`."""
    active = models.BooleanField(default=True)
    trouble = models.TextField(blank=True)
    """Why it was switched off, where it was not by hand."""

    def __str__(self) -> str:
        return self.url

    def switch_off(self, trouble: str) -> bool:
        """on -> off, because messages do not arrive."""
        on = WebhookEndpoint.objects.filter(pk=self.pk, active=True)
        return bool(on.update(active=False, trouble=trouble))


class DeliveryState(models.TextChoices):
    """Pending until it arrived or was given up."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class WebhookDelivery(Row):
    """A message to one endpoint, written in the transaction of what it tells of."""

    endpoint = models.ForeignKey(WebhookEndpoint, on_delete=models.CASCADE, related_name="deliveries")
    event = models.CharField(max_length=32)
    message = models.UUIDField()
    """Follows from what happened: the same event is told once, and a repeat of the message has the same."""
    payload = models.JSONField(default=dict)
    state = models.CharField(max_length=16, choices=DeliveryState, default=DeliveryState.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    status = models.PositiveSmallIntegerField(null=True, blank=True)
    """HTTP status of the last answer."""
    answer = models.CharField(max_length=500, blank=True)
    """How the last answer began, or why there was none."""
    tried_at = models.DateTimeField(null=True, blank=True)
    next_at = models.DateTimeField(null=True, blank=True)

    class Meta(Row.Meta):
        verbose_name_plural = "webhook deliveries"
        constraints = [models.UniqueConstraint(fields=["endpoint", "message"], name="message_once_per_endpoint")]

    def __str__(self) -> str:
        return f"{self.event} to {self.endpoint}"

    def note(self, *, state: str, status: int | None, answer: str, next_at: datetime | None) -> bool:
        """What became of one more attempt. False if it had arrived by another."""
        pending = WebhookDelivery.objects.filter(pk=self.pk, state=DeliveryState.PENDING)
        return bool(
            pending.update(
                state=state,
                status=status,
                answer=answer,
                next_at=next_at,
                tried_at=timezone.now(),
                attempts=models.F("attempts") + 1,
            )
        )

    def again(self) -> bool:
        """delivered or failed -> pending, from the first attempt on."""
        ended = WebhookDelivery.objects.filter(pk=self.pk).exclude(state=DeliveryState.PENDING)
        return bool(ended.update(state=DeliveryState.PENDING, attempts=0, next_at=None))
