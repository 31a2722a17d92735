"""Figures as CSV files, beside their JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.http import HttpResponse

from labeling_adapters.csv_tables import written_table

RATE_CELLS = ("estimate", "low", "high", "level", "method", "failures", "n")


def rate_cells(value: Mapping[str, Any]) -> tuple[str, ...]:
    """A rate or statistic as the cells of `RATE_CELLS`; empty where it has nothing to say."""
    return tuple("" if value.get(name) is None else str(value[name]) for name in RATE_CELLS)


def csv_answer(name: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> HttpResponse:
    """The table, to be kept as `name`.csv."""
    answer = HttpResponse(written_table(header, rows), content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    return answer
