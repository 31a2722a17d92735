"""Exports: rows to a file, as a job."""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import urlencode

from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
    extend_schema_field,
    extend_schema_view,
)
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.views import APIView

from webapi.api.base import Resource, StrictSerializer
from webapi.api.callbacks import Anyhow
from webapi.api.fields import PolicyField
from webapi.api.file_answers import file_answer
from webapi.api.jobs import ROW, JobFilter, JobSerializer
from webapi.api.schema import EXAMPLE_ID, example
from webapi.models import Job, JobState, Source, SplitName
from webapi.selectors.agreement_filter import PARTS
from webapi.services.transfers import EXPORTED, export_create, export_file, export_signature, export_signed
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
    vendor = serializers.CharField(
        required=False, max_length=64, help_text="The annotators' vendor; `none`: people with an account here."
    )
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
    download_url = serializers.SerializerMethodField()

    class Meta(JobSerializer.Meta):
        fields = [*JobSerializer.Meta.fields, "download", "download_url"]
        read_only_fields = fields

    @extend_schema_field({"type": ["string", "null"], "format": "uri"})
    def get_download(self, row: Job) -> str | None:
        """The file's address, for those with a token."""
        return self._address("exports-download", row)

    @extend_schema_field({"type": ["string", "null"], "format": "uri"})
    def get_download_url(self, row: Job) -> str | None:
        """The same for everybody who has this link, for an hour (`EXPORT_LINK_SECONDS`): hand it on with care."""
        address = self._address("exports-file", row)
        return address and f"{address}?{urlencode({'signature': export_signature(row)})}"

    def _address(self, view: str, row: Job) -> str | None:
        if row.state != JobState.SUCCEEDED:
            return None
        return reverse(view, args=[row.pk], request=self.context["request"])


ASKED = {"what": "labels", "filters": {"policy": EXAMPLE_ID}, "format": "parquet"}
QUEUED: dict[str, Any] = {
    **ROW,
    "kind": "export_rows",
    "state": "queued",
    "done": 0,
    "total": 0,
    **dict.fromkeys(("download", "download_url")),
}
DONE: dict[str, Any] = {
    **QUEUED,
    "state": "succeeded",
    "result": {"path": "exports/….parquet", "rows": 600, "bytes": 40960, "sha256": "9f2c…"},
    "download": f"https://…/api/v1/exports/{EXAMPLE_ID}/download",
    "download_url": f"https://…/api/v1/exports/{EXAMPLE_ID}/file?signature=1w9yAb:Zk3…",
}
_SIGNATURE = OpenApiParameter("signature", str, required=True, description="As `download_url` has it.")


describe_file = extend_schema(
    parameters=[
        OpenApiParameter("Range", str, OpenApiParameter.HEADER, description="One range of bytes; several are ignored."),
        OpenApiParameter(
            "If-Range", str, OpenApiParameter.HEADER, description="The range only if the file has this ETag."
        ),
        OpenApiParameter("If-None-Match", str, OpenApiParameter.HEADER, description="304 if the file has this ETag."),
    ],
    responses={
        (200, "application/octet-stream"): OpenApiResponse(OpenApiTypes.BINARY, "The file."),
        (206, "application/octet-stream"): OpenApiResponse(OpenApiTypes.BINARY, "The range."),
        304: OpenApiResponse(description="It is the same."),
    },
    examples=example("{…}", status=200, media_type="application/octet-stream"),
)


@extend_schema_view(
    list=extend_schema(examples=example(DONE, status=200)), retrieve=extend_schema(examples=example(DONE, status=200))
)
class Exports(Resource[Job]):
    """Exports, each a job."""

    resource = "exports"
    queryset = Job.objects.select_related("stage").filter(kind__in=EXPORTED)
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

    @describe_file
    @action(detail=True, content_negotiation_class=Anyhow)
    def download(self, request: Request, pk: str) -> HttpResponseBase:
        """The finished file, or the range of it that `Range` asks for; `ETag` is its SHA-256."""
        return _file(request, self.get_object())


class ExportFile(APIView):
    """A finished file for everybody who has the link. The signature is not in the path, which is what Django logs."""

    permission_classes = [AllowAny]
    authentication_classes = []
    throttle_classes = []
    content_negotiation_class = Anyhow

    @extend_schema(tags=["exports"], operation_id="exports_file", auth=[], parameters=[_SIGNATURE])
    @describe_file
    def get(self, request: Request, key: uuid.UUID) -> HttpResponseBase:
        """The finished file as `download_url` gives it, without a token. 404 for a wrong link, 403 for an old one."""
        return _file(request, export_signed(key=key, signature=request.query_params.get("signature", "")))


def _file(request: Request, job: Job) -> HttpResponseBase:
    path, name = export_file(job), f"{job.args['what']}-{job.pk}.{job.args['format']}"
    return file_answer(request, path, name=name, etag=job.result["sha256"])
