"""How the rows of an export are read: by key, a chunk at a time, so that memory does not grow with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
from django.db.models import QuerySet

CHUNK = 2000
TEXT, TIME = pa.string(), pa.timestamp("us", tz="UTC")
REAL, WHOLE, COUNT, TRUTH = pa.float64(), pa.int32(), pa.int64(), pa.bool_()


class Reading(NamedTuple):
    """How many rows there are, as far as that is known, and the rows, each with a value for every column."""

    total: int
    rows: Iterator[Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Export:
    """One kind of rows that can be had as a file: its columns, and how it is read through filters of these names."""

    columns: Mapping[str, pa.DataType]
    filters: Sequence[str]
    read: Callable[[Mapping[str, Any]], Reading]
    required: Sequence[str] = ()


class From(NamedTuple):
    """Where a column's value stands, seen from the row; its type; and what is made of it."""

    lookup: str
    type: pa.DataType
    convert: Callable[[Any], Any] | None = None


def key(lookup: str) -> From:
    """A column of keys."""
    return From(lookup, TEXT, str)


def of_table(
    rows: Callable[[], QuerySet[Any]],
    *,
    columns: Mapping[str, From],
    filters: Mapping[str, str],
    required: Sequence[str] = (),
) -> Export:
    """The export of a table's rows in the order of their keys. `filters`: name -> lookup."""

    def read(given: Mapping[str, Any]) -> Reading:
        query = rows().filter(**{filters[name]: value for name, value in given.items()})
        newest = query.order_by("-pk").values_list("pk", flat=True).first()
        if newest is None:
            return Reading(0, iter(()))
        query = query.filter(pk__lte=newest)
        return Reading(query.count(), _values(query, list(columns.values())))

    return Export({name: column.type for name, column in columns.items()}, tuple(filters), read, required)


def in_chunks(
    query: QuerySet[Any], fields: Sequence[str], *, size: int | None = None
) -> Iterator[list[tuple[Any, ...]]]:
    """These fields of each row after its key, in the order of the keys. One query a chunk, none open between them."""
    size = size or CHUNK
    rows = query.order_by("pk").values_list("pk", *fields)
    chunk = list(rows[:size])
    while chunk:
        yield chunk
        chunk = list(rows.filter(pk__gt=chunk[-1][0])[:size]) if len(chunk) == size else []


def _values(query: QuerySet[Any], columns: Sequence[From]) -> Iterator[Sequence[Any]]:
    """The values of each row's columns."""
    for chunk in in_chunks(query, [column.lookup for column in columns]):
        _, *found = zip(*chunk, strict=True)
        yield from zip(*map(_converted, columns, found), strict=True)


def _converted(column: From, values: Sequence[Any]) -> Sequence[Any]:
    convert = column.convert
    return values if convert is None else [None if value is None else convert(value) for value in values]
