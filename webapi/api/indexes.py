"""The index: which snippets of a policy are embedded, and by which encoder; brought up to date, or made anew."""

from __future__ import annotations

from typing import Any

import django_filters as filters
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from webapi.api.base import Resource, StrictSerializer
from webapi.api.fields import PolicyField
from webapi.api.jobs import ROW as JOB
from webapi.api.jobs import JobSerializer
from webapi.api.schema import EXAMPLE_ID, EXAMPLE_TIME, example
from webapi.models import EmbeddingIndex
from webapi.selectors.indexes import index_status, indexes_listed
from workers.index_refresh import index_rebuild, index_refresh


class IndexSerializer(serializers.ModelSerializer[EmbeddingIndex]):
    """An index. `rows` snippets are embedded, `planned` are about to be, `pending` are in no shard yet."""

    shards = serializers.IntegerField(source="status.shards", read_only=True)
    rows = serializers.IntegerField(source="status.rows", read_only=True)
    planned = serializers.IntegerField(source="status.planned", read_only=True)
    pending = serializers.IntegerField(source="status.pending", read_only=True)
    size = serializers.IntegerField(source="status.size", read_only=True, help_text="Bytes of its files.")

    class Meta:
        model = EmbeddingIndex
        fields = [
            *("id", "policy", "encoder", "version", "precision", "dimension", "state", "follows"),
            *("shards", "rows", "planned", "pending", "size", "created_at"),
        ]
        read_only_fields = fields

    def to_representation(self, row: EmbeddingIndex) -> dict[str, Any]:
        """With what is counted of it."""
        row.status = index_status(row)  # type: ignore[attr-defined]
        return super().to_representation(row)


class IndexRefresh(StrictSerializer):
    """What is to be embedded."""

    policy = PolicyField()
    rebuild = serializers.BooleanField(
        default=False, help_text="Make the index anew beside the current one, which serves until the new one is whole."
    )
    encoder = serializers.CharField(
        max_length=200,
        required=False,
        help_text="With `rebuild`: by this encoder, else by the same one.",
    )

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        """An index keeps to its encoder."""
        if "encoder" in data and not data["rebuild"]:
            raise serializers.ValidationError({"encoder": "An index keeps to its encoder; another needs `rebuild`."})
        return data


class IndexFilter(filters.FilterSet):  # type: ignore[misc]
    """Filters of the list."""

    class Meta:
        model = EmbeddingIndex
        fields = ["policy", "state"]


ROW: dict[str, Any] = {
    "id": EXAMPLE_ID,
    "policy": EXAMPLE_ID,
    "encoder": "minilm",
    "version": "5c1e…",
    "precision": "fp32",
    "dimension": 384,
    "state": "current",
    "follows": True,
    "shards": 25,
    "rows": 98304,
    "planned": 1696,
    "pending": 0,
    "size": 94371840,
    "created_at": EXAMPLE_TIME,
}
_QUEUED = {**JOB, "kind": "refresh_index", "state": "queued", "done": 0, "total": 0, "rate": None, "eta": None}


@extend_schema_view(list=extend_schema(examples=example(ROW, status=200)))
class Indexes(Resource[EmbeddingIndex]):
    """The policies' indexes."""

    resource = "indexes"
    queryset = indexes_listed()
    filterset_class = IndexFilter
    serializer_class = IndexSerializer

    def list(self, request: Request) -> Response:
        """A policy has one that is current, once something of it was embedded, and may have one that is building."""
        return self.listed(self.get_queryset())

    @extend_schema(
        request=IndexRefresh,
        responses={202: JobSerializer},
        examples=[*example({"policy": EXAMPLE_ID}), *example(_QUEUED, status=202)],
    )
    @action(detail=False, methods=["post"])
    def refresh(self, request: Request) -> Response:
        """Embeds what the policy's index lacks, and from now on what arrives. Answers with the job to watch."""
        wanted = self.input(IndexRefresh)
        if wanted["rebuild"]:
            job = index_rebuild(wanted["policy"], wanted.get("encoder"), created_by=self.user)
        else:
            job = index_refresh(wanted["policy"], created_by=self.user)
        return Response(JobSerializer(job).data, status=202)
