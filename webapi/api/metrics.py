"""Figures for dashboards: labels, agreement, the queue, rounds."""

from __future__ import annotations

from typing import Any

from django.http import Http404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from webapi.api.base import Resource, StrictSerializer
from webapi.api.fields import EstimateSerializer, PolicyField
from webapi.api.schema import EXAMPLE_ID, EXAMPLE_TIME, example
from webapi.models import Round, RoundState
from webapi.selectors import dashboard
from webapi.selectors.agreement import agreement_figures, policies_with_labels

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
    """Standing labels (of each annotator and snippet the latest), counted."""

    by = serializers.CharField()
    total = serializers.IntegerField()
    counts = CountSerializer(many=True)


class AgreementSerializer(serializers.Serializer[Any]):
    """Agreement of all annotators over the answers that stand."""

    alpha = EstimateSerializer(help_text="Krippendorff's, nominal.")
    percent = EstimateSerializer(help_text="Pairs of votes that agree.")
    per_choice = serializers.DictField(child=EstimateSerializer())
    items = serializers.IntegerField()
    items_with_pairs = serializers.IntegerField()
    items_in_dispute = serializers.IntegerField()
    votes = serializers.IntegerField()
    annotators = serializers.IntegerField()
    votes_by_choice = serializers.DictField(child=serializers.IntegerField())


class PairSerializer(serializers.Serializer[Any]):
    """Two annotators' Cohen's kappa; null where it is undefined."""

    a = serializers.CharField()
    b = serializers.CharField()
    items = serializers.IntegerField()
    kappa = serializers.FloatField(allow_null=True)
    low = serializers.FloatField(allow_null=True)
    high = serializers.FloatField(allow_null=True)


class AgreementFiguresSerializer(serializers.Serializer[Any]):
    """How far the annotators of a policy agree."""

    policy = serializers.CharField()
    choices = serializers.ListField(child=serializers.CharField())
    judgements = serializers.IntegerField(help_text="All answers, replaced ones among them.")
    replaced = serializers.IntegerField()
    snippets = serializers.IntegerField()
    annotators = serializers.IntegerField()
    simulated_annotators = serializers.IntegerField()
    overall = AgreementSerializer()
    pairs = PairSerializer(many=True)
    disputes = serializers.ListField(child=serializers.DictField())
    per_day = serializers.ListField(child=serializers.DictField())


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


class AgreementQuery(StrictSerializer):
    """Which labels are meant; no policy: the newest that has any."""

    policy = PolicyField(required=False)
    batch = serializers.UUIDField(required=False)


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
ALPHA = {
    "estimate": 0.61,
    "low": 0.57,
    "high": 0.65,
    "level": 0.95,
    "method": "Krippendorff's alpha, nominal",
    "n": 600,
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
        counts = dashboard.labels_by(query.which, by)
        data = {"by": by, "total": sum(one.count for one in counts), "counts": counts}
        return Response(LabelCountsSerializer(data).data)

    @extend_schema(
        parameters=[AgreementQuery],
        responses=AgreementFiguresSerializer,
        examples=example({"policy": "injury v1", "judgements": 1800, "overall": {"alpha": ALPHA}}, status=200),
    )
    @action(detail=False)
    def agreement(self, request: Request) -> Response:
        """How far annotators agree: alpha, agreement per choice, pairs of annotators, snippets in dispute."""
        query = self.input(AgreementQuery, request.query_params.dict())
        policy = query.get("policy") or next(iter(policies_with_labels()), None)
        figures = agreement_figures(policy, batch=query.get("batch")) if policy else None
        if figures is None:
            raise Http404
        return Response(figures.as_json())

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
