"""Outgoing webhooks: who is told of what, and what became of each message. Messages follow Standard Webhooks."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.generics import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response

from webapi.api.base import Resource, StrictSerializer
from webapi.api.schema import EXAMPLE_ID, EXAMPLE_TIME, example
from webapi.models import WebhookDelivery, WebhookEndpoint
from webapi.services.webhooks import (
    delivery_repeat,
    webhook_change,
    webhook_create,
    webhook_ping,
    webhook_rotate,
)
from workers.webhooks import EVENTS, VENDOR_EVENTS


class WebhookSerializer(serializers.ModelSerializer[WebhookEndpoint]):
    """An endpoint, without its secret. `trouble`: why it was switched off, where nobody did it by hand.

    `role`: what it is told is what this role may know. `silent_since`: nobody answers there since then.
    """

    events = serializers.ListField(child=serializers.CharField(), read_only=True)

    class Meta:
        model = WebhookEndpoint
        fields = ["id", "url", "events", "active", "trouble", "silent_since", "owner", "role", "created_at"]
        read_only_fields = fields


class NewWebhookSerializer(WebhookSerializer):
    """An endpoint with its secret, shown this once: it verifies the messages' signatures."""

    secret = serializers.CharField(read_only=True, allow_null=True)

    class Meta(WebhookSerializer.Meta):
        fields = [*WebhookSerializer.Meta.fields, "secret"]
        read_only_fields = fields


class WebhookInput(StrictSerializer):
    """An address and the events that it is told of."""

    url = serializers.URLField(max_length=1000, help_text="http or https; no redirects are followed.")
    events = serializers.ListField(
        child=serializers.ChoiceField(list(EVENTS)),
        min_length=1,
        help_text="Vendors: " + ", ".join(VENDOR_EVENTS) + ".",
    )


class WebhookChange(WebhookInput):
    """What is to be otherwise."""

    url = serializers.URLField(max_length=1000, required=False)
    events = serializers.ListField(child=serializers.ChoiceField(list(EVENTS)), min_length=1, required=False)
    active = serializers.BooleanField(required=False)


class DeliverySerializer(serializers.ModelSerializer[WebhookDelivery]):
    """A message to an endpoint and its last attempt. `message`: what `webhook-id` names, `msg_` before it."""

    payload = serializers.DictField(read_only=True)

    class Meta:
        model = WebhookDelivery
        fields = [
            *("id", "event", "message", "payload", "state", "attempts", "status", "answer"),
            *("tried_at", "next_at", "created_at"),
        ]
        read_only_fields = fields


ASKED = {"url": "https://dashboard.example/gauntlet", "events": ["round.finished", "batch.finished"]}
ROW: dict[str, Any] = {
    "id": EXAMPLE_ID,
    **ASKED,
    "active": True,
    "trouble": "",
    "silent_since": None,
    "owner": EXAMPLE_ID,
    "role": "researcher",
    "created_at": EXAMPLE_TIME,
}
SECRET = {**ROW, "secret": "whsec_…"}
DELIVERY: dict[str, Any] = {
    "id": EXAMPLE_ID,
    "event": "round.finished",
    "message": EXAMPLE_ID,
    "payload": {
        "type": "round.finished",
        "timestamp": EXAMPLE_TIME,
        "data": {"round": EXAMPLE_ID, "state": "succeeded", "error": ""},
    },
    "state": "delivered",
    "attempts": 1,
    "status": 204,
    "answer": "",
    "tried_at": EXAMPLE_TIME,
    "next_at": None,
    "created_at": EXAMPLE_TIME,
}


@extend_schema_view(
    list=extend_schema(examples=example(ROW, status=200)), retrieve=extend_schema(examples=example(ROW, status=200))
)
class Webhooks(Resource[WebhookEndpoint]):
    """Endpoints that are told of events."""

    resource = "webhooks"
    queryset = WebhookEndpoint.objects.all()
    serializer_class = WebhookSerializer
    secrets = frozenset({"secret"})

    def list(self, request: Request) -> Response:
        """Endpoints, a page at a time."""
        return self.listed(self.get_queryset())

    def retrieve(self, request: Request, pk: str) -> Response:
        """One endpoint."""
        return Response(self.get_serializer(self.get_object()).data)

    @extend_schema(
        request=WebhookInput,
        responses={201: NewWebhookSerializer},
        examples=[*example(ASKED), *example(SECRET, status=201)],
    )
    def create(self, request: Request) -> Response:
        """Has an address told of events from now on. Keep the secret: it is shown this once."""
        return Response(
            NewWebhookSerializer(webhook_create(actor=self.actor, **self.input(WebhookInput))).data, status=201
        )

    @extend_schema(
        request=WebhookChange,
        responses=WebhookSerializer,
        examples=[*example({"active": True}), *example(ROW, status=200)],
    )
    @action(detail=True, methods=["post"])
    def change(self, request: Request, pk: str) -> Response:
        """Changes the address or the events, or switches the endpoint on or off."""
        changed = webhook_change(endpoint=self.get_object(), **self.input(WebhookChange))
        return Response(self.get_serializer(changed).data)

    @extend_schema(request=None, responses=WebhookSerializer, examples=example(ROW, status=200))
    @action(detail=True, methods=["post"])
    def remove(self, request: Request, pk: str) -> Response:
        """Forgets the endpoint and its messages; the answer is the last that is seen of it."""
        row = self.get_object()
        shown = self.get_serializer(row).data
        row.delete()
        return Response(shown)

    @extend_schema(request=None, responses=NewWebhookSerializer, examples=example(SECRET, status=200))
    @action(detail=True, methods=["post"])
    def rotate(self, request: Request, pk: str) -> Response:
        """A fresh secret, shown this once. Until the next rotation messages are signed with the one before too."""
        shown = NewWebhookSerializer(webhook_rotate(endpoint=self.get_object())).data
        return Response({**shown, "secret": str(shown["secret"]).partition(",")[0]})

    @extend_schema(request=None, responses=DeliverySerializer, examples=example(DELIVERY, status=200))
    @action(detail=True, methods=["post"])
    def ping(self, request: Request, pk: str) -> Response:
        """Sends a message of no consequence."""
        return Response(DeliverySerializer(webhook_ping(endpoint=self.get_object())).data)

    @extend_schema(responses=DeliverySerializer(many=True), examples=example(DELIVERY, status=200))
    @action(detail=True, methods=["get"])
    def deliveries(self, request: Request, pk: str) -> Response:
        """The messages to the endpoint, a page at a time."""
        rows: Any = self.get_object().deliveries.all()
        page: Any = self.paginate_queryset(rows)
        return self.get_paginated_response(DeliverySerializer(page, many=True).data)

    @extend_schema(
        request=None,
        responses=DeliverySerializer,
        parameters=[OpenApiParameter("delivery", OpenApiTypes.UUID, OpenApiParameter.PATH)],
        examples=example({**DELIVERY, "state": "pending", "attempts": 0}, status=200),
    )
    @action(detail=True, methods=["post"], url_path="deliveries/(?P<delivery>[0-9a-f-]{36})/redeliver")
    def redeliver(self, request: Request, pk: str, delivery: str) -> Response:
        """Sends a message again at once, with the same id: one that arrived, was given up, or waits for its time."""
        found = get_object_or_404(self.get_object().deliveries.select_related("endpoint", "job"), pk=delivery)
        return Response(DeliverySerializer(delivery_repeat(delivery=found)).data)
