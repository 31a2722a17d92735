"""Figures for dashboards: labels, agreement, the queue, rounds."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from webapi.api.agreement import (
    DISAGREEMENTS_EXAMPLE,
    FIGURES_EXAMPLE,
    AgreementFiguresSerializer,
    AgreementQuery,
    DisagreementsQuery,
    DisagreementsSerializer,
    disagreements_csv,
    figures_csv,
    scope,
    shown,
)
from webapi.api.base import Resource, StrictSerializer
from webapi.api.fields import PolicyField
from webapi.api.schema import EXAMPLE_ID, EXAMPLE_TIME, example
from webapi.models import Round, RoundState
from webapi.selectors import dashboard
from webapi.selectors.agreement import agreement_figures
from webapi.selectors.disagreements import disagreements

MAX_ROUNDS = 100


class MetricsQuery(StrictSerializer):
    """Which labels are meant."""

    policy = PolicyField(required=False)
    batch = serializers.UUIDField(required=False)
    since = serializers.DateTimeField(required=False)
    by = serializers.ChoiceField(list(dashboard.GROUPS), default="choice")

    @property
    def which(self) -> dashboard.LabelFilter:
        """As the selectors take it."""
        data = self.validated_data
        return dashboard.LabelFilter(
            policy=str(data["policy"].pk) if "policy" in data else None,
            batch=str(data["batch"]) if "batch" in data else None,
            since=data.get("since"),
        )


class CountSerializer(serializers.Serializer[Any]):
    """One group and its size."""

    key = serializers.CharField()
    count = serializers.IntegerField()


class LabelCountsSerializer(serializers.Serializer[Any]):
    """Standing labels (counted, no answers to gold, a changed answer once), by one of their fields."""

    by = serializers.CharField()
    total = serializers.IntegerField()
    counts = CountSerializer(many=True)


class QueueRowSerializer(serializers.Serializer[Any]):
    """One batch: `done` of `total` labels; `rate` is labels a second."""

    id = serializers.CharField()
    name = serializers.CharField()
    policy = serializers.CharField()
    round_id = serializers.CharField(allow_null=True)
    round_name = serializers.CharField()
    adapter = serializers.CharField()
    state = serializers.CharField()
    done = serializers.IntegerField()
    total = serializers.IntegerField()
    leased = serializers.IntegerField()
    rate = serializers.FloatField(allow_null=True)
    eta = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)


class QueueSerializer(serializers.Serializer[Any]):
    """The newest batches, open ones first."""

    batches = QueueRowSerializer(many=True)


class RoundFiguresSerializer(serializers.ModelSerializer[Round]):
    """A finished round's before and after."""

    summary = serializers.DictField(read_only=True)

    class Meta:
        model = Round
        fields = ["id", "name", "policy", "corpus", "finished_at", "summary"]
        read_only_fields = fields


class RoundsFiguresSerializer(serializers.Serializer[Any]):
    """Finished rounds, the newest first."""

    rounds = RoundFiguresSerializer(many=True)


class QueueQuery(StrictSerializer):
    """Which batches are meant."""

    policy = PolicyField(required=False)
    state = serializers.ChoiceField(["open", "done", "cancelled"], required=False)


class RoundsQuery(StrictSerializer):
    """Which rounds are meant."""

    policy = PolicyField(required=False)
    since = serializers.DateTimeField(required=False)


BATCH: dict[str, Any] = {
    "id": EXAMPLE_ID,
    "name": "selected",
    "policy": "injury v1",
    "round_id": EXAMPLE_ID,
    "round_name": "Round 4",
    "adapter": "pull",
    "state": "open",
    "done": 412,
    "total": 600,
    "leased": 10,
    "rate": 0.2,
    "eta": "2026-11-21T09:45:40Z",
    "created_at": EXAMPLE_TIME,
    "finished_at": None,
}
POLICY_PARAMETER = OpenApiParameter("policy", str, description="Key or name of a policy.")


class Metrics(Resource[Round]):
    """Figures."""

    resource = "metrics"
    queryset = Round.objects.none()
    pagination_class = None
    filter_backends = ()

    @extend_schema(
        parameters=[POLICY_PARAMETER, MetricsQuery],
        responses=LabelCountsSerializer,
        examples=example({"by": "choice", "total": 412, "counts": [{"key": "No", "count": 371}]}, status=200),
    )
    @action(detail=False)
    def labels(self, request: Request) -> Response:
        """Standing labels, counted by choice, annotator, batch or day."""
        query = MetricsQuery(data=request.query_params.dict(), context=self.get_serializer_context())
        query.is_valid(raise_exception=True)
        by = query.validated_data["by"]
        counts = dashboard.labels_by(dashboard.standing_labels(query.which), by)
        data = {"by": by, "total": sum(one.count for one in counts), "counts": counts}
        return Response(LabelCountsSerializer(data).data)

    @extend_schema(
        parameters=[AgreementQuery],
        responses={(200, "application/json"): AgreementFiguresSerializer, (200, "text/csv"): OpenApiTypes.STR},
        examples=[
            *example(FIGURES_EXAMPLE, status=200),
            *example("of,key,statistic,estimate,low,high,…", name="CSV", status=200, media_type="text/csv"),
        ],
    )
    @action(detail=False)
    def agreement(self, request: Request) -> HttpResponseBase:
        """How far annotators agree: percent, alpha, kappas, AC1 and AC2 with intervals, over all the labels meant and
        by day, batch, vendor, source or split; kappas of the annotators who share most; snippets in dispute.
        """
        query = self.input(AgreementQuery, request.query_params.dict())
        policy, which = scope(query, self.actor)
        figures = agreement_figures(policy, which, by=query["by"])
        return figures_csv(figures) if query["format"] == "csv" else Response(figures.as_json())

    @extend_schema(
        parameters=[DisagreementsQuery],
        responses={(200, "application/json"): DisagreementsSerializer, (200, "text/csv"): OpenApiTypes.STR},
        examples=[
            *example(DISAGREEMENTS_EXAMPLE, status=200),
            *example("snippet,completion,source,…", name="CSV", status=200, media_type="text/csv"),
        ],
    )
    @action(detail=False)
    def disagreements(self, request: Request) -> HttpResponseBase:
        """Snippets on which annotators differ, the most disputed first, with what each of them said.

        A page as CSV has a line for each label; the header `Link` leads to the next page.
        """
        query = self.input(DisagreementsQuery, request.query_params.dict())
        policy, which = scope(query, self.actor)
        page = disagreements(policy, which, cursor=query.get("cursor", ""), size=query["page_size"])
        following, before = (self._page_link(request, cursor) for cursor in (page.next, page.previous))
        if query["format"] == "csv":
            answer = disagreements_csv(page.rows)
            if following:
                answer["Link"] = f'<{following}>; rel="next"'
            return answer
        results = [shown(row) for row in page.rows]
        data = {"total": page.total, "next": following, "previous": before, "results": results}
        return Response(DisagreementsSerializer(data).data)

    def _page_link(self, request: Request, cursor: str | None) -> str | None:
        return None if cursor is None else replace_query_param(request.build_absolute_uri(), "cursor", cursor)

    @extend_schema(
        parameters=[QueueQuery], responses=QueueSerializer, examples=example({"batches": [BATCH]}, status=200)
    )
    @action(detail=False)
    def queue(self, request: Request) -> Response:
        """The newest hundred batches with their progress, open ones first."""
        query = self.input(QueueQuery, request.query_params.dict())
        policy = query.get("policy")
        batches = dashboard.queue(policy=str(policy.pk) if policy else None, state=query.get("state"))
        return Response(QueueSerializer({"batches": batches}).data)

    @extend_schema(
        parameters=[RoundsQuery, OpenApiParameter("since", OpenApiTypes.DATETIME)],
        responses=RoundsFiguresSerializer,
        examples=example({"rounds": [{"id": EXAMPLE_ID, "name": "Round 4", "summary": {}}]}, status=200),
    )
    @action(detail=False)
    def rounds(self, request: Request) -> Response:
        """The newest hundred finished rounds with their figures before and after."""
        query = self.input(RoundsQuery, request.query_params.dict())
        rows = Round.objects.filter(state=RoundState.SUCCEEDED).order_by("-pk")
        if "policy" in query:
            rows = rows.filter(policy=query["policy"])
        if "since" in query:
            rows = rows.filter(finished_at__gte=query["since"])
        return Response(RoundsFiguresSerializer({"rounds": rows[:MAX_ROUNDS]}).data)
