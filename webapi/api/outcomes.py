"""Batches answered item by item."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

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


class EachItem(serializers.ListField):
    """Items that are each checked for themselves: one that is wrong does not refuse the others."""

    def __init__(self, item: type[serializers.Serializer[Any]], *, max_length: int) -> None:
        super().__init__(min_length=1, max_length=max_length)
        self.item = item
        """What each is to be."""


class Done(NamedTuple):
    """What became of an item, by the key of its row."""

    outcome: str
    key: object = None
    errors: Iterable[FieldError] = ()


def reason_errors(reasons: Iterable[Refusal]) -> list[FieldError]:
    """A snippet's refusals as errors of its fields."""
    return [FieldError((FIELD_OF[r.code],) if r.code in FIELD_OF else (), r.code, r.detail) for r in reasons]


def item_errors(item: serializers.BaseSerializer[Any]) -> list[dict[str, object]]:
    """What is wrong with an item's fields."""
    return [error.as_dict() for error in field_errors(item.errors)]


def answer_each(
    given: Iterable[Any],
    item: type[serializers.Serializer[Any]],
    write: Callable[[list[dict[str, Any]]], Iterable[Done]],
) -> dict[str, Any]:
    """The answer to a batch of which `write` takes the valid items, all at once, and says what became of each."""
    items = [item(data=one) for one in given]
    written = iter(write([one.validated_data for one in items if one.is_valid()]))
    results = []
    for index, one in enumerate(items):
        done = Done("invalid", errors=field_errors(one.errors)) if one.errors else next(written)
        key = None if done.key is None else str(done.key)
        errors = [error.as_dict() for error in done.errors]
        results.append({"index": index, "outcome": done.outcome, "id": key, "errors": errors})
    return answer_many(results)


def answer_many(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The answer to a batch: how often each outcome came, and each item's own."""
    return {"counts": dict(Counter(result["outcome"] for result in results)), "results": list(results)}
