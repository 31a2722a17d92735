"""Dataset snapshots: what classifiers were trained on, and which labels that rests on."""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import urlencode

import django_filters as filters
from django.db.models import QuerySet
from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field, extend_schema_view
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.views import APIView

from webapi.api.base import Resource, StrictSerializer
from webapi.api.callbacks import Anyhow
from webapi.api.exports import describe_file
from webapi.api.file_answers import file_answer
from webapi.api.filters import Filters
from webapi.api.labels import LabelSerializer
from webapi.api.schema import EXAMPLE_ID, EXAMPLE_TIME, example
from webapi.models import DatasetSnapshot
from webapi.services.snapshots import Format, Led, snapshot_file, snapshot_labels, snapshot_signature, snapshot_signed

FORMATS: list[Format] = ["parquet", "csv"]
PAGE, MOST = 50, 500


class SnapshotSerializer(serializers.ModelSerializer[DatasetSnapshot]):
    """What a classifier was trained on. `content_hash`: of texts and labels in order, the same in any database."""

    sha256 = serializers.CharField(source="artifact.sha256", read_only=True)
    counts = serializers.DictField(read_only=True)
    datasets = serializers.DictField(read_only=True)

    class Meta:
        model = DatasetSnapshot
        fields = ["id", "condition", "size", "counts", "datasets", "content_hash", "split", "equal_size", "sha256"]
        read_only_fields = fields


class WholeSnapshotSerializer(SnapshotSerializer):
    """A snapshot with how it was made, what was left out, and where its manifest is."""

    settings = serializers.DictField(read_only=True)
    dropped = serializers.ListField(
        child=serializers.DictField(), read_only=True, help_text="Duplicates left out: snippet, why, kept."
    )
    classifiers: Any = serializers.PrimaryKeyRelatedField(source="classifier_set", many=True, read_only=True)
    download = serializers.SerializerMethodField()
    download_url = serializers.SerializerMethodField()

    class Meta(SnapshotSerializer.Meta):
        fields = [
            *SnapshotSerializer.Meta.fields,
            *("policy", "round", "trains", "seed", "settings", "dropped", "classifiers", "download", "download_url"),
            "created_at",
        ]
        read_only_fields = fields

    @extend_schema_field({"type": "string", "format": "uri"})
    def get_download(self, row: DatasetSnapshot) -> str:
        """The manifest's address, for those with a token; `?file=csv` for CSV."""
        return reverse("snapshots-download", args=[row.pk], request=self.context["request"])

    @extend_schema_field({"type": "string", "format": "uri"})
    def get_download_url(self, row: DatasetSnapshot) -> str:
        """The same for everybody who has this link, for an hour (`EXPORT_LINK_SECONDS`): hand it on with care."""
        address = reverse("snapshots-file", args=[row.pk], request=self.context["request"])
        return f"{address}?{urlencode({'signature': snapshot_signature(row)})}"


class ListedSnapshotSerializer(WholeSnapshotSerializer):
    """A snapshot as lists show it: what was left out, and by which settings, its own page says."""

    class Meta(WholeSnapshotSerializer.Meta):
        fields = [name for name in WholeSnapshotSerializer.Meta.fields if name not in ("settings", "dropped")]
        read_only_fields = fields


class LedSerializer(serializers.Serializer[Led]):
    """A row of the manifest and the labels that were there when it was made."""

    number = serializers.IntegerField(help_text="Its place in the manifest, from 0.")
    snippet = serializers.UUIDField(source="row.snippet_id")
    dataset = serializers.CharField(source="row.dataset")
    choice = serializers.CharField(source="row.choice", help_text="The consensus that was trained on.")
    labels = LabelSerializer(many=True)


class LedPageSerializer(serializers.Serializer[Any]):
    """Some rows; `next` is where they go on, null after the last."""

    next = serializers.URLField(allow_null=True)
    results = LedSerializer(many=True)


class LabelsQuery(StrictSerializer):
    """Which rows are asked for."""

    start = serializers.IntegerField(min_value=0, default=0, help_text="Number of the first row.")
    page_size = serializers.IntegerField(min_value=1, max_value=MOST, default=PAGE)


class FileQuery(StrictSerializer):
    """How the manifest is wanted."""

    file = serializers.ChoiceField(FORMATS, default="parquet")
    signature = serializers.CharField(default="")


class SnapshotFilter(Filters):
    """Filters of the list."""

    without_round = filters.BooleanFilter(method="_without_round", label="Made outside rounds, or in one.")

    class Meta:
        model = DatasetSnapshot
        fields = ["policy", "round", "condition", "content_hash"]

    def _without_round(self, rows: QuerySet[DatasetSnapshot], name: str, value: bool) -> QuerySet[DatasetSnapshot]:
        return rows.filter(round__isnull=value)


BRIEF: dict[str, Any] = {
    "id": EXAMPLE_ID,
    "condition": "+paraphrases",
    "size": 1200,
    "counts": {"generated/Yes": 190, "generated/No": 710, "paraphrase/Yes": 300},
    "datasets": {"initial": {"No": 710, "Yes": 190}, "selected": {"Yes": 300}},
    "content_hash": "4be1…",
    "split": "train",
    "equal_size": 1200,
    "sha256": "9f2c…",
}
ROW: dict[str, Any] = {
    **BRIEF,
    "policy": EXAMPLE_ID,
    "round": EXAMPLE_ID,
    "trains": True,
    "seed": 0,
    "settings": {"condition": {}, "composing": {"equal_sizes": True, "oversample": 1}},
    "dropped": [],
    "classifiers": [EXAMPLE_ID],
    "download": f"https://…/api/v1/snapshots/{EXAMPLE_ID}/download",
    "download_url": f"https://…/api/v1/snapshots/{EXAMPLE_ID}/file?signature=1w9yAb:Zk3…",
    "created_at": EXAMPLE_TIME,
}
LISTED = {name: value for name, value in ROW.items() if name not in ("settings", "dropped")}
LED: dict[str, Any] = {
    "next": f"https://…/api/v1/snapshots/{EXAMPLE_ID}/labels?start=50",
    "results": [{"number": 0, "snippet": EXAMPLE_ID, "dataset": "initial", "choice": "No", "labels": []}],
}
_FILE = OpenApiParameter("file", str, enum=FORMATS, description="`parquet` unless said otherwise.")


@extend_schema_view(
    list=extend_schema(examples=example(LISTED, status=200)), retrieve=extend_schema(examples=example(ROW, status=200))
)
class Snapshots(Resource[DatasetSnapshot]):
    """Dataset snapshots."""

    resource = "snapshots"
    queryset = DatasetSnapshot.objects.select_related("artifact").prefetch_related("classifier_set")
    filterset_class = SnapshotFilter
    serializer_class = WholeSnapshotSerializer

    def get_serializer_class(self) -> type[WholeSnapshotSerializer]:
        """Lists leave out what may be long."""
        return ListedSnapshotSerializer if self.action == "list" else WholeSnapshotSerializer

    def list(self, request: Request) -> Response:
        """Dataset snapshots, a page at a time."""
        return self.listed(self.get_queryset().defer("settings", "dropped"))

    def retrieve(self, request: Request, pk: str) -> Response:
        """One dataset snapshot."""
        return Response(self.get_serializer(self.get_object()).data)

    @extend_schema(parameters=[_FILE])
    @describe_file
    @action(detail=True, content_negotiation_class=Anyhow, filter_backends=[])
    def download(self, request: Request, pk: str) -> HttpResponseBase:
        """The manifest: a row for each snippet, with its text, root, split, source, consensus and dataset."""
        return _file(request, self.get_object())

    @extend_schema(parameters=[LabelsQuery], responses=LedPageSerializer, examples=example(LED, status=200))
    @action(detail=True, pagination_class=None, filter_backends=[])
    def labels(self, request: Request, pk: str) -> Response:
        """The labels that each row rests on and who gave them, in the manifest's order: follow `next`."""
        asked = self.input(LabelsQuery, request.query_params.dict())
        page = snapshot_labels(self.get_object(), start=asked["start"], limit=asked["page_size"])
        more = urlencode({"start": page.next, "page_size": asked["page_size"]})
        address = None if page.next is None else f"{reverse('snapshots-labels', args=[pk], request=request)}?{more}"
        return Response(LedPageSerializer({"next": address, "results": page.rows}).data)


class SnapshotFile(APIView):
    """A manifest for everybody who has the link."""

    permission_classes = [AllowAny]
    authentication_classes = []
    throttle_classes = []
    content_negotiation_class = Anyhow

    @extend_schema(
        tags=["snapshots"],
        operation_id="snapshots_file",
        auth=[],
        parameters=[OpenApiParameter("signature", str, required=True, description="As `download_url` has it."), _FILE],
    )
    @describe_file
    def get(self, request: Request, key: uuid.UUID) -> HttpResponseBase:
        """The manifest as `download_url` gives it, without a token. 404 for a wrong link, 403 for an old one."""
        return _file(request, snapshot_signed(key=key, signature=request.query_params.get("signature", "")))


def _file(request: Request, snapshot: DatasetSnapshot) -> HttpResponseBase:
    checked = FileQuery(data=request.query_params.dict())
    checked.is_valid(raise_exception=True)
    wanted: Format = checked.validated_data["file"]
    path, etag = snapshot_file(snapshot, wanted), snapshot.artifact.sha256
    name = f"{snapshot.condition.lstrip('+')}-{snapshot.pk}.{wanted}"
    return file_answer(request, path, name=name, etag=etag if wanted == "parquet" else f"{etag}-csv")
