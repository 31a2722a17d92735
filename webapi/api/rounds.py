"""Rounds: launched, watched, paused, resumed, retried, cancelled."""

from __future__ import annotations

from typing import Any

from django.http import FileResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.utils.urls import replace_query_param

from webapi.api.base import Resource
from webapi.api.events import EventRenderer, Snapshot, describe_events, event_stream
from webapi.api.fields import CorpusField, PolicyField
from webapi.api.filters import ByPeriod
from webapi.api.round_selection import (
    EXAMPLE,
    RoundSelectionSerializer,
    SelectionQuery,
    found_selection,
    selection_csv,
    selection_json,
    selection_page,
)
from webapi.api.round_shapes import (
    ASKED,
    DETAIL,
    ROW,
    RoundDetailSerializer,
    RoundReportSerializer,
    RoundRequest,
    RoundSerializer,
    round_detail,
)
from webapi.api.schema import example
from webapi.models import Round
from webapi.selectors.round_progress import round_progress
from webapi.selectors.rounds import rounds_listed
from webapi.services import rounds as services
from webapi.services.reports import REPORT_HTML, report_data, report_file
from workers.round_settings import RoundSettings

REPORT_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
    "sandbox allow-scripts"
)
"""The report is one file with its own scripts; it runs apart from this site."""


class RoundTarget(serializers.Serializer[Any]):
    """What a round is about."""

    policy = PolicyField()
    corpus = CorpusField()
    name = serializers.CharField(max_length=200, allow_blank=True, default="")
    seed = serializers.IntegerField(min_value=0, max_value=2**31 - 1, default=0)


class RoundFilter(ByPeriod):
    """Filters of the list."""

    class Meta:
        model = Round
        fields = ["policy", "corpus", "state", "created_by"]


_move = extend_schema(request=None, responses=RoundDetailSerializer, examples=example(DETAIL, status=200))


@extend_schema_view(list=extend_schema(examples=example(ROW, status=200)))
class Rounds(Resource[Round]):
    """Rounds."""

    resource = "rounds"
    queryset = rounds_listed()
    filterset_class = RoundFilter
    serializer_class = RoundSerializer

    def list(self, request: Request) -> Response:
        """Rounds, a page at a time."""
        return self.listed(self.get_queryset())

    @extend_schema(responses=RoundDetailSerializer, examples=example(DETAIL, status=200))
    def retrieve(self, request: Request, pk: str) -> Response:
        """One round: its settings, its stages with progress, its funnel, and its summary once it has one."""
        return self._shown(self.get_object())

    @extend_schema(
        request=RoundRequest,
        responses={201: RoundDetailSerializer},
        examples=[*example(ASKED), *example(DETAIL, status=201)],
    )
    def create(self, request: Request) -> Response:
        """Launches a round. What is not said of its settings is as the schema's defaults have it."""
        data = dict(request.data) if isinstance(request.data, dict) else {}
        target = {name: data.pop(name) for name in map(str, RoundTarget().fields) if name in data}
        about = self.input(RoundTarget, target)
        wanted = RoundSettings.model_validate(data)
        round_ = services.round_create(settings=wanted.model_dump(mode="json"), created_by=self.user, **about)
        return self._shown(round_, status=201)

    @_move
    @action(detail=True, methods=["post"])
    def pause(self, request: Request, pk: str) -> Response:
        """Lets the jobs under way end and begins no other."""
        return self._shown(services.round_pause(round_=self.get_object()))

    @_move
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, pk: str) -> Response:
        """Goes on where it was paused."""
        return self._shown(services.round_resume(round_=self.get_object()))

    @_move
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, pk: str) -> Response:
        """Runs the failed stage again, without what had succeeded of it."""
        return self._shown(services.round_retry(round_=self.get_object()))

    @_move
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """Ends the round for good; labels and scores stay."""
        return self._shown(services.round_cancel(round_=self.get_object()))

    @describe_events
    @action(detail=True, renderer_classes=[EventRenderer, JSONRenderer])
    def events(self, request: Request, pk: str) -> StreamingHttpResponse:
        """The round's progress as server-sent events, whenever it changes, until it ends."""
        round_ = self.get_object()

        def look() -> Snapshot:
            progress = round_progress(Round.objects.get(pk=round_.pk))
            return Snapshot(progress.as_json(), progress.moving)

        return event_stream(look, request.headers.get("Last-Event-ID", ""))

    @extend_schema(
        responses=RoundReportSerializer,
        examples=example({"html": "https://…/api/v1/rounds/…/report.html", "report": {}}, status=200),
    )
    @action(detail=True)
    def report(self, request: Request, pk: str) -> Response:
        """The report's figures, and where its page is."""
        round_ = self.get_object()
        link = reverse("rounds-report-html", args=[round_.pk], request=request)
        return Response({"html": link, "report": report_data(round_)})

    @extend_schema(
        responses={(200, "text/html"): OpenApiResponse(OpenApiTypes.STR, "The report, one file.")},
        examples=example("<!doctype html>…", status=200, media_type="text/html"),
    )
    @action(detail=True, url_path=r"report\.html", url_name="report-html")
    def report_html(self, request: Request, pk: str) -> FileResponse:
        """The report as a page of its own."""
        file = report_file(self.get_object(), REPORT_HTML).open("rb")
        headers = {"Content-Security-Policy": REPORT_POLICY}
        return FileResponse(file, content_type="text/html; charset=utf-8", headers=headers)

    @extend_schema(
        parameters=[SelectionQuery],
        responses={(200, "application/json"): RoundSelectionSerializer, (200, "text/csv"): OpenApiTypes.STR},
        examples=[
            *example(EXAMPLE, status=200),
            *example("snippet,pool,status,reason,…", name="CSV", status=200, media_type="text/csv"),
        ],
    )
    @action(detail=True, filter_backends=[], pagination_class=None)
    def selection(self, request: Request, pk: str) -> HttpResponseBase:
        """Why the round chose what it sent out: for each snippet it could have chosen its score, what it was worth, the
        nearest labelled and chosen ones, and the reason. A page as CSV has `next` in its header `Link`.
        """
        found = found_selection(self.get_object())
        query = self.input(SelectionQuery, request.query_params.dict())
        page = selection_page(found, query)
        following, before = (self._page_link(request, place) for place in (page.next, page.previous))
        if query["format"] == "csv":
            answer = selection_csv(page)
            if following:
                answer["Link"] = f'<{following}>; rel="next"'
            return answer
        return Response(RoundSelectionSerializer(selection_json(found, page, following, before)).data)

    def _page_link(self, request: Request, place: int | None) -> str | None:
        return None if place is None else replace_query_param(request.build_absolute_uri(), "cursor", place)

    def _shown(self, round_: Round, status: int = 200) -> Response:
        return Response(round_detail(round_), status=status)
