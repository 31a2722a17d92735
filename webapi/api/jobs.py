"""Jobs: long work, watched and cancelled."""

from __future__ import annotations

from typing import Any

import django_filters as filters
from django.http import StreamingHttpResponse
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from webapi.api.base import Resource
from webapi.api.events import EventRenderer, Snapshot, describe_events, event_stream
from webapi.api.filters import ByPeriod
from webapi.api.schema import EXAMPLE_ID, EXAMPLE_TIME, example
from webapi.models import Job, JobState
from webapi.selectors.jobs import pace_of
from webapi.services.jobs import job_cancel

UNFINISHED = (JobState.QUEUED, JobState.RUNNING)


class JobSerializer(serializers.ModelSerializer[Job]):
    """A job: `done` of `total` items, `rate` items a second, `eta` when it ends at that rate."""

    rate = serializers.SerializerMethodField()
    eta = serializers.SerializerMethodField()
    round = serializers.UUIDField(source="stage.round_id", default=None, read_only=True, allow_null=True)
    stage = serializers.CharField(source="stage.name", default=None, read_only=True, allow_null=True)
    result = serializers.DictField(read_only=True)

    class Meta:
        model = Job
        fields = [
            "id",
            "kind",
            "state",
            "done",
            "total",
            "rate",
            "eta",
            "error",
            "queue",
            "round",
            "stage",
            "attack",
            "sweep",
            "evaluation",
            "shard",
            "attempts",
            "result",
            "created_by",
            "created_at",
            "started_at",
            "finished_at",
        ]
        read_only_fields = fields

    def get_rate(self, row: Job) -> float | None:
        """Items a second."""
        return pace_of(row).rate

    @extend_schema(responses={"type": ["string", "null"], "format": "date-time"})
    def get_eta(self, row: Job) -> str | None:
        """When it ends at that rate."""
        eta = pace_of(row).eta
        return serializers.DateTimeField().to_representation(eta) if eta else None


class JobFilter(ByPeriod):
    """Filters of the list."""

    round = filters.UUIDFilter(field_name="stage__round", label="Of this round.")

    class Meta:
        model = Job
        fields = ["kind", "state", "queue"]


ROW: dict[str, Any] = {
    "id": EXAMPLE_ID,
    "kind": "import_snippets",
    "state": "running",
    "done": 4000,
    "total": 10000,
    "rate": 2500.0,
    "eta": "2026-11-21T09:30:04Z",
    "error": "",
    "queue": "default",
    "round": None,
    "stage": None,
    "attack": None,
    "sweep": None,
    "evaluation": None,
    "shard": "0",
    "attempts": 1,
    "result": {},
    "created_by": EXAMPLE_ID,
    "created_at": EXAMPLE_TIME,
    "started_at": EXAMPLE_TIME,
    "finished_at": None,
}


@extend_schema_view(
    list=extend_schema(examples=example(ROW, status=200)), retrieve=extend_schema(examples=example(ROW, status=200))
)
class Jobs(Resource[Job]):
    """Jobs."""

    resource = "jobs"
    queryset = Job.objects.select_related("stage")
    filterset_class = JobFilter
    serializer_class = JobSerializer

    def list(self, request: Request) -> Response:
        """Jobs, a page at a time."""
        return self.listed(self.get_queryset())

    def retrieve(self, request: Request, pk: str) -> Response:
        """One job with its progress, and its result once it has one."""
        return Response(self.get_serializer(self.get_object()).data)

    @extend_schema(request=None, responses=JobSerializer, examples=example({**ROW, "state": "cancelled"}, status=200))
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """Ends a job that belongs to no round."""
        return Response(self.get_serializer(job_cancel(job=self.get_object())).data)

    @describe_events
    @action(detail=True, renderer_classes=[EventRenderer, JSONRenderer])
    def events(self, request: Request, pk: str) -> StreamingHttpResponse:
        """The job's progress as server-sent events, whenever it changes, until it ends."""
        key = self.get_object().pk

        def look() -> Snapshot:
            job = Job.objects.select_related("stage").get(pk=key)
            return Snapshot(dict(JobSerializer(job).data), job.state in UNFINISHED)

        return event_stream(look, request.headers.get("Last-Event-ID", ""))
