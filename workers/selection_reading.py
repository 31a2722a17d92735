"""A round's selection, read from its file: filtered, a page at a time, with what the database knows of its snippets."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from webapi.models import Consensus, Round, Snippet
from workers.artifacts import at_hand
from workers.selection_table import APART, CHOSEN, LEFT_OUT, selection_path

FILTERS = ("status", "pool", "reason", "plain")


class Selection(NamedTuple):
    """The table, and how it came about."""

    table: pa.Table
    about: dict[str, Any]

    def number(self, **wanted: object) -> int:
        """Rows with these values."""
        return int(self.where(wanted).num_rows)

    def where(self, wanted: Mapping[str, object]) -> pa.Table:
        """Rows with these values, in order; those of the map alone only where they are asked for."""
        mask = pc.not_equal(self.table["status"], APART) if "status" not in wanted else None
        for name, value in wanted.items():
            fits = pc.equal(self.table[name], pa.scalar(value))
            mask = fits if mask is None else pc.and_kleene(mask, fits)
        return self.table if mask is None else self.table.filter(mask)


class Slice(NamedTuple):
    """One page of rows, as plain data; the places where the next and the one before begin."""

    rows: list[dict[str, Any]]
    total: int
    next: int | None
    previous: int | None


def selection_of(round_: Round) -> Selection | None:
    """The round's selection; None before its `select` stage has run, or where an earlier version chose."""
    path = at_hand(selection_path(round_))
    return _read(path, path.stat().st_mtime_ns) if path.is_file() else None


@lru_cache(maxsize=8)
def _read(path: Path, _changed: int) -> Selection:
    table = pq.read_table(path)
    metadata = table.schema.metadata or {}
    return Selection(table, json.loads(metadata.get(b"about", b"{}")))


def page_of(selection: Selection, wanted: Mapping[str, object], *, start: int = 0, size: int = 50) -> Slice:
    """The rows from place `start` on among those with the values `wanted`. O(rows of the table), a query for labels."""
    found = selection.where(wanted)
    rows = found.slice(start, size).to_pylist()
    following = start + size if start + size < found.num_rows else None
    return Slice(rows, found.num_rows, following, max(start - size, 0) if start else None)


def labels_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The consensus of the snippets that these rows name, where there is one, by key. One query."""
    keys = {row[name] for row in rows for name in ("snippet", "nearest_labelled", "nearest_chosen") if row[name]}
    found = Consensus.objects.filter(snippet__in=[uuid.UUID(key) for key in keys])
    return {str(key): choice for key, choice in found.values_list("snippet", "choice")}


def texts_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, Snippet]:
    """The snippets of these rows, by key. One query."""
    found = Snippet.objects.in_bulk([uuid.UUID(row["snippet"]) for row in rows])
    return {str(key): row for key, row in found.items()}


def summary(selection: Selection) -> dict[str, Any]:
    """How many were chosen and left out, by reason, and how the table came about."""
    rows = selection.table.group_by(["status", "reason"]).aggregate([([], "count_all")]).to_pylist()
    counts: dict[str, dict[str, int]] = {CHOSEN: {}, LEFT_OUT: {}}
    for row in rows:
        counts.get(row["status"], {})[row["reason"]] = row["count_all"]
    return {**selection.about, **counts, "differs": selection.number(status=LEFT_OUT, plain=True)}
