"""Classifiers: looked at, compared, asked for scores, promoted."""

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
from webapi.api.classifier_shapes import COMPARED, PROMOTION, ClassifiersComparedSerializer, Pair, PromotionSerializer
from webapi.api.exports import QUEUED, ExportSerializer
from webapi.api.filters import Filters
from webapi.api.pagination import ByCursor
from webapi.api.schema import EXAMPLE_ID, EXAMPLE_TIME, example
from webapi.api.snapshots import BRIEF, SnapshotSerializer
from webapi.models import Classifier
from webapi.selectors.classifiers import promotions_listed
from webapi.services.classifier_compare import classifiers_compare
from webapi.services.classifiers import MAX_SCORED, classifier_score
from webapi.services.promotions import classifier_promote
from webapi.services.transfers import classifier_export
from workers.export_classifier import LEAST_EQUAL


class ClassifierSerializer(serializers.ModelSerializer[Classifier]):
    """One trained version. `threshold`: the score at or above which a completion is rejected."""

    snapshot = SnapshotSerializer(read_only=True, allow_null=True)
    recipe = serializers.DictField(read_only=True)
    metrics = serializers.DictField(read_only=True)
    environment = serializers.DictField(read_only=True, help_text="What it was trained with; empty of older ones.")
    sha256 = serializers.CharField(source="artifact.sha256", read_only=True, allow_null=True, default=None)

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
            "environment",
            "sha256",
            "promoted_at",
            "created_at",
        ]
        read_only_fields = fields


class PromoteInput(StrictSerializer):
    """Why, for those who come later."""

    note = serializers.CharField(default="", allow_blank=True, max_length=500)


class ExportClassifierInput(StrictSerializer):
    """What the export must hold up to."""

    least_equal = serializers.FloatField(
        default=LEAST_EQUAL,
        min_value=0,
        max_value=1,
        help_text="Share of snippets that int8 must decide as full precision does; else the job fails.",
    )


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

    promoted = filters.BooleanFilter(method="_promoted", label="Promoted, and that not rolled back; or not so.")

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
    "environment": {"python": "3.11.9", "packages": {"torch": "2.13.0"}, "threads": 2, "code": "d252762…"},
    "sha256": "9f2c…",
    "promoted_at": None,
    "created_at": EXAMPLE_TIME,
}
EXPORT_QUEUED: dict[str, Any] = {**QUEUED, "kind": "export_classifier"}
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
    queryset = Classifier.objects.select_related("snapshot__artifact", "artifact")
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

    @extend_schema(
        request=PromoteInput,
        responses=ClassifierSerializer,
        examples=[*example({"note": "Round 4 held up in the audit."}), *example(ROW, status=200)],
    )
    @action(detail=True, methods=["post"])
    def promote(self, request: Request, pk: str) -> Response:
        """Makes it its policy's serving classifier. `POST /policies/{id}/rollback` takes that back."""
        classifier, note = self.get_object(), self.input(PromoteInput)["note"]
        return Response(self.get_serializer(classifier_promote(classifier=classifier, by=self.user, note=note)).data)

    @extend_schema(
        request=ExportClassifierInput,
        responses={202: ExportSerializer},
        examples=[*example({"least_equal": 0.98}), *example(EXPORT_QUEUED, status=202)],
    )
    @action(detail=True, methods=["post"])
    def export(self, request: Request, pk: str) -> Response:
        """A job that writes the int8 ONNX graph, tokenizer, recipe and threshold to one zip, once it is checked to
        decide as full precision does. Fetch it as any export: `download_url` is there once the job has succeeded.
        """
        classifier, least = self.get_object(), self.input(ExportClassifierInput)["least_equal"]
        job = classifier_export(classifier=classifier, least_equal=least, created_by=self.user)
        return Response(ExportSerializer(job, context=self.get_serializer_context()).data, status=202)

    @extend_schema(responses=PromotionSerializer(many=True), examples=example(PROMOTION, status=200))
    @action(detail=True, filter_backends=[])
    def promotions(self, request: Request, pk: str) -> Response:
        """When it was promoted, by whom and why, and what was rolled back; the newest first."""
        pages = ByCursor()
        page = pages.paginate_queryset(promotions_listed().filter(classifier=self.get_object()), request, view=self)
        return pages.get_paginated_response(PromotionSerializer(page or [], many=True).data)

    @extend_schema(parameters=[Pair], responses=ClassifiersComparedSerializer, examples=example(COMPARED, status=200))
    @action(detail=False, filter_backends=[], pagination_class=None)
    def compare(self, request: Request) -> Response:
        """Two classifiers of a policy: what differs in recipe, environment and rows trained on, rates on the same
        held-out sets, thresholds, and how often they decide alike where both have scores.
        """
        asked = self.input(Pair, request.query_params)
        return Response(ClassifiersComparedSerializer(classifiers_compare(a=asked["a"], b=asked["b"])).data)
