"""Cursor paging of lists in order of their keys, newest first: the cost of a page does not grow with the table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, NamedTuple, TypeVar
from uuid import UUID

from django.db.models import Model, QuerySet

RowType = TypeVar("RowType", bound=Model)

PAGE_SIZE = 50


class Pager(NamedTuple):
    """Keys to go on from; None at an end."""

    newer: str | None
    older: str | None


class Slice(NamedTuple, Generic[RowType]):
    """One page of rows."""

    rows: list[RowType]
    pager: Pager


def page_of(rows: QuerySet[RowType], query: Mapping[str, str], *, size: int = PAGE_SIZE) -> Slice[RowType]:
    """The rows after the key `after` of `query` (older), or before `before` (newer), or the newest. One query."""
    after, before = key_in(query, "after"), key_in(query, "before")
    if before is not None:
        found = list(rows.filter(pk__gt=before).order_by("pk")[: size + 1])
        more, found = len(found) > size, found[:size][::-1]
        return Slice(found, _pager(found, newer=more, older=bool(found)))
    chosen = rows if after is None else rows.filter(pk__lt=after)
    found = list(chosen.order_by("-pk")[: size + 1])
    more, found = len(found) > size, found[:size]
    return Slice(found, _pager(found, newer=after is not None, older=more))


def key_in(query: Mapping[str, str], field: str) -> UUID | None:
    """The key that a query field holds; None if it is missing or no key."""
    try:
        return UUID(query.get(field, ""))
    except ValueError:
        return None


def _pager(found: list[RowType], *, newer: bool, older: bool) -> Pager:
    return Pager(
        str(found[0].pk) if found and newer else None,
        str(found[-1].pk) if found and older else None,
    )
