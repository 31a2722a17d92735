"""Imports: snippets from a file, as a job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from webapi.api.base import Resource, StrictSerializer
from webapi.api.fields import PolicyField
from webapi.api.jobs import ROW, JobFilter, JobSerializer
from webapi.api.parsing import JsonBody
from webapi.api.schema import example
from webapi.models import Job, Source
from webapi.services.transfers import IMPORT, import_create
from workers.table_files import READERS


class ImportInput(StrictSerializer):
    """A file to import, uploaded or on the server.

    Each row holds `completion` and, where there are any, `prompt`, `source`, `external_id` and `parent` (the key of
    the snippet that it was made from). Other columns are left aside and named in the job's result.
    """

    policy = PolicyField()
    file = serializers.FileField(required=False, allow_empty_file=True, help_text="As multipart/form-data.")
    path = serializers.CharField(required=False, max_length=1000, help_text="Of a file on the server.")
    format = serializers.ChoiceField(
        list(READERS), required=False, help_text="As the file's suffix says, unless given."
    )
    on_error = serializers.ChoiceField(
        ["stop", "skip"],
        default="stop",
        help_text="`stop`: the first bad line ends the job, nothing is written. `skip`: bad lines are left out.",
    )
    source = serializers.ChoiceField(  # type: ignore[assignment]
        Source.choices, default=Source.MANUAL, help_text="Of rows that do not say."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """The format is known."""
        if "format" not in attrs:
            name = attrs["file"].name if "file" in attrs else attrs.get("path", "")
            suffix = Path(name).suffix.removeprefix(".").lower()
            if suffix not in READERS:
                message = f"Give the format ({', '.join(READERS)}): the file's name does not say."
                raise serializers.ValidationError({"format": serializers.ErrorDetail(message, "required")})
            attrs["format"] = suffix
        return attrs


RESULT = {
    "rows": 10000,
    "created": 9990,
    "duplicates": 8,
    "refused": 2,
    "refused_by_code": {"prompt_sentences": 1, "malformed_line": 1},
    "errors": [{"line": 17, "code": "malformed_line", "message": "not JSON: Expecting value at character 1"}],
    "ignored_columns": [],
}
DONE = {**ROW, "state": "succeeded", "done": 10000, "result": RESULT}


@extend_schema_view(
    list=extend_schema(examples=example(DONE, status=200)), retrieve=extend_schema(examples=example(DONE, status=200))
)
class Imports(Resource[Job]):
    """Imports, each a job."""

    resource = "imports"
    queryset = Job.objects.select_related("stage").filter(kind=IMPORT)
    filterset_class = JobFilter
    serializer_class = JobSerializer
    parser_classes = [JsonBody, MultiPartParser]

    @property
    def max_body(self) -> int:  # type: ignore[override]
        """A file may be larger than a request."""
        is_form = (self.request.content_type or "").startswith("multipart/form-data")
        return int(settings.MAX_UPLOAD_BYTES if is_form else settings.MAX_BODY_BYTES)

    def list(self, request: Request) -> Response:
        """Imports, a page at a time."""
        return self.listed(self.get_queryset())

    def retrieve(self, request: Request, pk: str) -> Response:
        """One import: a job whose result counts rows, created, duplicates and refused, with line numbers."""
        return Response(self.get_serializer(self.get_object()).data)

    @extend_schema(
        request={"multipart/form-data": ImportInput, "application/json": ImportInput},
        responses={202: JobSerializer},
        examples=[*example({"policy": "injury", "path": "/data/snippets.jsonl"}), *example(ROW, status=202)],
    )
    def create(self, request: Request) -> Response:
        """Imports snippets from JSONL, CSV or Parquet. Importing the same file twice changes nothing."""
        data = self.input(ImportInput)
        upload = data.get("file")
        job = import_create(
            policy=data["policy"],
            file_format=data["format"],
            on_error=data["on_error"],
            source=data["source"],
            created_by=self.user,
            upload=upload,
            name=upload.name if upload else "",
            path=data.get("path", ""),
        )
        return Response(self.get_serializer(job).data, status=202)
