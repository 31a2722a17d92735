"""Annotators under a policy: how well each works, and what is done about it."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from webapi.api.base import Resource, StrictSerializer
from webapi.api.csv_answers import RATE_CELLS, csv_answer, rate_cells
from webapi.api.fields import PolicyField, RateSerializer, policies_named
from webapi.api.schema import EXAMPLE_ID, EXAMPLE_TIME, example
from webapi.models import Annotator, Policy, Standing
from webapi.selectors.annotators import annotator_records, annotators_under
from webapi.services.annotators import (
    annotator_pause,
    annotator_put_back,
    annotator_resume,
    annotator_start_over,
)

POLICY = OpenApiParameter("policy", str, required=True, description="The policy's key, or its name for the newest.")
RATES = {"gold": "gold", "others": "others", "audits": "staff", "unsure": "unsure"}
"""As the API calls them, and as records do."""


class RecordsFormat(serializers.Serializer[Any]):
    """How the list is to be answered."""

    format = serializers.ChoiceField(["json", "csv"], default="json")


class RecordSerializer(serializers.Serializer[Any]):
    """An annotator under a policy. Rates count what is right, or the same; their `failures` are those counts."""

    id = serializers.UUIDField(source="annotator.pk")
    name = serializers.CharField(source="annotator.name")
    vendor = serializers.CharField(source="annotator.vendor", help_text="Empty: a person with an account here.")
    staff = serializers.BooleanField(source="annotator.staff")
    simulated = serializers.BooleanField(source="annotator.simulated")
    state = serializers.CharField(help_text="qualifying, qualified or paused.")
    reason = serializers.CharField()
    labels = serializers.IntegerField(help_text="That count, gold aside.")
    gold = RateSerializer(help_text="Right answers to gold.")
    others = RateSerializer(help_text="Answers equal to the majority of the others on the same snippet.")
    audits = RateSerializer(source="staff_rate", help_text="Answers equal to a trusted labeler's on the same snippet.")
    unsure = RateSerializer(help_text="Answers between the first choice and the last.")
    seconds = serializers.FloatField(
        allow_null=True, help_text="Median time of an answer; breaks of over ten minutes left out."
    )
    last = serializers.DateTimeField(allow_null=True)


class OneRecordSerializer(RecordSerializer):
    """The same, with where the answers differ from the others'."""

    choices = serializers.ListField(child=serializers.CharField())
    confusion = serializers.ListField(
        child=serializers.ListField(child=serializers.IntegerField()),
        help_text="By the others' majority (rows) and the annotator's answer (columns), in the order of `choices`.",
    )


class StandingInput(StrictSerializer):
    """Under which policy."""

    policy = PolicyField()


class PauseInput(StandingInput):
    """Under which policy, and why."""

    reason = serializers.CharField(max_length=1000, help_text="The annotator is told.")


class StandingNowSerializer(serializers.ModelSerializer[Standing]):
    """How the annotator stands now."""

    class Meta:
        model = Standing
        fields = ["annotator", "policy", "state", "reason", "since"]
        read_only_fields = fields


class PutBackSerializer(serializers.Serializer[Any]):
    """What became of the labels and comparisons."""

    withdrawn = serializers.IntegerField(help_text="Labels and comparisons that count no more.")
    reopened = serializers.IntegerField(help_text="Tasks that want an answer again.")


RATE = {
    "estimate": 0.9,
    "low": 0.683,
    "high": 0.988,
    "level": 0.95,
    "method": "clopper_pearson",
    "failures": 18,
    "n": 20,
}
ROW: dict[str, Any] = {
    "id": EXAMPLE_ID,
    "name": "ada",
    "vendor": "",
    "staff": False,
    "simulated": False,
    "state": "qualified",
    "reason": "10 of 10 gold answers right",
    "labels": 412,
    "gold": RATE,
    "others": RATE,
    "audits": RATE,
    "unsure": RATE,
    "seconds": 14.2,
    "last": EXAMPLE_TIME,
}
ONE = {**ROW, "choices": ["Yes", "Unsure", "No"], "confusion": [[40, 2, 1], [3, 9, 2], [2, 4, 90]]}
STANDING = {
    "annotator": EXAMPLE_ID,
    "policy": EXAMPLE_ID,
    "state": "paused",
    "reason": "hurried",
    "since": EXAMPLE_TIME,
}


class Annotators(Resource[Annotator]):
    """Annotators."""

    resource = "annotators"
    queryset = Annotator.objects.all()
    filter_backends = ()
    serializer_class = RecordSerializer

    @extend_schema(
        parameters=[POLICY, RecordsFormat],
        responses={(200, "application/json"): RecordSerializer(many=True), (200, "text/csv"): OpenApiTypes.STR},
        examples=[
            *example(ROW, status=200),
            *example("id,name,vendor,staff,…", name="CSV", status=200, media_type="text/csv"),
        ],
    )
    def list(self, request: Request) -> HttpResponseBase:
        """Annotators who worked under the policy, a page at a time, the newest first. As CSV all of them."""
        policy = self._policy()
        if self.input(RecordsFormat, request.query_params.dict())["format"] == "csv":
            return _csv(policy)
        page = self.paginate_queryset(annotators_under(policy))
        shown = [_flat(record) for record in annotator_records(policy, list(page or []))]
        return self.get_paginated_response(RecordSerializer(shown, many=True).data)

    @extend_schema(parameters=[POLICY], responses=OneRecordSerializer, examples=example(ONE, status=200))
    def retrieve(self, request: Request, pk: str) -> Response:
        """One annotator under the policy."""
        policy = self._policy()
        (record,) = annotator_records(policy, [self.get_object()])
        return Response(OneRecordSerializer({**_flat(record), "choices": policy.rules.choices}).data)

    @extend_schema(
        request=PauseInput,
        responses=StandingNowSerializer,
        examples=[*example({"policy": "injury", "reason": "hurried"}), *example(STANDING, status=200)],
    )
    @action(detail=True, methods=["post"])
    def pause(self, request: Request, pk: str) -> Response:
        """Gives no further task under the policy and gives back what is held."""
        return self._moved(annotator_pause(annotator=self.get_object(), **self.input(PauseInput)))

    @extend_schema(
        request=StandingInput,
        responses=StandingNowSerializer,
        examples=[*example({"policy": "injury"}), *example(STANDING, status=200)],
    )
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, pk: str) -> Response:
        """Back to work with a clean slate."""
        return self._moved(annotator_resume(annotator=self.get_object(), **self.input(StandingInput)))

    @extend_schema(
        request=StandingInput,
        responses=StandingNowSerializer,
        examples=[*example({"policy": "injury"}), *example(STANDING, status=200)],
    )
    @action(detail=True, methods=["post"])
    def start_over(self, request: Request, pk: str) -> Response:
        """Back to the entrance test, on gold that was not answered before."""
        return self._moved(annotator_start_over(annotator=self.get_object(), **self.input(StandingInput)))

    @extend_schema(
        request=StandingInput,
        responses=PutBackSerializer,
        examples=[*example({"policy": "injury"}), *example({"withdrawn": 40, "reopened": 38}, status=200)],
    )
    @action(detail=True, methods=["post"])
    def put_back(self, request: Request, pk: str) -> Response:
        """Takes labels and comparisons since the last right answer to gold out of the count, and asks them again."""
        done = annotator_put_back(annotator=self.get_object(), **self.input(StandingInput))
        return Response(PutBackSerializer(done).data)

    def _policy(self) -> Policy:
        return policies_named(self.actor, self.request.query_params.get("policy", ""))[0]

    def _moved(self, standing: Standing) -> Response:
        return Response(StandingNowSerializer(standing).data)


def _csv(policy: Policy) -> HttpResponse:
    plain = ("id", "name", "vendor", "staff", "simulated", "state", "reason", "labels", "seconds", "last")
    header = (*plain, *(f"{rate}_{name}" for rate in RATES for name in RATE_CELLS))
    records = annotator_records(policy, list(annotators_under(policy).order_by("-pk")))
    shown = RecordSerializer([_flat(record) for record in records], many=True).data
    rows = (
        (
            *("" if row[name] is None else str(row[name]) for name in plain),
            *(cell for rate in RATES.values() for cell in rate_cells(getattr(record, rate).as_dict())),
        )
        for record, row in zip(records, shown, strict=True)
    )
    return csv_answer("annotators", header, rows)


def _flat(record: Any) -> dict[str, Any]:
    names = ("state", "reason", "labels", "seconds", "last", "confusion")
    rates = {name: getattr(record, name).as_dict() for name in ("gold", "others", "unsure")}
    plain = {name: getattr(record, name) for name in names}
    return {**plain, **rates, "annotator": record.annotator, "staff_rate": record.staff.as_dict()}
