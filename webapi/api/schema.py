"""The API's own description: tags, idempotency keys, problems and limits, the same for every operation."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension, OpenApiSerializerFieldExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import Direction, OpenApiExample, OpenApiParameter, PolymorphicProxySerializer
from rest_framework.permissions import SAFE_METHODS
from rest_framework.serializers import Serializer

from webapi.api.webhook_events import describe_events
from webapi.errors import ERROR_CODES, FIELD_CODES, PROBLEM_TYPE, problem
from webapi.services.labels import MAX_LABELS
from webapi.services.leases import MAX_LEASES
from webapi.services.snippets import MAX_SNIPPETS

IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="The same key and body again give the same answer; the same key with another body is 409.",
)
EXAMPLE_ID = "0193a5f2-7c1e-7b3a-9d2f-4e5a6b7c8d9e"
EXAMPLE_TIME = "2026-11-21T09:30:00Z"


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How bearer tokens stand in the API's description."""

    target_class = "webapi.authentication.BearerAuthentication"
    name = "bearer"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        """The OpenAPI security scheme."""
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "Made by `POST /tokens` or `manage.py create_token`.",
        }


class PageSessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How sessions stand in the API's description."""

    target_class = "webapi.authentication.PageSession"
    name = "session"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        """The OpenAPI security scheme."""
        return {"type": "apiKey", "in": "cookie", "name": "sessionid", "description": "Signed in on a page."}


class EachItemScheme(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    """Items that are checked one by one are described as what each is to be."""

    target_class = "webapi.api.outcomes.EachItem"

    def map_serializer_field(self, auto_schema: AutoSchema, direction: Direction) -> dict[str, Any]:
        """An array of it."""
        item = auto_schema.resolve_serializer(self.target.item, direction)
        return {"type": "array", "items": item.ref, "minItems": 1, "maxItems": self.target.max_length}


class Described(AutoSchema):
    """Tags by resource, and the idempotency key on every changing operation."""

    def get_tags(self) -> list[str]:
        """The resource."""
        return [getattr(self.view, "resource", "about")]

    def get_operation_id(self) -> str:
        """`rounds_pause`: resource and action."""
        action = getattr(self.view, "action", None)
        resource = getattr(self.view, "resource", None)
        return f"{resource}_{action}" if resource and action else str(super().get_operation_id())

    def get_override_parameters(self) -> list[Any]:
        """The idempotency key, where something changes."""
        if self.method in SAFE_METHODS or not hasattr(self.view, "unchanging"):
            return []
        return [] if getattr(self.view, "action", None) in self.view.unchanging else [IDEMPOTENCY_KEY]


def example(
    value: Any, *, name: str = "Example", status: int | None = None, media_type: str = "application/json"
) -> list[OpenApiExample]:
    """An example of an answer (with `status`), or of a request."""
    if status is None:
        return [OpenApiExample(name, value=value, request_only=True)]
    return [OpenApiExample(name, value=value, response_only=True, status_codes=[str(status)], media_type=media_type)]


def one_of(name: str, *shapes: type[Serializer[Any]], many: bool = False) -> Any:
    """A body or answer of one of these shapes, such as one for each role."""
    kwargs = {"many": True} if many else {}
    return PolymorphicProxySerializer(
        component_name=name, serializers=list(shapes), resource_type_field_name=None, **kwargs
    )


def add_problems(result: dict[str, Any], generator: Any, **_: Any) -> dict[str, Any]:
    """Every operation may answer with a problem; the description lists every code, and what webhooks say."""
    result["info"]["description"] = describe()
    result["components"].setdefault("schemas", {})["Problem"] = PROBLEM_SCHEMA
    result["webhooks"] = describe_events()
    answer = {
        "description": "A problem (RFC 9457)",
        "content": {
            PROBLEM_TYPE: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "example": problem("not_found", ERROR_CODES["not_found"].meaning),
            }
        },
    }
    for path in result["paths"].values():
        for operation in path.values():
            operation["responses"]["default"] = answer
    return result


PROBLEM_SCHEMA = {
    "type": "object",
    "description": "RFC 9457, with a stable code for programs and one entry for each wrong field or item.",
    "required": ["type", "title", "status", "detail", "code", "errors"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "enum": list(ERROR_CODES)},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["loc", "code", "message"],
                "properties": {
                    "loc": {"type": "array", "items": {"type": ["string", "integer"]}},
                    "code": {"type": "string", "enum": list(FIELD_CODES)},
                    "message": {"type": "string"},
                },
            },
        },
        "instance": {"type": "string", "format": "uri-reference"},
    },
}

INTRODUCTION = """
Adversarial training of text classifiers: policies, snippets, rounds, labels, classifiers.

**Authentication.** `Authorization: Bearer <token>`; make one with `POST /tokens` or `manage.py create_token`. What your
role may not see is 404, what it may see but not do is 403.

**Lists** come a page at a time: `{next, previous, results}`. Follow the links. `?ordering=created_at` or `-created_at`;
filter by field; an unknown parameter is an error.

**Changing requests** take `Idempotency-Key`: the same key and body give the same answer for seven days (with the header
`Idempotency-Replayed: true`), another body under the key is 409. A request that was refused changed nothing and leaves
its key free. A new token's or webhook's secret is shown once: a repetition has `null` in its place.

**Webhooks.** `POST /webhooks` has your server told of what happens; what each message says is under `webhooks`.

**Long work** is answered 202 with a job; watch `GET /jobs/{id}` or the server-sent events of `GET /jobs/{id}/events`.
Each event holds the whole state, so that a client who comes back with `Last-Event-ID` has missed nothing.

**Labelers** (staff labelers, contractors, vendors) never see a snippet's source, score, target, split or round.

**Numbers.** Times are ISO 8601 in UTC with a Z. Scores are probabilities beside their logit. Rates are
`{estimate, low, high, level, method, failures, n}`.
"""


def describe() -> str:
    """The introduction, the limits, and every error code."""
    limits = {
        "Body": f"{settings.MAX_BODY_BYTES:,} bytes (an import's file: {settings.MAX_UPLOAD_BYTES:,}); more is 413",
        "Requests": f"{settings.API_RATE} for each user; more is 429 with `Retry-After`",
        "Snippets in one request": f"{MAX_SNIPPETS:,}",
        "Labels in one request": f"{MAX_LABELS:,}",
        "Tasks in one lease": f"{MAX_LEASES:,}",
    }
    lines = [INTRODUCTION.strip(), "", "## Limits", "", "| what | how much |", "| --- | --- |"]
    lines += [f"| {name} | {limit} |" for name, limit in limits.items()]
    lines += ["", "## Errors", "", "`code` is one of these:", "", "| code | status | meaning |", "| --- | --- | --- |"]
    lines += [f"| `{code}` | {known.status} | {known.meaning} |" for code, known in ERROR_CODES.items()]
    lines += ["", "and the `code` of each entry of `errors` one of these:", "", "| code | meaning |", "| --- | --- |"]
    lines += [f"| `{code}` | {meaning} |" for code, meaning in FIELD_CODES.items()]
    return "\n".join(lines)
