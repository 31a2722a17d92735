"""Who the API takes you for, and what it means by its error codes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

from webapi.api.base import Resource
from webapi.api.schema import EXAMPLE_ID, example
from webapi.errors import ERROR_CODES, DomainError
from webapi.models import Annotator, ApiToken, User
from webapi.permissions import RIGHTS, may, sees
from webapi.selectors.dashboard import annotator_figures


class FiguresSerializer(serializers.Serializer[Any]):
    """Your own labeling. `seconds`: the median time of your latest thousand answers."""

    today = serializers.IntegerField()
    total = serializers.IntegerField()
    changed = serializers.IntegerField()
    seconds = serializers.FloatField(allow_null=True)
    choices = serializers.ListField(child=serializers.DictField())
    first = serializers.DateTimeField(allow_null=True)
    last = serializers.DateTimeField(allow_null=True)


class MeSerializer(serializers.Serializer[Any]):
    """You. `may`: resource -> what you may do there besides reading; what is missing you do not see."""

    id = serializers.UUIDField()
    username = serializers.CharField()
    role = serializers.CharField()
    token = serializers.UUIDField(allow_null=True)
    may = serializers.DictField(child=serializers.ListField(child=serializers.CharField()))
    labeling = FiguresSerializer(allow_null=True)


YOU: dict[str, Any] = {
    "id": EXAMPLE_ID,
    "username": "acme",
    "role": "vendor",
    "token": EXAMPLE_ID,
    "may": {"batches": [], "tasks": ["lease", "release", "renew"], "labels": ["create"]},
    "labeling": None,
}


class Me(Resource[User]):
    """You."""

    resource = "me"
    queryset = User.objects.none()
    pagination_class = None
    filter_backends = ()

    @extend_schema(responses=MeSerializer, examples=example(YOU, status=200), operation_id="me")
    def list(self, request: Request) -> Response:
        """Who you are here, and what you may do."""
        annotator = Annotator.objects.filter(user=self.user).first()
        rights = {
            resource: sorted(
                action
                for action in {action for rights in roles.values() for action in rights.may}
                if may(self.actor, resource, action)
            )
            for resource, roles in RIGHTS.items()
            if sees(self.actor, resource)
        }
        data = {
            "id": self.user.pk,
            "username": self.user.username,
            "role": self.actor.role,
            "token": request.auth.pk if isinstance(request.auth, ApiToken) else None,
            "may": rights,
            "labeling": asdict(annotator_figures(annotator)) if annotator else None,
        }
        return Response(MeSerializer(data).data)


class ErrorCodeSerializer(serializers.Serializer[Any]):
    """What a code means."""

    code = serializers.CharField()
    status = serializers.IntegerField(help_text="The status that it usually comes with.")
    title = serializers.CharField()
    meaning = serializers.CharField()


def _code(code: str) -> dict[str, Any]:
    return {"code": code, **ERROR_CODES[code]._asdict()}


class ErrorCodes(ViewSet):
    """The codes that problems carry; where their `type` leads."""

    permission_classes = [AllowAny]
    throttle_classes = []
    lookup_value_regex = "[a-z_]+"

    @extend_schema(
        responses=ErrorCodeSerializer(many=True),
        examples=example(_code("not_found"), status=200),
        operation_id="errors_list",
        tags=["errors"],
    )
    def list(self, request: Request) -> Response:
        """Every code."""
        return Response([_code(code) for code in ERROR_CODES])

    @extend_schema(
        responses=ErrorCodeSerializer,
        examples=example(_code("not_found"), status=200),
        operation_id="errors_retrieve",
        tags=["errors"],
        parameters=[],
    )
    def retrieve(self, request: Request, pk: str) -> Response:
        """What one code means."""
        if pk not in ERROR_CODES:
            raise DomainError("not_found", f"There is no error code {pk!r}.")
        return Response(_code(pk))


class Nothing(APIView):
    """Every other path of the API."""

    permission_classes = [AllowAny]
    authentication_classes = []
    throttle_classes = []
    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """404, whatever the method."""
        raise DomainError("not_found", f"There is nothing at {request.path}.")
