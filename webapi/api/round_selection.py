"""Why a round chose what it sent out for labels, as the API shows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.http import HttpResponse
from rest_framework import serializers
from scipy.special import expit

from engine.selection import Reason
from webapi.api.csv_answers import csv_answer
from webapi.api.schema import EXAMPLE_ID
from webapi.errors import DomainError
from webapi.models import Pool, Round
from workers.selection_reading import FILTERS, Selection, Slice, labels_of, page_of, selection_of, summary
from workers.selection_table import APART, CHOSEN, LEFT_OUT, SCHEMA


class SelectionQuery(serializers.Serializer[Any]):
    """Which rows, and which page."""

    status = serializers.ChoiceField([CHOSEN, LEFT_OUT, APART], required=False)
    pool = serializers.ChoiceField([Pool.ATTACK.value, Pool.CANDIDATE.value], required=False)
    reason = serializers.ChoiceField([reason.value for reason in Reason], required=False)
    plain = serializers.BooleanField(
        required=False, allow_null=True, default=None, help_text="Whether the highest values alone would have it."
    )
    cursor = serializers.CharField(required=False, max_length=20, help_text="Part of `next` and `previous`.")
    page_size = serializers.IntegerField(default=50, min_value=1, max_value=500)
    format = serializers.ChoiceField(["json", "csv"], default="json")


class NearSerializer(serializers.Serializer[Any]):
    """A snippet that is near: how near (cosine), and its consensus where there is one."""

    snippet = serializers.UUIDField()
    similarity = serializers.FloatField()
    consensus = serializers.CharField(allow_null=True)


class SelectedSerializer(serializers.Serializer[Any]):
    """A snippet that could have been chosen."""

    snippet = serializers.UUIDField()
    pool = serializers.CharField(allow_null=True)
    status = serializers.CharField()
    reason = serializers.CharField(allow_null=True)
    place = serializers.IntegerField(allow_null=True, help_text="In which order it was chosen, from 0.")
    rank = serializers.IntegerField(allow_null=True, help_text="Its place in its pool by falling value, from 0.")
    plain = serializers.BooleanField(allow_null=True, help_text="Whether the highest values alone would have it.")
    logit = serializers.FloatField(allow_null=True)
    score = serializers.FloatField(allow_null=True)
    value = serializers.FloatField(allow_null=True, help_text="What the acquisition function says it is worth.")
    inclusion = serializers.FloatField(
        allow_null=True, help_text="The probability of having come in, given what the strategy took; 1 for these."
    )
    nearest_labelled = NearSerializer(allow_null=True, help_text="Of what was labelled or in flight.")
    nearest_chosen = NearSerializer(allow_null=True, help_text="Of the others that were chosen.")
    x = serializers.FloatField()
    y = serializers.FloatField()


class RoundSelectionSerializer(serializers.Serializer[Any]):
    """A page of a round's selection: the chosen first, then what the highest values alone would have taken."""

    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    total = serializers.IntegerField()
    about = serializers.DictField(help_text="How it came about; counts of reasons; `differs`: how many it left out.")
    results = SelectedSerializer(many=True)


EXAMPLE: dict[str, Any] = {
    "next": None,
    "previous": None,
    "total": 60,
    "about": {
        "acquisition": "near_threshold",
        "query_strategy": "k_center_greedy",
        "chosen": {"strategy": 54},
        "differs": 21,
    },
    "results": [
        {
            "snippet": EXAMPLE_ID,
            "pool": "candidate",
            "status": "chosen",
            "reason": "strategy",
            "place": 0,
            "rank": 3,
            "plain": True,
            "logit": -4.2,
            "score": 0.015,
            "value": -0.31,
            "inclusion": 1.0,
            "nearest_labelled": {"snippet": EXAMPLE_ID, "similarity": 0.61, "consensus": "No"},
            "nearest_chosen": {"snippet": EXAMPLE_ID, "similarity": 0.58, "consensus": None},
            "x": 0.12,
            "y": -0.4,
        }
    ],
}


def found_selection(round_: Round) -> Selection:
    """The round's selection. Raises DomainError `selection_not_ready`."""
    selection = selection_of(round_)
    if selection is None:
        raise DomainError("selection_not_ready", f"{round_.name} has not selected yet.")
    return selection


def selection_page(selection: Selection, query: dict[str, Any]) -> Slice:
    """The page that the query asks for. Raises DomainError `invalid_cursor`."""
    cursor = query.get("cursor", "0")
    if not (cursor.isascii() and cursor.isdigit()):  # "²" is a digit, but no number
        raise DomainError("invalid_cursor", "The cursor was not made by this API.")
    wanted = {name: query[name] for name in FILTERS if query.get(name) is not None}
    return page_of(selection, wanted, start=int(cursor), size=query["page_size"])


def shown(page: Slice) -> list[dict[str, Any]]:
    """The page's rows as the API gives them."""
    labels = labels_of(page.rows)
    return [
        {
            **row,
            "score": None if row["logit"] is None else float(expit(row["logit"])),
            "nearest_labelled": _near(row, "nearest_labelled", labels),
            "nearest_chosen": _near(row, "nearest_chosen", labels),
        }
        for row in page.rows
    ]


def _near(row: dict[str, Any], name: str, labels: dict[str, str]) -> dict[str, Any] | None:
    key = row[name]
    return (
        None if key is None else {"snippet": key, "similarity": row[f"{name}_similarity"], "consensus": labels.get(key)}
    )


def selection_json(selection: Selection, page: Slice, following: str | None, before: str | None) -> dict[str, Any]:
    """The page as JSON."""
    return {
        "next": following,
        "previous": before,
        "total": page.total,
        "about": summary(selection),
        "results": shown(page),
    }


def selection_csv(page: Slice) -> HttpResponse:
    """A line for each row of the page."""
    return csv_answer("selection", tuple(SCHEMA.names), _lines(page.rows))


def _lines(rows: Sequence[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    for row in rows:
        yield tuple("" if row[name] is None else str(row[name]) for name in SCHEMA.names)
