"""Evaluations: what was measured of classifiers."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from webapi.api.base import Resource
from webapi.api.filters import Filters
from webapi.api.schema import EXAMPLE_ID, EXAMPLE_TIME, example
from webapi.models import Evaluation


class EvaluationSerializer(serializers.ModelSerializer[Evaluation]):
    """What was seen of a classifier on named data; rates are `{estimate, low, high, level, method, failures, n}`."""

    results = serializers.DictField(read_only=True)

    class Meta:
        model = Evaluation
        fields = ["id", "classifier", "round", "name", "results", "created_at"]
        read_only_fields = fields


class EvaluationFilter(Filters):
    """Filters of the list."""

    class Meta:
        model = Evaluation
        fields = ["classifier", "round", "name"]


RATE = {
    "estimate": 0.0,
    "low": 0.0,
    "high": 0.0121,
    "level": 0.95,
    "method": "Clopper-Pearson",
    "failures": 0,
    "n": 304,
}
ROW: dict[str, Any] = {
    "id": EXAMPLE_ID,
    "classifier": EXAMPLE_ID,
    "round": EXAMPLE_ID,
    "name": "in_distribution",
    "results": {"false_negative_rate": RATE},
    "created_at": EXAMPLE_TIME,
}


@extend_schema_view(
    list=extend_schema(examples=example(ROW, status=200)), retrieve=extend_schema(examples=example(ROW, status=200))
)
class Evaluations(Resource[Evaluation]):
    """Evaluations."""

    resource = "evaluations"
    queryset = Evaluation.objects.all()
    filterset_class = EvaluationFilter
    serializer_class = EvaluationSerializer

    def list(self, request: Request) -> Response:
        """Evaluations, a page at a time."""
        return self.listed(self.get_queryset())

    def retrieve(self, request: Request, pk: str) -> Response:
        """One evaluation."""
        return Response(self.get_serializer(self.get_object()).data)
