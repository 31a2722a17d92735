"""Outgoing webhooks: who is told of what, and what became of each message."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from django.db import models
from django.utils import timezone

from webapi.models.accounts import Role, User
from webapi.models.base import Row
from webapi.models.jobs import Job

SHORTEST_REST, LONGEST_REST = timedelta(seconds=5), timedelta(minutes=5)
"""How long an address that did not answer is left alone."""
SLOW, TIMES_SLOWER = timedelta(seconds=2), 10
"""An answer that takes longer than this is slow."""


class WebhookEndpoint(Row):
    """An address that is told of events. Its secret signs the messages, so that it has to be kept as it is."""

    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="webhooks")
    role = models.CharField(max_length=16, choices=Role)
    """In which its owner made it: what it is told is for this role's eyes."""
    url = models.URLField(max_length=1000)
    secret = models.CharField(max_length=200)
    events = models.JSONField(default=list)
    """Names in `workers.webhooks.EVENTS`."""
    active = models.BooleanField(default=True)
    trouble = models.TextField(blank=True)
    """Why it was switched off, where it was not by hand."""
    silent_since = models.DateTimeField(null=True, blank=True)
    """Since when nobody answers there; empty: the last time somebody did, be it with an error."""
    rests_until = models.DateTimeField(null=True, blank=True)
    """Nothing is sent before: waiting for one that does not answer keeps a worker from everybody else's work."""

    def __str__(self) -> str:
        return self.url

    @property
    def vendor(self) -> uuid.UUID | None:
        """The vendor whose own matters it is told of alone; None: it is told of everybody's."""
        return self.owner_id if self.role == Role.VENDOR else None

    def rest(self) -> None:
        """Nobody answered: left alone for half as long as that has been so, within bounds."""
        now = timezone.now()
        since = self.silent_since or now
        until = now + min(max((now - since) / 2, SHORTEST_REST), LONGEST_REST)
        WebhookEndpoint.objects.filter(pk=self.pk).update(silent_since=since, rests_until=until)

    def rest_after(self, took: timedelta) -> None:
        """Whoever is slow to answer is left alone for ten times as long: one address does not keep a worker busy."""
        if took > SLOW:
            until = timezone.now() + TIMES_SLOWER * took
            WebhookEndpoint.objects.filter(pk=self.pk).update(rests_until=until)

    def wake(self) -> None:
        """Somebody answered, or a person wants it tried at once."""
        rests = WebhookEndpoint.objects.filter(pk=self.pk).exclude(silent_since=None, rests_until=None)
        rests.update(silent_since=None, rests_until=None)

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
    since = models.DateTimeField(default=timezone.now)
    """When it was to be sent, or to be sent again by hand: the days of trying count from here."""
    job = models.ForeignKey(Job, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    """The one that sends it; another's run does nothing."""

    class Meta(Row.Meta):
        verbose_name_plural = "webhook deliveries"
        indexes = [models.Index(fields=["endpoint", "id"], name="delivery_by_endpoint")]
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

    def put_off(self, until: datetime | None) -> None:
        """Not tried before `until` (None: at once), and no attempt counted."""
        WebhookDelivery.objects.filter(pk=self.pk, state=DeliveryState.PENDING).update(next_at=until)

    def give_up(self, why: str) -> bool:
        """pending -> failed without a further attempt."""
        pending = WebhookDelivery.objects.filter(pk=self.pk, state=DeliveryState.PENDING)
        return bool(pending.update(state=DeliveryState.FAILED, answer=why[:500], next_at=None))

    def again(self) -> bool:
        """delivered or failed -> pending, from the first attempt on."""
        ended = WebhookDelivery.objects.filter(pk=self.pk).exclude(state=DeliveryState.PENDING)
        return bool(ended.update(state=DeliveryState.PENDING, attempts=0, next_at=None, since=timezone.now()))
