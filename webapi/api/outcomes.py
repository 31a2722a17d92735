"""Batches answered item by item."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from rest_framework import serializers

from engine.snippets import Refusal
from webapi.api.problems import field_errors
from webapi.errors import FieldError

FIELD_OF = {
    "prompt_sentences": "prompt",
    "prompt_tail": "prompt",
    "does_not_exist": "parent",
    "empty_completion": "completion",
    "short_completion": "completion",
    "completion_stop": "completion",
}
"""Which field a snippet rule is about; the others are about both."""


class ErrorSerializer(serializers.Serializer[Any]):
    """What is wrong with one field of an item."""

    loc = serializers.ListField(child=serializers.CharField())
    code = serializers.CharField()
    message = serializers.CharField()


def reason_errors(reasons: Iterable[Refusal]) -> list[FieldError]:
    """A snippet's refusals as errors of its fields."""
    return [FieldError((FIELD_OF[r.code],) if r.code in FIELD_OF else (), r.code, r.detail) for r in reasons]


def item_errors(item: serializers.BaseSerializer[Any]) -> list[dict[str, object]]:
    """What is wrong with an item's fields."""
    return [error.as_dict() for error in field_errors(item.errors)]


def answer_many(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The answer to a batch: how often each outcome came, and each item's own."""
    return {"counts": dict(Counter(result["outcome"] for result in results)), "results": list(results)}
