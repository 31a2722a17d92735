"""What can be had as a file: kinds of rows, their columns and their filters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django.db.models import Q

from engine.errors import BadInput, UnknownName
from webapi.models import Consensus, ConsensusChange, Label, Preference, Snippet
from workers.export_figures import AGREEMENT, ANNOTATORS
from workers.export_reading import REAL, TEXT, TIME, TRUTH, WHOLE, Export, From, key, of_table
from workers.export_scores import SCORES


def _as_json(value: Any) -> str:
    """Lists go into one cell as JSON."""
    return json.dumps(value)


_NO_GOLD = Q(task=None) | Q(task__gold=None)
"""Labels that tell of a snippet, not of the annotator."""
_SNIPPET = {
    "prompt": From("snippet__prompt", TEXT),
    "completion": From("snippet__completion", TEXT),
    "content_hash": From("snippet__content_hash", TEXT),
}
_ANNOTATOR = {
    "annotator": key("annotator_id"),
    "annotator_name": From("annotator__name", TEXT),
    "staff": From("annotator__staff", TRUTH),
    "simulated": From("annotator__simulated", TRUTH),
}
_LABEL = {"id": key("id"), "snippet": key("snippet_id"), **_SNIPPET, **_ANNOTATOR}
_ANSWER = {
    "revision": From("revision", WHOLE),
    "seconds": From("seconds", REAL),
    "note": From("note", TEXT),
    "counted": From("counted", TRUTH),
    "flagged": From("flagged", TRUTH),
}
_CAME = {
    "batch": key("task__batch_id"),
    "external_id": From("external_id", TEXT),
    "created_at": From("created_at", TIME),
}
_ANSWER_FILTERS = {
    "policy": "snippet__policy",
    "batch": "task__batch",
    "round": "task__batch__round",
    "choice": "choice",
    "annotator": "annotator",
    "since": "created_at__gte",
    "counted": "counted",
    "flagged": "flagged",
}
EXPORTS: Mapping[str, Export] = {
    "snippets": of_table(
        Snippet.objects.all,
        columns={
            "id": key("id"),
            "policy": From("policy__name", TEXT),
            "prompt": From("prompt", TEXT),
            "completion": From("completion", TEXT),
            "content_hash": From("content_hash", TEXT),
            "source": From("source", TEXT),
            "split": From("split", TEXT),
            "parent": key("parent_id"),
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
    "labels": of_table(
        lambda: Label.objects.filter(_NO_GOLD),
        columns={
            **_LABEL,
            "choice": From("choice", TEXT),
            **_ANSWER,
            "withdrawn_at": From("withdrawn_at", TIME),
            **_CAME,
        },
        filters=_ANSWER_FILTERS,
    ),
    "gold_answers": of_table(
        lambda: Label.objects.exclude(_NO_GOLD),
        columns={
            **_LABEL,
            "choice": From("choice", TEXT),
            "right_choice": From("task__gold__choice", TEXT),
            **_ANSWER,
            "withdrawn_at": From("withdrawn_at", TIME),
            **_CAME,
        },
        filters=_ANSWER_FILTERS,
    ),
    "preferences": of_table(
        Preference.objects.all,
        columns={
            "id": key("id"),
            "first": key("snippet_id"),
            "second": key("rival_id"),
            "prompt": From("snippet__prompt", TEXT),
            "first_completion": From("snippet__completion", TEXT),
            "second_completion": From("rival__completion", TEXT),
            **_ANNOTATOR,
            "choice": From("choice", TEXT),
            "second_on_the_left": From("flipped", TRUTH),
            **_ANSWER,
            **_CAME,
        },
        filters=_ANSWER_FILTERS,
    ),
    "consensus": of_table(
        Consensus.objects.all,
        columns={
            "snippet": key("snippet_id"),
            **_SNIPPET,
            "choice": From("choice", TEXT),
            "rule": From("rule", TEXT),
            "posterior": From("posterior", TEXT, _as_json),
            "labels": From("labels", WHOLE),
            "updated_at": From("updated_at", TIME),
        },
        filters={"policy": "snippet__policy", "round": "snippet__memberships__round", "choice": "choice"},
    ),
    "consensus_history": of_table(
        ConsensusChange.objects.all,
        columns={
            "snippet": key("snippet_id"),
            "content_hash": From("snippet__content_hash", TEXT),
            "choice": From("choice", TEXT),
            "rule": From("rule", TEXT),
            "posterior": From("posterior", TEXT, _as_json),
            "labels": From("labels", TEXT, _as_json),
            "created_at": From("created_at", TIME),
        },
        filters={"policy": "snippet__policy", "since": "created_at__gte"},
    ),
    "scores": SCORES,
    "agreement": AGREEMENT,
    "annotators": ANNOTATORS,
}
"""What can be exported."""


def export_of(what: str, filters: Mapping[str, Any]) -> Export:
    """The kind of rows, if it can be filtered so. Raises UnknownName or BadInput naming the filter."""
    if what not in EXPORTS:
        raise UnknownName("export", what, EXPORTS)
    export = EXPORTS[what]
    for name in filters.keys() - set(export.filters):
        raise UnknownName("filter", name, export.filters)
    for name in set(export.required) - filters.keys():
        raise BadInput("is required", where=f"filters.{name}")
    return export
