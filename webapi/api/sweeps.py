"""Sweeps: learning rates x seeds on one dataset snapshot, of which the run that misses least is picked."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_view
from pydantic import Field
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from webapi.api.base import Resource
from webapi.api.fields import ClassifierField, RateSerializer
from webapi.api.filters import ByPeriod
from webapi.api.schema import EXAMPLE_ID, EXAMPLE_TIME, example
from webapi.models import DatasetSnapshot, Round, Sweep, TrainingRun
from webapi.selectors.sweeps import runs_ranked, sweep_progress, sweeps_listed
from webapi.services.sweeps import sweep_cancel, sweep_create, sweep_retry
from workers.sweep_settings import SweepSettings
from workers.training_sweeps import logs_of


class SweepRequest(SweepSettings):
    """A sweep to launch. Of `recipe`, what is not named is the classifier's, or the round's."""

    classifier: str | None = Field(
        None, description="Key of the classifier whose snapshot and recipe are swept; the picked one's parent."
    )
    snapshot: str | None = Field(None, description="Or the key of any snapshot.")
    round: str | None = Field(
        None, description="Key of the round whose validation prompts set thresholds; by default the snapshot's."
    )
    name: str = Field("sweep", max_length=64, description="Condition of the picked classifier; once a round.")


class SweepTarget(serializers.Serializer[Any]):
    """What is swept."""

    classifier = ClassifierField(required=False, allow_null=True, default=None)
    snapshot = serializers.PrimaryKeyRelatedField(
        queryset=DatasetSnapshot.objects.all(), required=False, allow_null=True, default=None
    )
    round = serializers.PrimaryKeyRelatedField(
        queryset=Round.objects.all(), required=False, allow_null=True, default=None
    )
    name = serializers.CharField(default="sweep", max_length=64)


class SweepResultSerializer(serializers.Serializer[Any]):
    """What was picked. `fnr` chose, and is too low on average; `fnr_confirmed` is of the half that had no say."""

    runs = serializers.IntegerField()
    succeeded = serializers.IntegerField()
    failed = serializers.IntegerField()
    position = serializers.IntegerField()
    learning_rate = serializers.FloatField()
    seed = serializers.IntegerField()
    sources = serializers.ListField(child=serializers.CharField(), help_text="Weighed alike in the mean.")
    fnr = RateSerializer()
    fnr_confirmed = RateSerializer()
    classifier = serializers.UUIDField()
    note = serializers.CharField()


class SweepSerializer(serializers.ModelSerializer[Sweep]):
    """A sweep: `done` of `total` runs have ended."""

    done = serializers.SerializerMethodField()
    total = serializers.SerializerMethodField()
    config = serializers.DictField(read_only=True)
    result = serializers.SerializerMethodField()

    class Meta:
        model = Sweep
        fields = [
            "id",
            "policy",
            "snapshot",
            "round",
            "swept_from",
            "name",
            "state",
            "done",
            "total",
            "config",
            "error",
            "result",
            "created_by",
            "created_at",
            "finished_at",
        ]
        read_only_fields = fields

    def get_done(self, row: Sweep) -> int:
        """Runs that have ended, well or not."""
        return sweep_progress(row).done

    def get_total(self, row: Sweep) -> int:
        """Runs."""
        return sweep_progress(row).total

    @extend_schema(responses=SweepResultSerializer(allow_null=True))
    def get_result(self, row: Sweep) -> dict[str, Any] | None:
        """Null until it has ended well."""
        return SweepResultSerializer(row.result).data if row.result else None


class RunSerializer(serializers.ModelSerializer[TrainingRun]):
    """A training of a sweep. `fnr`: at the threshold that costs the wanted KL, on the half of the mix that chooses."""

    recipe = serializers.DictField(read_only=True)
    metrics = serializers.DictField(
        read_only=True, help_text="`training`, `calibration`, and on each half, `choosing` and `confirming`, the rates."
    )
    curve = serializers.ListField(child=serializers.DictField(), read_only=True)
    environment = serializers.DictField(read_only=True)
    sha256 = serializers.CharField(source="artifact.sha256", read_only=True, allow_null=True, default=None)
    logs = serializers.SerializerMethodField()

    class Meta:
        model = TrainingRun
        fields = [
            "id",
            "position",
            "learning_rate",
            "seed",
            "state",
            "error",
            "fnr",
            "log_loss",
            "threshold",
            "metrics",
            "curve",
            "recipe",
            "environment",
            "sha256",
            "classifier",
            "logs",
            "started_at",
            "finished_at",
        ]
        read_only_fields = fields

    def get_logs(self, row: TrainingRun) -> str:
        """Folder of its TensorBoard files, on the worker that trained it."""
        return str(logs_of(row))


class SweepFilter(ByPeriod):
    """Filters of the list."""

    class Meta:
        model = Sweep
        fields = ["policy", "round", "snapshot", "state"]


RATE: dict[str, Any] = {
    "estimate": 0.09,
    "low": 0.03,
    "high": 0.22,
    "level": 0.95,
    "method": "Fay-Feuer gamma over 5 clusters with misses",
    "failures": 9,
    "n": 71,
}
RESULT: dict[str, Any] = {
    "runs": 25,
    "succeeded": 25,
    "failed": 0,
    "position": 17,
    "learning_rate": 0.000424,
    "seed": 2,
    "sources": ["in distribution", "paraphrase"],
    "fnr": RATE,
    "fnr_confirmed": {**RATE, "estimate": 0.13, "failures": 12},
    "classifier": EXAMPLE_ID,
    "note": "The run was picked for its rate on one half of the validation mix, …",
}
ROW: dict[str, Any] = {
    "id": EXAMPLE_ID,
    "policy": EXAMPLE_ID,
    "snapshot": EXAMPLE_ID,
    "round": EXAMPLE_ID,
    "swept_from": EXAMPLE_ID,
    "name": "sweep",
    "state": "succeeded",
    "done": 25,
    "total": 25,
    "config": {"learning_rates": [], "seeds": [0, 1, 2, 3, 4]},
    "error": "",
    "result": RESULT,
    "created_by": EXAMPLE_ID,
    "created_at": EXAMPLE_TIME,
    "finished_at": EXAMPLE_TIME,
}
RUN: dict[str, Any] = {
    "id": EXAMPLE_ID,
    "position": 17,
    "learning_rate": 0.000424,
    "seed": 2,
    "state": "succeeded",
    "error": "",
    "fnr": 0.09,
    "log_loss": 0.31,
    "threshold": 0.21,
    "metrics": {"choosing": {"fnr": RATE}},
    "curve": [{"step": 120, "examples": 1920, "training_loss": 0.21, "validation_loss": 0.33}],
    "recipe": {"epochs": 2},
    "environment": {"python": "3.11.9"},
    "sha256": "9f2c…",
    "classifier": EXAMPLE_ID,
    "logs": "/var/gauntlet/sweeps/…/logs/017 rate 0.000424 seed 2",
    "started_at": EXAMPLE_TIME,
    "finished_at": EXAMPLE_TIME,
}
ASKED: dict[str, Any] = {
    "classifier": EXAMPLE_ID,
    "learning_rates": [0.0002, 0.0003, 0.0004],
    "seeds": [0, 1, 2],
    "label": {"in_distribution": 300, "seeds": 150, "draws": 4},
}


@extend_schema_view(
    list=extend_schema(examples=example(ROW, status=200)), retrieve=extend_schema(examples=example(ROW, status=200))
)
class Sweeps(Resource[Sweep]):
    """Sweeps."""

    resource = "sweeps"
    queryset = sweeps_listed()
    filterset_class = SweepFilter
    serializer_class = SweepSerializer

    def list(self, request: Request) -> Response:
        """Sweeps, a page at a time."""
        return self.listed(self.get_queryset())

    def retrieve(self, request: Request, pk: str) -> Response:
        """One sweep, how far it is and what was picked."""
        return Response(self.get_serializer(self.get_object()).data)

    @extend_schema(
        request=SweepRequest,
        responses={202: SweepSerializer},
        examples=[*example(ASKED), *example({**ROW, "state": "pending", "done": 0, "result": None}, status=202)],
    )
    def create(self, request: Request) -> Response:
        """Launches a sweep; each run is a job. Runs are compared on what is labelled of the validation split; with
        `label`, more of it is written and sent out first. Watch `state` and `done`.
        """
        data = dict(request.data) if isinstance(request.data, dict) else {}
        target = {name: data.pop(name) for name in map(str, SweepTarget().fields) if name in data}
        about = self.input(SweepTarget, target)
        about["round_"] = about.pop("round")
        return self._shown(sweep_create(settings=data, created_by=self.user, **about), status=202)

    @extend_schema(request=None, responses=SweepSerializer, examples=example({**ROW, "state": "cancelled"}, status=200))
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """Ends a sweep; runs that have finished stay."""
        return self._shown(sweep_cancel(sweep=self.get_object()))

    @extend_schema(request=None, responses=SweepSerializer, examples=example({**ROW, "state": "running"}, status=200))
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, pk: str) -> Response:
        """Sets a sweep that failed or was cancelled going again; runs that have finished are not repeated."""
        return self._shown(sweep_retry(sweep=self.get_object()))

    @extend_schema(responses=RunSerializer(many=True), examples=example([RUN], status=200))
    @action(detail=True, filter_backends=[], pagination_class=None)
    def runs(self, request: Request, pk: str) -> Response:
        """Every run with its curve and rates, the one that misses least first; at most 400."""
        return Response(RunSerializer(runs_ranked(self.get_object()), many=True).data)

    def _shown(self, row: Sweep, status: int = 200) -> Response:
        return Response(self.get_serializer(row).data, status=status)
