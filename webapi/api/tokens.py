"""Tokens: one's own, made and revoked."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from webapi.api.base import Resource, StrictSerializer
from webapi.api.schema import EXAMPLE_ID, EXAMPLE_TIME, example
from webapi.models import ApiToken, Role
from webapi.services.tokens import MAX_DAYS, token_create, token_revoke


class TokenSerializer(serializers.ModelSerializer[ApiToken]):
    """A token, without its secret."""

    class Meta:
        model = ApiToken
        fields = ["id", "name", "role", "created_at", "expires_at", "revoked_at", "last_used_at"]
        read_only_fields = fields


class NewTokenSerializer(TokenSerializer):
    """A new token. Its secret is shown this once and never again."""

    token = serializers.CharField(read_only=True, allow_null=True)

    class Meta(TokenSerializer.Meta):
        fields = [*TokenSerializer.Meta.fields, "token"]
        read_only_fields = fields


class TokenInput(StrictSerializer):
    """A token to make."""

    name = serializers.CharField(max_length=100, help_text="What it is for.")
    role = serializers.ChoiceField(Role.choices, required=False, help_text="Your own, or a lesser one.")
    days = serializers.IntegerField(min_value=1, max_value=MAX_DAYS, default=90)


ROW: dict[str, Any] = {
    "id": EXAMPLE_ID,
    "name": "nightly import",
    "role": "researcher",
    "created_at": EXAMPLE_TIME,
    "expires_at": "2027-02-19T09:30:00Z",
    "revoked_at": None,
    "last_used_at": None,
}


@extend_schema_view(
    list=extend_schema(examples=example(ROW, status=200)), retrieve=extend_schema(examples=example(ROW, status=200))
)
class Tokens(Resource[ApiToken]):
    """Your tokens."""

    resource = "tokens"
    queryset = ApiToken.objects.all()
    serializer_class = TokenSerializer
    secrets = frozenset({"token"})

    def list(self, request: Request) -> Response:
        """Your tokens, a page at a time."""
        return self.listed(self.get_queryset())

    def retrieve(self, request: Request, pk: str) -> Response:
        """One of your tokens."""
        return Response(self.get_serializer(self.get_object()).data)

    @extend_schema(
        request=TokenInput,
        responses={201: NewTokenSerializer},
        examples=[*example({"name": "nightly import", "days": 90}), *example({**ROW, "token": "gtl_…"}, status=201)],
    )
    def create(self, request: Request) -> Response:
        """Makes a token. Keep its secret: it is shown this once."""
        data = self.input(TokenInput)
        made = token_create(
            user=self.user,
            role=self.actor.role,
            name=data["name"],
            wanted_role=data.get("role", ""),
            days=data["days"],
        )
        return Response({**TokenSerializer(made.row).data, "token": made.secret}, status=201)

    @extend_schema(
        request=None, responses=TokenSerializer, examples=example({**ROW, "revoked_at": EXAMPLE_TIME}, status=200)
    )
    @action(detail=True, methods=["post"])
    def revoke(self, request: Request, pk: str) -> Response:
        """Ends a token at once."""
        return Response(self.get_serializer(token_revoke(token=self.get_object())).data)
