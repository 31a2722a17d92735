"""Classifiers: looked at, asked for scores, promoted."""

from __future__ import annotations

from typing import Any

import django_filters as filters
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from engine.snippets import Snippet as SnippetText
from webapi.api.base import Resource, StrictSerializer
from webapi.api.filters import Filters
from webapi.api.schema import EXAMPLE_ID, EXAMPLE_TIME, example
from webapi.api.snapshots import BRIEF, SnapshotSerializer
from webapi.models import Classifier
from webapi.services.classifiers import MAX_SCORED, classifier_promote, classifier_score


class ClassifierSerializer(serializers.ModelSerializer[Classifier]):
    """One trained version. `threshold`: the score at or above which a completion is rejected."""

    snapshot = SnapshotSerializer(read_only=True, allow_null=True)
    recipe = serializers.DictField(read_only=True)
    metrics = serializers.DictField(read_only=True)

    class Meta:
        model = Classifier
        fields = [
            "id",
            "name",
            "policy",
            "round",
            "condition",
            "parent",
            "snapshot",
            "encoder",
            "recipe",
            "precision",
            "threshold",
            "metrics",
            "promoted_at",
            "created_at",
        ]
        read_only_fields = fields


class TextSerializer(StrictSerializer):
    """A prompt and its completion."""

    prompt = serializers.CharField(allow_blank=True, default="", max_length=100_000, trim_whitespace=False)
    completion = serializers.CharField(max_length=100_000, trim_whitespace=False)


class ScoreInput(StrictSerializer):
    """Snippets to score."""

    snippets = TextSerializer(many=True, min_length=1, max_length=MAX_SCORED)  # type: ignore[call-arg]


class ScoredSerializer(serializers.Serializer[Any]):
    """A score as a probability beside its logit. `rejected` is null while there is no threshold."""

    score = serializers.FloatField()
    logit = serializers.FloatField()
    rejected = serializers.BooleanField(allow_null=True)


class ScoresSerializer(serializers.Serializer[Any]):
    """Scores, in the order of the request."""

    classifier = serializers.UUIDField()
    threshold = serializers.FloatField(allow_null=True)
    results = ScoredSerializer(many=True)


class ClassifierFilter(Filters):
    """Filters of the list."""

    promoted = filters.BooleanFilter(method="_promoted", label="Ever promoted, or never.")

    class Meta:
        model = Classifier
        fields = ["policy", "round", "condition", "encoder"]

    def _promoted(self, rows: QuerySet[Classifier], name: str, value: bool) -> QuerySet[Classifier]:
        return rows.filter(promoted_at__isnull=not value)


ROW: dict[str, Any] = {
    "id": EXAMPLE_ID,
    "name": "Round 4, retrained",
    "policy": EXAMPLE_ID,
    "round": EXAMPLE_ID,
    "condition": "paraphrases",
    "parent": EXAMPLE_ID,
    "snapshot": BRIEF,
    "encoder": "minilm",
    "recipe": {"epochs": 3},
    "precision": "int8",
    "threshold": 0.31,
    "metrics": {},
    "promoted_at": None,
    "created_at": EXAMPLE_TIME,
}
SCORES: dict[str, Any] = {
    "classifier": EXAMPLE_ID,
    "threshold": 0.31,
    "results": [{"score": 0.04, "logit": -3.18, "rejected": False}],
}
ASKED = {
    "snippets": [
        {
            "prompt": "The rain fell. Ada ran to the gate. It was locked.",
            "completion": "She climbed over it and went home to her tea.",
        }
    ]
}


@extend_schema_view(
    list=extend_schema(examples=example(ROW, status=200)), retrieve=extend_schema(examples=example(ROW, status=200))
)
class Classifiers(Resource[Classifier]):
    """Classifiers."""

    resource = "classifiers"
    queryset = Classifier.objects.select_related("snapshot__artifact")
    filterset_class = ClassifierFilter
    serializer_class = ClassifierSerializer
    unchanging = frozenset({"score"})

    def list(self, request: Request) -> Response:
        """Classifiers, a page at a time."""
        return self.listed(self.get_queryset())

    def retrieve(self, request: Request, pk: str) -> Response:
        """One classifier."""
        return Response(self.get_serializer(self.get_object()).data)

    @extend_schema(
        request=ScoreInput, responses=ScoresSerializer, examples=[*example(ASKED), *example(SCORES, status=200)]
    )
    @action(detail=True, methods=["post"])
    def score(self, request: Request, pk: str) -> Response:
        """Scores up to 256 snippets now; nothing is kept. For more, import them and let a round score them."""
        classifier = self.get_object()
        texts = [SnippetText(item["prompt"], item["completion"]) for item in self.input(ScoreInput)["snippets"]]
        results = classifier_score(classifier=classifier, snippets=texts)
        data = {"classifier": classifier.pk, "threshold": classifier.threshold, "results": results}
        return Response(ScoresSerializer(data).data)

    @extend_schema(request=None, responses=ClassifierSerializer, examples=example(ROW, status=200))
    @action(detail=True, methods=["post"])
    def promote(self, request: Request, pk: str) -> Response:
        """Makes it its policy's serving classifier: the one promoted last."""
        return Response(self.get_serializer(classifier_promote(classifier=self.get_object())).data)
