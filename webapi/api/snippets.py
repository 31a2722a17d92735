"""Snippets: prompt and completion, where they come from and what was said of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import django_filters as filters
from django.db.models import Exists, OuterRef, QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from webapi.api.base import Resource, StrictSerializer
from webapi.api.fields import PolicyField
from webapi.api.filters import ByPeriod
from webapi.api.outcomes import Done, EachItem, ErrorSerializer, answer_each, reason_errors
from webapi.api.schema import EXAMPLE_ID, EXAMPLE_TIME, example, one_of
from webapi.api.snippet_lineage import LineageSerializer, lineage
from webapi.errors import DomainError
from webapi.models import Policy, Pool, RoundSnippet, Snippet, Source
from webapi.selectors.snippets import snippets_listed
from webapi.services.leases import annotator_for
from webapi.services.snippets import MAX_SNIPPETS, SnippetOutcome, snippets_create
from workers.snippet_rows import SnippetInput


class SnippetSerializer(serializers.ModelSerializer[Snippet]):
    """A snippet in a list."""

    consensus = serializers.CharField(source="consensus.choice", default=None, read_only=True, allow_null=True)
    story = serializers.CharField(source="story.name", default=None, read_only=True, allow_null=True)

    class Meta:
        model = Snippet
        fields = [
            "id",
            "policy",
            "prompt",
            "completion",
            "source",
            "split",
            "parent",
            "story",
            "author",
            "external_id",
            "content_hash",
            "root_hash",
            "consensus",
            "created_at",
        ]
        read_only_fields = fields


class SnippetDetailSerializer(SnippetSerializer):
    """A snippet with its lineage, labels, scores and places in rounds."""

    details = serializers.DictField(read_only=True)
    lineage = LineageSerializer(read_only=True)

    class Meta(SnippetSerializer.Meta):
        fields = [*SnippetSerializer.Meta.fields, "details", "lineage"]
        read_only_fields = fields


class SnippetFields(StrictSerializer):
    """A snippet's text, and where it comes from."""

    prompt = serializers.CharField(allow_blank=True, default="", trim_whitespace=False)
    completion = serializers.CharField(allow_blank=True, trim_whitespace=False)
    source = serializers.ChoiceField(Source.choices, default=Source.MANUAL)  # type: ignore[assignment]
    external_id = serializers.CharField(max_length=200, allow_blank=True, default="")
    parent = serializers.UUIDField(  # type: ignore[assignment]
        allow_null=True, default=None, help_text="The snippet that it was made from."
    )


class OneSnippet(SnippetFields):
    """A snippet to add."""

    policy = PolicyField()


class ManySnippets(StrictSerializer):
    """Snippets to add under one policy; each is answered for itself."""

    policy = PolicyField()
    snippets = EachItem(SnippetFields, max_length=MAX_SNIPPETS)


class SnippetOutcomeSerializer(serializers.Serializer[Any]):
    """What became of one snippet."""

    index = serializers.IntegerField()
    outcome = serializers.ChoiceField(["created", "duplicate", "refused", "invalid"])
    id = serializers.UUIDField(allow_null=True)
    errors = ErrorSerializer(many=True)  # type: ignore[assignment]


class SnippetOutcomesSerializer(serializers.Serializer[Any]):
    """What became of each snippet, in the order of the request."""

    counts = serializers.DictField(child=serializers.IntegerField())
    results = SnippetOutcomeSerializer(many=True)


class SnippetFilter(ByPeriod):
    """Filters of the list."""

    consensus = filters.CharFilter(field_name="consensus__choice", label="The consensus, such as `Yes`.")
    round = filters.UUIDFilter(method="_in_round", label="In this round.")
    pool = filters.ChoiceFilter(choices=Pool.choices, method="_in_round", label="With this use in a round.")
    selected = filters.BooleanFilter(method="_in_round", label="Selected for labels in a round.")

    class Meta:
        model = Snippet
        fields = ["policy", "source", "split", "parent", "author", "external_id", "content_hash", "root_hash"]

    def _in_round(self, rows: QuerySet[Snippet], name: str, value: Any) -> QuerySet[Snippet]:
        """All that is asked of a place in a round is asked of the same place."""
        asked = {field: self.form.cleaned_data.get(field) for field in ("round", "pool", "selected")}
        wanted = {field: given for field, given in asked.items() if given not in (None, "")}
        return rows.filter(Exists(RoundSnippet.objects.filter(snippet=OuterRef("pk"), **wanted)))


TEXT = {
    "prompt": "The rain fell. Ada ran to the gate. It was locked.",
    "completion": "She climbed over it and went home to her tea.",
}
ROW: dict[str, Any] = {
    "id": EXAMPLE_ID,
    "policy": EXAMPLE_ID,
    **TEXT,
    "source": "manual",
    "split": "train",
    "parent": None,
    "story": None,
    "author": None,
    "external_id": "",
    "content_hash": "9f2c…",
    "root_hash": "9f2c…",
    "consensus": "No",
    "created_at": EXAMPLE_TIME,
}
ERROR = {"loc": ["prompt"], "code": "prompt_sentences", "message": "prompt has 2 full stops, exactly 3 are wanted"}
OUTCOMES = {
    "counts": {"created": 1, "refused": 1},
    "results": [
        {"index": 0, "outcome": "created", "id": EXAMPLE_ID, "errors": []},
        {"index": 1, "outcome": "refused", "id": None, "errors": [ERROR]},
    ],
}


@extend_schema_view(list=extend_schema(examples=example(ROW, status=200)))
class Snippets(Resource[Snippet]):
    """Snippets."""

    resource = "snippets"
    queryset = snippets_listed()
    filterset_class = SnippetFilter
    serializer_class = SnippetSerializer

    def list(self, request: Request) -> Response:
        """Snippets, a page at a time."""
        return self.listed(self.get_queryset())

    @extend_schema(
        responses=SnippetDetailSerializer,
        examples=example(
            {**ROW, "details": {}, "lineage": {"ancestors": [], "children": [], "labels": []}}, status=200
        ),
    )
    def retrieve(self, request: Request, pk: str) -> Response:
        """One snippet with its lineage, labels, scores and places in rounds."""
        snippet = self.get_object()
        data = {**SnippetSerializer(snippet).data, "details": snippet.details, "lineage": lineage(snippet)}
        return Response(data)

    @extend_schema(
        request=one_of("OneOrManySnippets", OneSnippet, ManySnippets),
        responses={201: SnippetSerializer, 200: SnippetOutcomesSerializer},
        examples=[
            *example({"policy": "injury", **TEXT}, name="One"),
            *example({"policy": "injury", "snippets": [TEXT, {**TEXT, "prompt": "The rain fell."}]}, name="Many"),
            *example(ROW, name="One", status=201),
            *example(OUTCOMES, name="Many", status=200),
        ],
    )
    def create(self, request: Request) -> Response:
        """Adds a snippet, or up to 1,000 with an answer for each. What is there before stays and is a duplicate.

        A snippet of source `manual` is yours: you will never be given it to judge.
        """
        if isinstance(request.data, dict) and "snippets" in request.data:
            many = self.input(ManySnippets)
            return Response(answer_each(many["snippets"], SnippetFields, partial(self._write_each, many["policy"])))
        data = self.input(OneSnippet)
        (done,) = self._write(data.pop("policy"), [data])
        if done.snippet is None:
            errors = reason_errors(done.reasons)
            raise DomainError("snippet_refused", "; ".join(error.message for error in errors), errors=errors)
        status = 201 if done.outcome == "created" else 200
        return Response(SnippetSerializer(done.snippet).data, status=status)

    def _write_each(self, policy: Policy, items: Sequence[dict[str, Any]]) -> Iterator[Done]:
        for done in self._write(policy, items):
            yield Done(done.outcome, done.snippet and done.snippet.pk, reason_errors(done.reasons))

    def _write(self, policy: Policy, items: Sequence[dict[str, Any]]) -> Sequence[SnippetOutcome]:
        manual = any(item["source"] == Source.MANUAL for item in items)
        author = annotator_for(actor=self.actor) if manual else None
        inputs = [SnippetInput.model_validate(item) for item in items]
        return snippets_create(policy=policy, inputs=inputs, author=author)
