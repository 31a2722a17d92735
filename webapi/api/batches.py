"""Batches: snippets that go out for labels, and how many have come back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from webapi.api.base import Resource
from webapi.api.filters import Filters
from webapi.api.schema import EXAMPLE_ID, EXAMPLE_TIME, example, one_of
from webapi.models import Batch
from webapi.permissions import BLIND
from webapi.selectors.batches import BatchCounts, batch_counts, roughly


class BatchProgressSerializer(serializers.Serializer[BatchCounts]):
    """How far a batch is: `done` of `total` labels; `rate` is labels a second over the last ten minutes.

    Who labels sees counts in steps of ten.
    """

    tasks = serializers.IntegerField()
    tasks_done = serializers.IntegerField()
    done = serializers.IntegerField()
    total = serializers.IntegerField()
    leased = serializers.IntegerField(help_text="Tasks that annotators hold now.")
    rate = serializers.FloatField(allow_null=True)
    eta = serializers.DateTimeField(allow_null=True)


class LabelerBatchSerializer(serializers.ModelSerializer[Batch]):
    """A batch as those who label see it: not what it is for."""

    progress = serializers.SerializerMethodField()

    class Meta:
        model = Batch
        fields = ["id", "policy", "state", "created_at", "finished_at", "progress"]
        read_only_fields = fields

    @extend_schema(responses=BatchProgressSerializer)
    def get_progress(self, row: Batch) -> dict[str, Any]:
        """Its counts, to the nearest ten."""
        return BatchProgressSerializer(roughly(self.counts_of(row))).data

    def counts_of(self, row: Batch) -> BatchCounts:
        """To the label."""
        counts: dict[Any, BatchCounts] = self.context["counts"]
        return counts[row.pk]


class BatchSerializer(LabelerBatchSerializer):
    """A batch."""

    class Meta(LabelerBatchSerializer.Meta):
        fields = [*LabelerBatchSerializer.Meta.fields, "name", "round", "adapter", "vendor_user"]
        read_only_fields = fields

    @extend_schema(responses=BatchProgressSerializer)
    def get_progress(self, row: Batch) -> dict[str, Any]:
        """Its counts."""
        return BatchProgressSerializer(self.counts_of(row)).data


class LabelerBatchFilter(Filters):
    """Filters of the list."""

    class Meta:
        model = Batch
        fields = ["policy", "state"]


class BatchFilter(Filters):
    """Filters of the list for those who see rounds."""

    class Meta:
        model = Batch
        fields = ["policy", "state", "round", "adapter"]


ROW: dict[str, Any] = {
    "id": EXAMPLE_ID,
    "policy": EXAMPLE_ID,
    "state": "open",
    "created_at": EXAMPLE_TIME,
    "finished_at": None,
    "progress": {
        "tasks": 600,
        "tasks_done": 412,
        "done": 412,
        "total": 600,
        "leased": 10,
        "rate": 0.2,
        "eta": "2026-11-21T09:45:40Z",
    },
}
SHAPES = [BatchSerializer, LabelerBatchSerializer]


@extend_schema_view(
    list=extend_schema(responses=one_of("BatchForRole", *SHAPES, many=True), examples=example(ROW, status=200)),
    retrieve=extend_schema(responses=one_of("BatchForRole", *SHAPES), examples=example(ROW, status=200)),
)
class Batches(Resource[Batch]):
    """Batches."""

    resource = "batches"
    queryset = Batch.objects.all()

    @property
    def filterset_class(self) -> type[Filters]:
        """What one is not to know one may not ask for either."""
        fake = getattr(self, "swagger_fake_view", False)
        return LabelerBatchFilter if not fake and self.actor.role in BLIND else BatchFilter

    def list(self, request: Request) -> Response:
        """Batches with their progress, a page at a time."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset())) or []
        return self.get_paginated_response(self._shown(page))

    def retrieve(self, request: Request, pk: str) -> Response:
        """One batch with its progress."""
        return Response(self._shown([self.get_object()])[0])

    def _shown(self, rows: Sequence[Batch]) -> Any:
        shape = LabelerBatchSerializer if self.actor.role in BLIND else BatchSerializer
        context = {**self.get_serializer_context(), "counts": batch_counts(row.pk for row in rows)}
        return shape(rows, many=True, context=context).data
