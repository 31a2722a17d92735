"""Gold: snippets whose right answer is known. Those who label for us never learn which they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from webapi.api.base import Resource, StrictSerializer
from webapi.api.fields import PolicyField
from webapi.api.filters import Filters
from webapi.api.outcomes import Done, EachItem, answer_each, reason_errors
from webapi.api.schema import EXAMPLE_ID, EXAMPLE_TIME, example, one_of
from webapi.api.snippets import SnippetOutcomesSerializer
from webapi.errors import DomainError, FieldError
from webapi.models import Gold, Policy
from webapi.services.gold import GoldInput, GoldOutcome, gold_create, gold_restore, gold_retire
from webapi.services.leases import annotator_for
from webapi.services.snippets import MAX_SNIPPETS


class GoldSerializer(serializers.ModelSerializer[Gold]):
    """A piece of gold with its text."""

    prompt = serializers.CharField(source="snippet.prompt", read_only=True)
    completion = serializers.CharField(source="snippet.completion", read_only=True)

    class Meta:
        model = Gold
        fields = ["id", "policy", "snippet", "prompt", "completion", "choice", "explanation", "active", "created_at"]
        read_only_fields = fields


class GoldFields(StrictSerializer):
    """A snippet by its key, or its text; and its right answer."""

    snippet = serializers.UUIDField(required=False)
    prompt = serializers.CharField(allow_blank=True, required=False, trim_whitespace=False)
    completion = serializers.CharField(required=False, trim_whitespace=False)
    choice = serializers.CharField(max_length=64)
    explanation = serializers.CharField(allow_blank=True, default="", help_text="Shown after the answer.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """A key or a text, not both. Raises ValidationError."""
        if "snippet" in attrs and ("prompt" in attrs or "completion" in attrs):
            message = serializers.ErrorDetail("Give the snippet's key or its text, not both.", "invalid")
            raise serializers.ValidationError({"snippet": message})
        if "snippet" not in attrs and "completion" not in attrs:
            message = serializers.ErrorDetail("Give a snippet's key, or a prompt and a completion.", "required")
            raise serializers.ValidationError({"completion": message})
        return attrs


class OneGold(GoldFields):
    """Gold to add."""

    policy = PolicyField()


class ManyGold(StrictSerializer):
    """Gold to add under one policy; each is answered for itself."""

    policy = PolicyField()
    gold = EachItem(GoldFields, max_length=MAX_SNIPPETS)


class GoldFilter(Filters):
    """Filters of the list."""

    class Meta:
        model = Gold
        fields = ["policy", "choice", "active"]


TEXT = {
    "prompt": "The rain fell. Ada ran to the gate. It was locked.",
    "completion": "She climbed over it and went home to her tea.",
}
GIVEN = {**TEXT, "choice": "No", "explanation": "Nobody is hurt."}
ROW: dict[str, Any] = {
    "id": EXAMPLE_ID,
    "policy": EXAMPLE_ID,
    "snippet": EXAMPLE_ID,
    **GIVEN,
    "active": True,
    "created_at": EXAMPLE_TIME,
}
OUTCOMES = {
    "counts": {"created": 1},
    "results": [{"index": 0, "outcome": "created", "id": EXAMPLE_ID, "errors": []}],
}


@extend_schema_view(
    list=extend_schema(examples=example(ROW, status=200)), retrieve=extend_schema(examples=example(ROW, status=200))
)
class GoldResource(Resource[Gold]):
    """Gold."""

    resource = "gold"
    queryset = Gold.objects.select_related("snippet")
    filterset_class = GoldFilter
    serializer_class = GoldSerializer

    def list(self, request: Request) -> Response:
        """Gold, a page at a time."""
        return self.listed(self.get_queryset())

    def retrieve(self, request: Request, pk: str) -> Response:
        """One piece of gold."""
        return Response(self.get_serializer(self.get_object()).data)

    @extend_schema(
        request=one_of("OneOrManyGold", OneGold, ManyGold),
        responses={201: GoldSerializer, 200: SnippetOutcomesSerializer},
        examples=[
            *example({"policy": "injury", **GIVEN}, name="One"),
            *example({"policy": "injury", "gold": [GIVEN]}, name="Many"),
            *example(ROW, name="One", status=201),
            *example(OUTCOMES, name="Many", status=200),
        ],
    )
    def create(self, request: Request) -> Response:
        """Adds a piece of gold, or up to 1,000 with an answer for each. What is there stays and is a duplicate."""
        if isinstance(request.data, dict) and "gold" in request.data:
            many = self.input(ManyGold)
            return Response(answer_each(many["gold"], GoldFields, partial(self._write_each, many["policy"])))
        data = self.input(OneGold)
        policy, author = data.pop("policy"), annotator_for(actor=self.actor)
        done = gold_create(policy=policy, item=GoldInput(**data), author=author)
        if done.row is None:
            errors = _errors(done)
            raise DomainError("invalid", "; ".join(error.message for error in errors), errors=errors)
        return Response(GoldSerializer(done.row).data, status=201 if done.outcome == "created" else 200)

    @extend_schema(request=None, responses=GoldSerializer, examples=example({**ROW, "active": False}, status=200))
    @action(detail=True, methods=["post"])
    def retire(self, request: Request, pk: str) -> Response:
        """Gives it to nobody any more. What was answered to it still counts."""
        return Response(self.get_serializer(gold_retire(row=self.get_object())).data)

    @extend_schema(request=None, responses=GoldSerializer, examples=example(ROW, status=200))
    @action(detail=True, methods=["post"])
    def restore(self, request: Request, pk: str) -> Response:
        """Gives retired gold out again, to those who have not answered it."""
        return Response(self.get_serializer(gold_restore(row=self.get_object())).data)

    def _write_each(self, policy: Policy, items: Sequence[dict[str, Any]]) -> Iterator[Done]:
        author = annotator_for(actor=self.actor)
        for item in items:
            done = gold_create(policy=policy, item=GoldInput(**item), author=author)
            yield Done(done.outcome, done.row and done.row.pk, _errors(done))


def _errors(done: GoldOutcome) -> list[FieldError]:
    return [done.error] if done.error else reason_errors(done.reasons)
