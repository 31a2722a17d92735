"""Evaluations: what was measured of classifiers, and how often a filter fails, by labels that are bought for it."""

from __future__ import annotations

from typing import Any, Literal

from django.http import FileResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_view
from pydantic import Field
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from webapi.api.base import Resource
from webapi.api.fields import ClassifierField
from webapi.api.filters import Filters
from webapi.api.rounds import REPORT_POLICY
from webapi.api.schema import EXAMPLE_ID, EXAMPLE_TIME, example
from webapi.models import Evaluation
from webapi.selectors.evaluations import evaluations_listed
from webapi.services.evaluations import (
    evaluation_begin,
    evaluation_cancel,
    evaluation_create,
    evaluation_file,
    evaluation_report,
    evaluation_retry,
)
from workers.evaluation_settings import EvaluationSettings


class EvaluationRequest(EvaluationSettings):
    """An evaluation to begin."""

    classifier: str = Field(description="Key of the classifier whose filter is measured, at its threshold.")
    kind: Literal["", "failure_rate", "difference", "quality"] = Field(
        "", description="`quality`: what filtering costs, by comparisons. Empty: by whether there is an `against`."
    )
    against: str | None = Field(
        None, description="Key of another classifier: then the difference of the two filters' failures is measured."
    )
    second: str | None = Field(
        None,
        description="Key of a classifier by whose opinion labels are spread. A difference has the other filter's own.",
    )
    parent: str | None = Field(
        None, description="Of a difference: key of the evaluation of `against` whose certificate it goes on from."
    )
    name: str = Field("", max_length=64, description="Once a classifier; by default kind and time.")


class EvaluationTarget(serializers.Serializer[Any]):
    """What is measured."""

    classifier = ClassifierField()
    kind = serializers.ChoiceField(["", "failure_rate", "difference", "quality"], default="", allow_blank=True)
    against = ClassifierField(required=False, allow_null=True, default=None)
    second = ClassifierField(required=False, allow_null=True, default=None)
    parent = serializers.PrimaryKeyRelatedField(  # type: ignore[assignment]
        queryset=Evaluation.objects.all(), required=False, allow_null=True, default=None
    )
    name = serializers.CharField(default="", allow_blank=True, max_length=64)


class EvaluationSerializer(serializers.ModelSerializer[Evaluation]):
    """What was seen of a classifier on named data; rates are `{estimate, low, high, level, method, failures, n}`."""

    results = serializers.DictField(
        read_only=True,
        help_text="`tiers`, `bought`, `confirming`, `label_error`; of a difference, where this filter's rate less the "
        "other's is in `tiers`, also `difference`: `found` and, with a `parent`, `chained`, its certificate; of "
        "quality `check`, `ties`, `bought`, `asked`.",
    )
    plan = serializers.DictField(
        read_only=True,
        help_text="`chosen` and each of `designs`: outputs, labels, floor, money, hours, reachable; of a difference "
        "also `power`: what finds an improvement. Of quality `quality`: prompts, asked, labels, the half-width "
        "reached, and prompts that the wanted one takes.",
    )
    config = serializers.DictField(read_only=True)

    class Meta:
        model = Evaluation
        fields = [
            "id",
            "classifier",
            "round",
            "name",
            "kind",
            "against",
            "second",
            "parent",
            "design",
            "threshold",
            "state",
            "error",
            "config",
            "plan",
            "bought",
            "results",
            "created_by",
            "created_at",
            "finished_at",
        ]
        read_only_fields = fields


class EvaluationFilter(Filters):
    """Filters of the list."""

    class Meta:
        model = Evaluation
        fields = ["classifier", "round", "name", "kind", "state"]


RATE = {
    "estimate": 0.0,
    "low": 0.0,
    "high": 0.0121,
    "level": 0.95,
    "method": "Clopper-Pearson",
    "failures": 0,
    "n": 304,
}
PLAN = {
    "design": "stratified",
    "title": "Stratified by a second opinion",
    "outputs": 304,
    "outputs_low": 304,
    "outputs_high": 304,
    "labels": 340,
    "floor": 120,
    "money": 17.0,
    "hours": 1.4,
    "reachable": True,
    "reached": 0.5,
}
ROW: dict[str, Any] = {
    "id": EXAMPLE_ID,
    "classifier": EXAMPLE_ID,
    "round": EXAMPLE_ID,
    "name": "failure rate 2026-11-27",
    "kind": "failure_rate",
    "against": None,
    "second": EXAMPLE_ID,
    "parent": None,
    "design": "stratified",
    "threshold": 0.04,
    "state": "succeeded",
    "error": "",
    "config": {"relative": 0.5},
    "plan": {"chosen": PLAN, "designs": {"stratified": PLAN}},
    "bought": 304,
    "results": {"tiers": {"certificate": RATE, "estimate": RATE, "forecast": None, "notes": []}},
    "created_by": EXAMPLE_ID,
    "created_at": EXAMPLE_TIME,
    "finished_at": EXAMPLE_TIME,
}
ASKED: dict[str, Any] = {
    "classifier": EXAMPLE_ID,
    "second": EXAMPLE_ID,
    "design": "stratified",
    "relative": 0.5,
    "outputs": {"source": "round", "copies": 20},
    "adapter": "pull",
    "price": 0.05,
}
_PLANNING = {**ROW, "state": "planning", "plan": {}, "results": {}, "bought": 0, "finished_at": None}
_MADE = [*example(ASKED), *example(_PLANNING, status=202)]


@extend_schema_view(
    list=extend_schema(examples=example(ROW, status=200)), retrieve=extend_schema(examples=example(ROW, status=200))
)
class Evaluations(Resource[Evaluation]):
    """Evaluations."""

    resource = "evaluations"
    queryset = evaluations_listed()
    filterset_class = EvaluationFilter
    serializer_class = EvaluationSerializer

    def list(self, request: Request) -> Response:
        """Evaluations, a page at a time."""
        return self.listed(self.get_queryset())

    def retrieve(self, request: Request, pk: str) -> Response:
        """One evaluation: how far it is, what its labels were planned to cost, and the answer."""
        return self._shown(self.get_object())

    @extend_schema(request=EvaluationRequest, responses={202: EvaluationSerializer}, examples=_MADE)
    def create(self, request: Request) -> Response:
        """Begins an evaluation: outputs of the filter are drawn, labels are planned, and bought from `adapter`. Watch
        `state`; it waits for people as long as they take.
        """
        return self._made(request)

    @extend_schema(request=EvaluationRequest, responses={202: EvaluationSerializer}, examples=_MADE)
    @action(detail=False, methods=["post"])
    def plan(self, request: Request) -> Response:
        """As creating one, but nothing is bought: it stops at `planned`, with what each design would cost. `begin` has
        the labels bought.
        """
        return self._made(request, buy=False)

    @extend_schema(
        request=None, responses=EvaluationSerializer, examples=example({**ROW, "state": "labelling"}, status=200)
    )
    @action(detail=True, methods=["post"])
    def begin(self, request: Request, pk: str) -> Response:
        """Has the labels of a plan that waits bought."""
        return self._shown(evaluation_begin(evaluation=self.get_object()))

    @extend_schema(
        request=None, responses=EvaluationSerializer, examples=example({**ROW, "state": "cancelled"}, status=200)
    )
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """Ends an evaluation; labels that were bought stay."""
        return self._shown(evaluation_cancel(evaluation=self.get_object()))

    @extend_schema(
        request=None, responses=EvaluationSerializer, examples=example({**ROW, "state": "labelling"}, status=200)
    )
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, pk: str) -> Response:
        """Sets one that failed or was cancelled going again; nothing is bought twice."""
        return self._shown(evaluation_retry(evaluation=self.get_object()))

    @extend_schema(
        responses=OpenApiTypes.OBJECT,
        examples=example({"html": "https://…/api/v1/evaluations/…/report.html", "report": {}}, status=200),
    )
    @action(detail=True)
    def report(self, request: Request, pk: str) -> Response:
        """The report's figures, and where its page is."""
        row = self.get_object()
        link = reverse("evaluations-report-html", args=[row.pk], request=request)
        return Response({"html": link, "report": evaluation_report(row)})

    @extend_schema(
        responses={(200, "text/html"): OpenApiResponse(OpenApiTypes.STR, "The report, one file.")},
        examples=example("<!doctype html>…", status=200, media_type="text/html"),
    )
    @action(detail=True, url_path=r"report\.html", url_name="report-html")
    def report_html(self, request: Request, pk: str) -> FileResponse:
        """The report as a page of its own."""
        file = evaluation_file(self.get_object(), "report.html").open("rb")
        return FileResponse(
            file, content_type="text/html; charset=utf-8", headers={"Content-Security-Policy": REPORT_POLICY}
        )

    def _made(self, request: Request, **over: Any) -> Response:
        data = dict(request.data) if isinstance(request.data, dict) else {}
        target = {name: data.pop(name) for name in map(str, EvaluationTarget().fields) if name in data}
        about = self.input(EvaluationTarget, target)
        row = evaluation_create(settings={**data, **over}, created_by=self.user, **about)
        return self._shown(row, status=202)

    def _shown(self, row: Evaluation, status: int = 200) -> Response:
        return Response(self.get_serializer(row).data, status=status)
