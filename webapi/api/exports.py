"""Exports: rows to a file, as a job."""

from __future__ import annotations

from typing import Any

from django.http import FileResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_field, extend_schema_view
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from webapi.api.base import Resource, StrictSerializer
from webapi.api.fields import PolicyField
from webapi.api.jobs import ROW, JobFilter, JobSerializer
from webapi.api.schema import EXAMPLE_ID, example
from webapi.models import Job, JobState, Source, SplitName
from webapi.selectors.agreement_filter import PARTS
from webapi.services.transfers import EXPORT, export_create, export_file
from workers.export_tables import EXPORTS
from workers.table_files import WRITERS


class ExportFilters(StrictSerializer):
    """Which rows are meant; each kind of rows knows some of these."""

    policy = PolicyField(required=False)
    batch = serializers.UUIDField(required=False)
    round = serializers.UUIDField(required=False)
    annotator = serializers.UUIDField(required=False)
    classifier = serializers.UUIDField(required=False)
    source = serializers.ChoiceField(Source.choices, required=False)  # type: ignore[assignment]
    split = serializers.ChoiceField(SplitName.choices, required=False)
    choice = serializers.CharField(required=False)
    consensus = serializers.CharField(required=False)
    vendor = serializers.CharField(required=False, max_length=64)
    since = serializers.DateTimeField(required=False, help_text="Rows made, or labels given, from this time on.")
    until = serializers.DateTimeField(required=False, help_text="Labels given before this time.")
    counted = serializers.BooleanField(required=False, help_text="Whether the answer is a vote.")
    flagged = serializers.BooleanField(required=False, help_text="Whether the annotator asks for somebody to look.")
    by = serializers.ChoiceField(list(PARTS), required=False, help_text="What parts are told apart by (`day`).")


class ExportInput(StrictSerializer):
    """What is to be exported."""

    what = serializers.ChoiceField(list(EXPORTS))
    filters = ExportFilters(
        default=dict,
        help_text="; ".join(f"{what}: {', '.join(export.filters)}" for what, export in EXPORTS.items())
        + ". Scores need a classifier; without a policy, figures are given of each.",
    )
    format = serializers.ChoiceField(list(WRITERS), default="jsonl")
    spreadsheet_safe = serializers.BooleanField(
        default=False,
        help_text="CSV for people's spreadsheets: `'` stands before a text that would be a formula, and a byte-order "
        "mark before all. Leave it false where a program reads the file.",
    )


class ExportSerializer(JobSerializer):
    """An export's job, and where its file is once it is there."""

    download = serializers.SerializerMethodField()

    class Meta(JobSerializer.Meta):
        fields = [*JobSerializer.Meta.fields, "download"]
        read_only_fields = fields

    @extend_schema_field({"type": ["string", "null"], "format": "uri"})
    def get_download(self, row: Job) -> str | None:
        """The file's address."""
        if row.state != JobState.SUCCEEDED:
            return None
        return reverse("exports-download", args=[row.pk], request=self.context["request"])


ASKED = {"what": "labels", "filters": {"policy": EXAMPLE_ID}, "format": "parquet"}
QUEUED: dict[str, Any] = {**ROW, "kind": "export_rows", "state": "queued", "done": 0, "total": 0, "download": None}
DONE: dict[str, Any] = {
    **QUEUED,
    "state": "succeeded",
    "result": {"path": "exports/….parquet", "rows": 600, "bytes": 40960, "sha256": "9f2c…"},
    "download": f"https://…/api/v1/exports/{EXAMPLE_ID}/download",
}


@extend_schema_view(
    list=extend_schema(examples=example(DONE, status=200)), retrieve=extend_schema(examples=example(DONE, status=200))
)
class Exports(Resource[Job]):
    """Exports, each a job."""

    resource = "exports"
    queryset = Job.objects.select_related("stage").filter(kind=EXPORT)
    filterset_class = JobFilter
    serializer_class = ExportSerializer

    def list(self, request: Request) -> Response:
        """Exports, a page at a time."""
        return self.listed(self.get_queryset())

    def retrieve(self, request: Request, pk: str) -> Response:
        """One export."""
        return Response(self.get_serializer(self.get_object()).data)

    @extend_schema(
        request=ExportInput,
        responses={202: ExportSerializer},
        examples=[*example(ASKED), *example(QUEUED, status=202)],
    )
    def create(self, request: Request) -> Response:
        """A job that writes the rows of one kind, as they are when it begins, to one JSONL, CSV or Parquet file.

        `agreement` has a row for each figure of `GET /metrics/agreement`, `annotators` one for each annotator and
        policy, as `GET /annotators` tells of them. The other kinds' rows come in the order of their keys; what came
        later is not among them. `download` is there once the job has succeeded.
        """
        data = self.input(ExportInput)
        job = export_create(
            what=data["what"],
            filters=data["filters"],
            file_format=data["format"],
            spreadsheet_safe=data["spreadsheet_safe"],
            created_by=self.user,
        )
        return Response(self.get_serializer(job).data, status=202)

    @extend_schema(
        responses={(200, "application/octet-stream"): OpenApiResponse(OpenApiTypes.BINARY, "The file.")},
        examples=example("{…}", status=200, media_type="application/octet-stream"),
    )
    @action(detail=True)
    def download(self, request: Request, pk: str) -> FileResponse:
        """The finished file."""
        job = self.get_object()
        name = f"{job.args['what']}-{job.pk}.{job.args['format']}"
        return FileResponse(export_file(job).open("rb"), as_attachment=True, filename=name)
