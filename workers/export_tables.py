"""What can be had as a file: kinds of rows, their columns and their filters."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import pyarrow as pa
from django.db.models import Q, QuerySet

from engine.errors import BadInput, UnknownName
from webapi.models import Consensus, ConsensusChange, Label, Preference, Score, Snippet

CHUNK = 1000
TEXT, TIME = pa.string(), pa.timestamp("us", tz="UTC")
REAL, WHOLE, TRUTH = pa.float64(), pa.int32(), pa.bool_()


class From(NamedTuple):
    """Where a column's value stands, seen from the row; its type; and what is made of it."""

    lookup: str
    type: pa.DataType
    convert: Callable[[Any], Any] | None = None


def _as_json(value: Any) -> str:
    """Lists go into one cell as JSON."""
    return json.dumps(value)


def _sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1 + math.exp(logit))


class Export(NamedTuple):
    """One kind of rows that can be had as a file: where they come from, their columns, and how they may be filtered."""

    rows: Callable[[], QuerySet[Any]]
    columns: Mapping[str, From]
    filters: Mapping[str, str]
    """Filter -> lookup."""
    required: frozenset[str] = frozenset()


_SNIPPET = {
    "prompt": From("snippet__prompt", TEXT),
    "completion": From("snippet__completion", TEXT),
    "content_hash": From("snippet__content_hash", TEXT),
}
_ANNOTATOR = {
    "annotator": From("annotator_id", TEXT),
    "annotator_name": From("annotator__name", TEXT),
    "staff": From("annotator__staff", TRUTH),
    "simulated": From("annotator__simulated", TRUTH),
}
_ANSWER = {
    "revision": From("revision", WHOLE),
    "seconds": From("seconds", REAL),
    "note": From("note", TEXT),
    "counted": From("counted", TRUTH),
    "flagged": From("flagged", TRUTH),
}
_NO_GOLD = Q(task=None) | Q(task__gold=None)
"""Labels that tell of a snippet, not of the annotator."""
EXPORTS: Mapping[str, Export] = {
    "snippets": Export(
        rows=Snippet.objects.all,
        columns={
            "id": From("id", TEXT),
            "policy": From("policy__name", TEXT),
            "prompt": From("prompt", TEXT),
            "completion": From("completion", TEXT),
            "content_hash": From("content_hash", TEXT),
            "source": From("source", TEXT),
            "split": From("split", TEXT),
            "parent": From("parent_id", TEXT),
            "root_hash": From("root_hash", TEXT),
            "story": From("story__name", TEXT),
            "external_id": From("external_id", TEXT),
            "consensus": From("consensus__choice", TEXT),
            "created_at": From("created_at", TIME),
        },
        filters={
            "policy": "policy",
            "source": "source",
            "split": "split",
            "round": "memberships__round",
            "consensus": "consensus__choice",
        },
    ),
    "labels": Export(
        rows=lambda: Label.objects.filter(_NO_GOLD),
        columns={
            "id": From("id", TEXT),
            "snippet": From("snippet_id", TEXT),
            **_SNIPPET,
            **_ANNOTATOR,
            "choice": From("choice", TEXT),
            **_ANSWER,
            "withdrawn_at": From("withdrawn_at", TIME),
            "batch": From("task__batch_id", TEXT),
            "external_id": From("external_id", TEXT),
            "created_at": From("created_at", TIME),
        },
        filters={
            "policy": "snippet__policy",
            "batch": "task__batch",
            "round": "task__batch__round",
            "choice": "choice",
            "annotator": "annotator",
            "since": "created_at__gte",
            "counted": "counted",
            "flagged": "flagged",
        },
    ),
    "gold_answers": Export(
        rows=lambda: Label.objects.exclude(_NO_GOLD),
        columns={
            "id": From("id", TEXT),
            "snippet": From("snippet_id", TEXT),
            **_SNIPPET,
            **_ANNOTATOR,
            "choice": From("choice", TEXT),
            "right_choice": From("task__gold__choice", TEXT),
            **_ANSWER,
            "created_at": From("created_at", TIME),
        },
        filters={"policy": "snippet__policy", "annotator": "annotator", "since": "created_at__gte"},
    ),
    "preferences": Export(
        rows=Preference.objects.all,
        columns={
            "id": From("id", TEXT),
            "first": From("snippet_id", TEXT),
            "second": From("rival_id", TEXT),
            "prompt": From("snippet__prompt", TEXT),
            "first_completion": From("snippet__completion", TEXT),
            "second_completion": From("rival__completion", TEXT),
            **_ANNOTATOR,
            "choice": From("choice", TEXT),
            "second_on_the_left": From("flipped", TRUTH),
            **_ANSWER,
            "batch": From("task__batch_id", TEXT),
            "external_id": From("external_id", TEXT),
            "created_at": From("created_at", TIME),
        },
        filters={
            "policy": "snippet__policy",
            "batch": "task__batch",
            "annotator": "annotator",
            "since": "created_at__gte",
            "counted": "counted",
        },
    ),
    "consensus": Export(
        rows=Consensus.objects.all,
        columns={
            "snippet": From("snippet_id", TEXT),
            **_SNIPPET,
            "choice": From("choice", TEXT),
            "rule": From("rule", TEXT),
            "posterior": From("posterior", TEXT, _as_json),
            "labels": From("labels", WHOLE),
            "updated_at": From("updated_at", TIME),
        },
        filters={"policy": "snippet__policy", "round": "snippet__memberships__round", "choice": "choice"},
    ),
    "consensus_history": Export(
        rows=ConsensusChange.objects.all,
        columns={
            "snippet": From("snippet_id", TEXT),
            "content_hash": From("snippet__content_hash", TEXT),
            "choice": From("choice", TEXT),
            "rule": From("rule", TEXT),
            "posterior": From("posterior", TEXT, _as_json),
            "labels": From("labels", TEXT, _as_json),
            "created_at": From("created_at", TIME),
        },
        filters={"policy": "snippet__policy", "since": "created_at__gte"},
    ),
    "scores": Export(
        rows=Score.objects.all,
        columns={
            "snippet": From("snippet_id", TEXT),
            **_SNIPPET,
            "classifier": From("classifier_id", TEXT),
            "logit": From("logit", REAL),
            "score": From("logit", REAL, _sigmoid),
        },
        filters={"classifier": "classifier", "round": "snippet__memberships__round"},
        required=frozenset({"classifier"}),
    ),
}
"""What can be exported."""


def export_query(what: str, filters: Mapping[str, Any]) -> QuerySet[Any]:
    """The rows to export, in order of their keys. Raises UnknownName or BadInput naming the filter."""
    if what not in EXPORTS:
        raise UnknownName("export", what, EXPORTS)
    export = EXPORTS[what]
    for name in filters.keys() - export.filters.keys():
        raise UnknownName("filter", name, export.filters)
    for name in export.required - filters.keys():
        raise BadInput("is required", where=f"filters.{name}")
    return export.rows().filter(**{export.filters[name]: value for name, value in filters.items()}).order_by("pk")


def export_values(export: Export, query: QuerySet[Any]) -> Iterator[list[Any]]:
    """The values of each row's columns, keys as text, holding one chunk at a time."""
    columns = list(export.columns.values())
    for row in query.values_list(*(column.lookup for column in columns)).iterator(chunk_size=CHUNK):
        yield [_value(column, value) for column, value in zip(columns, row, strict=True)]


def _value(column: From, value: Any) -> Any:
    if isinstance(value, uuid.UUID):
        return str(value)
    return column.convert(value) if column.convert and value is not None else value
