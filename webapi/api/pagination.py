"""Lists a page at a time by cursor, in order of time: the cost of a page does not grow with the table."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from rest_framework.exceptions import NotFound
from rest_framework.filters import BaseFilterBackend
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.views import APIView

from webapi.errors import DomainError, FieldError

ORDERINGS = {"created_at": "id", "-created_at": "-id"}
"""Keys are UUIDv7, so that their order is that of time, and every table has an index on them."""


class ByTime(BaseFilterBackend):
    """`?ordering=created_at` (oldest first) or `-created_at` (newest first, the default)."""

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: APIView) -> QuerySet[Any]:
        """Ordered by key."""
        return queryset.order_by(self.get_ordering(request, queryset, view))

    def get_ordering(self, request: Request, queryset: QuerySet[Any], view: APIView) -> str:
        """The order by key that was asked for. Raises DomainError."""
        wanted = request.query_params.get("ordering", "-created_at")
        if wanted not in ORDERINGS:
            message = f"{wanted!r} is not one of {', '.join(ORDERINGS)}"
            raise DomainError("invalid", message, errors=[FieldError(("ordering",), "invalid_choice", message)])
        return ORDERINGS[wanted]

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        """How it stands in the API's description."""
        schema = {"type": "string", "enum": list(ORDERINGS), "default": "-created_at"}
        return [{"name": "ordering", "in": "query", "description": "Order by time of creation.", "schema": schema}]


class ByCursor(CursorPagination):
    """`{next, previous, results}`; follow the links as they are."""

    page_size = 50
    max_page_size = 500
    page_size_query_param = "page_size"
    page_size_query_description = "Results a page, up to 500."
    cursor_query_description = "Part of `next` and `previous`; not to be made by hand."
    ordering = "-id"
    template = None

    def paginate_queryset(self, queryset: Any, request: Request, view: APIView | None = None) -> list[Any] | None:
        """One page. Raises DomainError `invalid_cursor`."""
        try:
            return super().paginate_queryset(queryset, request, view)
        except (NotFound, ValidationError, ValueError) as error:
            raise DomainError("invalid_cursor", "The cursor was not made by this API.") from error

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """How a page stands in the API's description."""
        link = {"type": ["string", "null"], "format": "uri", "example": "https://…?cursor=cD0wMTkz"}
        properties = {"next": link, "previous": link, "results": schema}
        return {"type": "object", "required": list(properties), "properties": properties}
