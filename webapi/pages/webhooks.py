"""Webhooks: endpoints made, tried and switched off; the log of what was sent, and a message sent again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from uuid import UUID

from django import forms
from django.contrib import messages
from django.db.models import QuerySet
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from labeling_adapters.signing import SEPARATOR
from webapi.errors import DomainError
from webapi.models import DeliveryState, WebhookDelivery, WebhookEndpoint
from webapi.pages.access import PageRequest, page, require
from webapi.pages.paging import page_of
from webapi.permissions import Actor, role_of, visible
from webapi.selectors.webhooks import endpoint_records
from webapi.services.webhooks import (
    delivery_repeat,
    events_for,
    webhook_change,
    webhook_create,
    webhook_ping,
    webhook_rotate,
)
from workers.webhooks import EVENTS

SOON = timedelta(minutes=1)
"""A message that is tried within this time is watched."""


class WebhookForm(forms.Form):
    """Where to send messages, and of what."""

    url = forms.URLField(
        max_length=1000,
        assume_scheme="https",
        error_messages={
            "required": "Give the address that messages are sent to.",
            "invalid": "This is no web address.",
        },
    )
    events = forms.MultipleChoiceField(error_messages={"required": "Choose at least one event."})

    def __init__(self, data: Mapping[str, object] | None, *, role: str) -> None:
        super().__init__(data)
        chosen = [(event, EVENTS[event]) for event in events_for(role)]
        self.fields["events"].choices = chosen  # type: ignore[attr-defined]


@page("webhooks")
def webhooks(request: PageRequest) -> HttpResponse:
    """The endpoints, and a form that makes one. The secret is in the answer to the form, and on no page after."""
    actor = Actor(request.user, role_of(request.user))
    form = WebhookForm(request.POST if request.method == "POST" else None, role=actor.role)
    made: WebhookEndpoint | None = None
    if form.is_valid():
        require(request.user, "webhooks", "create")
        try:
            made = webhook_create(actor=actor, url=form.cleaned_data["url"], events=form.cleaned_data["events"])
            form = WebhookForm(None, role=actor.role)
        except DomainError as error:
            form.add_error("url", error.message)
    mine = _mine(request)
    rows, pager = page_of(mine.select_related("owner"), request.GET.dict())
    context = {
        "records": endpoint_records(rows),
        "pager": pager,
        "on": mine.filter(active=True).count(),
        "off": mine.filter(active=False).count(),
        "form": form,
        "made": made,
    }
    return render(request, "pages/webhooks.html", context, status=400 if form.errors else 200)


@page("webhooks")
@require_GET
def webhook(request: PageRequest, key: UUID) -> HttpResponse:
    """One endpoint and the log of its messages."""
    return _one(request, get_object_or_404(_mine(request), pk=key))


@page("webhooks")
@require_POST
def move(request: PageRequest, key: UUID, name: str) -> HttpResponse:
    """Sends a ping, switches on or off, removes."""
    if name not in MOVES:
        raise Http404("no such action")
    endpoint = get_object_or_404(_mine(request), pk=key)
    require(request.user, "webhooks", {"on": "change", "off": "change"}.get(name, name))
    try:
        messages.success(request, MOVES[name](endpoint))
    except DomainError as error:
        messages.warning(request, error.message)
    return redirect("webhooks") if name == "remove" else redirect("webhook", key)


@page("webhooks")
@require_POST
def rotate(request: PageRequest, key: UUID) -> HttpResponse:
    """Gives the endpoint another secret, which is in this answer and on no page after."""
    endpoint = get_object_or_404(_mine(request), pk=key)
    require(request.user, "webhooks", "rotate")
    webhook_rotate(endpoint=endpoint)
    return _one(request, endpoint, secret=endpoint.secret.partition(SEPARATOR)[0])


@page("webhooks")
@require_POST
def redeliver(request: PageRequest, key: UUID, delivery: UUID) -> HttpResponse:
    """Sends a message again."""
    endpoint = get_object_or_404(_mine(request), pk=key)
    row = get_object_or_404(endpoint.deliveries.select_related("endpoint", "job"), pk=delivery)
    require(request.user, "webhooks", "redeliver")
    try:
        delivery_repeat(delivery=row)
        messages.success(request, f"{row.event} is sent again, with the same id.")
    except DomainError as error:
        messages.warning(request, error.message)
    return redirect("webhook", key)


def _mine(request: PageRequest) -> QuerySet[WebhookEndpoint]:
    return visible(WebhookEndpoint.objects.all(), "webhooks", Actor(request.user, role_of(request.user)))


def _one(request: PageRequest, endpoint: WebhookEndpoint, secret: str = "") -> HttpResponse:
    rows, pager = page_of(endpoint.deliveries.all(), request.GET.dict() if request.method == "GET" else {})
    context = {
        "endpoint": endpoint,
        "events": [EVENTS.get(event, event) for event in endpoint.events],
        "deliveries": [(row, json.dumps(row.payload, indent=2, ensure_ascii=False)) for row in rows],
        "pager": pager,
        "secret": secret,
        "live": any(_is_soon(row) for row in rows),
    }
    return render(request, "pages/webhook.html", context)


def _is_soon(row: WebhookDelivery) -> bool:
    return row.state == DeliveryState.PENDING and (row.next_at is None or row.next_at < timezone.now() + SOON)


def _ping(endpoint: WebhookEndpoint) -> str:
    webhook_ping(endpoint=endpoint)
    return "A ping is on its way; the log says whether it arrives."


def _switch_on(endpoint: WebhookEndpoint) -> str:
    webhook_change(endpoint=endpoint, active=True)
    return "Switched on: it is told of what happens from now on. What failed before can be sent again from the log."


def _switch_off(endpoint: WebhookEndpoint) -> str:
    webhook_change(endpoint=endpoint, active=False)
    return "Switched off: nothing is sent any more, and what happens meanwhile is not kept."


def _remove(endpoint: WebhookEndpoint) -> str:
    endpoint.delete()
    return f"{endpoint.url} and the log of its messages are removed."


MOVES: Mapping[str, Callable[[WebhookEndpoint], str]] = {
    "ping": _ping,
    "on": _switch_on,
    "off": _switch_off,
    "remove": _remove,
}
