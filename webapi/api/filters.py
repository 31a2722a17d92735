"""Lists filtered by field. A parameter that nobody knows is refused: a misspelt filter must not read as no filter."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import django_filters as filters
from django.db.models import QuerySet
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework.request import Request
from rest_framework.views import APIView

from webapi.errors import DomainError, FieldError
from webapi.models.base import first_id_at

PAGING = {"cursor", "page_size", "ordering"}


class Filters(filters.FilterSet):  # type: ignore[misc]
    """Base of the lists' filters."""


class ByField(DjangoFilterBackend):  # type: ignore[misc]
    """The view's `filterset_class`, strictly."""

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: APIView) -> QuerySet[Any]:
        """Those rows that fit. Raises DomainError for unknown parameters, ValidationError for wrong values."""
        filterset = self.get_filterset_class(view, queryset)
        known = PAGING | set(filterset.base_filters if filterset else ())
        unknown = [name for name in request.query_params if name not in known]
        if unknown:
            message = f"known are {', '.join(sorted(known))}"
            errors = [FieldError((name,), "unknown_field", message) for name in unknown]
            raise DomainError("invalid", f"Unknown parameter {', '.join(unknown)}; {message}.", errors=errors)
        filtered: QuerySet[Any] = super().filter_queryset(request, queryset, view)
        return filtered


class ByPeriod(Filters):
    """`since` (inclusive) and `until` (exclusive) of the time of creation, by the index on the key."""

    since = filters.IsoDateTimeFilter(method="created_since", label="Created at or after this time (ISO 8601).")
    until = filters.IsoDateTimeFilter(method="created_until", label="Created before this time (ISO 8601).")

    def created_since(self, rows: QuerySet[Any], name: str, when: datetime) -> QuerySet[Any]:
        """Rows whose key is not before the first of that millisecond."""
        return rows.filter(pk__gte=first_id_at(when))

    def created_until(self, rows: QuerySet[Any], name: str, when: datetime) -> QuerySet[Any]:
        """Rows whose key is before the first of that millisecond."""
        return rows.filter(pk__lt=first_id_at(when))
