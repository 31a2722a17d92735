"""How a round goes in and comes out."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from rest_framework import serializers

from webapi.api.schema import EXAMPLE_ID, EXAMPLE_TIME
from webapi.models import Round
from webapi.selectors.round_progress import round_funnel, round_progress
from webapi.selectors.rounds import round_spending
from workers.round_settings import RoundSettings


class RoundRequest(RoundSettings):
    """A round to launch: what it is about, and its settings."""

    policy: str = Field(description="Key of a policy, or its name (then its newest version).")
    corpus: str = Field(description="Key of a corpus, or its name.")
    name: str = Field("", max_length=200)
    seed: int = Field(0, ge=0, le=2**31 - 1)


class RoundSerializer(serializers.ModelSerializer[Round]):
    """A round in a list."""

    policy_name = serializers.CharField(source="policy", read_only=True)
    corpus_name = serializers.CharField(source="corpus.name", read_only=True)

    class Meta:
        model = Round
        fields = [
            "id",
            "name",
            "policy",
            "policy_name",
            "corpus",
            "corpus_name",
            "state",
            "seed",
            "error",
            "created_by",
            "created_at",
            "started_at",
            "finished_at",
        ]
        read_only_fields = fields


class StageSerializer(serializers.Serializer[Any]):
    """One stage. `rate` is in `unit`s a second."""

    name = serializers.CharField()
    title = serializers.CharField()
    state = serializers.CharField()
    unit = serializers.CharField()
    done = serializers.IntegerField()
    total = serializers.IntegerField()
    rate = serializers.FloatField(allow_null=True)
    eta = serializers.DateTimeField(allow_null=True)
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    seconds = serializers.FloatField(allow_null=True)
    runs = serializers.IntegerField(help_text="How often it began: 1 where nothing failed.")
    error = serializers.CharField()


class RoundProgressSerializer(serializers.Serializer[Any]):
    """Where a round stands."""

    id = serializers.CharField()
    name = serializers.CharField()
    state = serializers.CharField()
    headline = serializers.CharField(help_text="One sentence in words.")
    eta = serializers.DateTimeField(allow_null=True, help_text="When the stage under way ends.")
    current = serializers.CharField(allow_null=True)
    stages = StageSerializer(many=True)
    finished_stages = serializers.IntegerField()
    error = serializers.CharField()


class FunnelSerializer(serializers.Serializer[Any]):
    """How many snippets got this far."""

    key = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    count = serializers.IntegerField()


class RoundDetailSerializer(RoundSerializer):
    """A round with everything that can be watched of it."""

    settings = serializers.DictField(source="config", read_only=True)
    progress = RoundProgressSerializer(read_only=True)
    funnel = FunnelSerializer(many=True, read_only=True)
    spending = serializers.DictField(
        read_only=True, allow_null=True, help_text="Paid to endpoints by the finished stages, by model; money in USD."
    )
    summary = serializers.DictField(read_only=True, help_text="Before and after, once the report is written.")

    class Meta(RoundSerializer.Meta):
        fields = [*RoundSerializer.Meta.fields, "settings", "progress", "funnel", "spending", "summary"]
        read_only_fields = fields


class RoundReportSerializer(serializers.Serializer[Any]):
    """A round's report. Every rate in it is `{estimate, low, high, level, method, failures, n}`."""

    html = serializers.URLField()
    report = serializers.DictField()


def round_detail(round_: Round) -> dict[str, Any]:
    """One round as plain data. Seven queries, whatever its size."""
    return {
        **RoundSerializer(round_).data,
        "settings": round_.config,
        "progress": RoundProgressSerializer(round_progress(round_)).data,
        "funnel": FunnelSerializer(round_funnel(round_), many=True).data,
        "spending": round_spending(round_),
        "summary": round_.summary,
    }


STAGE: dict[str, Any] = {
    "name": "label",
    "title": "Label",
    "state": "waiting",
    "unit": "labels",
    "done": 412,
    "total": 600,
    "rate": 0.2,
    "eta": "2026-11-21T09:45:40Z",
    "started_at": EXAMPLE_TIME,
    "finished_at": None,
    "seconds": 1810.0,
    "runs": 1,
    "error": "",
}
EVENT: dict[str, Any] = {
    "id": EXAMPLE_ID,
    "name": "Round 4",
    "state": "running",
    "headline": "Round 4 is labelling: 412 of 600",
    "eta": STAGE["eta"],
    "current": "label",
    "stages": [STAGE],
    "finished_stages": 10,
    "error": "",
}
ROW: dict[str, Any] = {
    "id": EXAMPLE_ID,
    "name": "Round 4",
    "policy": EXAMPLE_ID,
    "policy_name": "injury v1",
    "corpus": EXAMPLE_ID,
    "corpus_name": "eight books",
    "state": "running",
    "seed": 0,
    "error": "",
    "created_by": EXAMPLE_ID,
    "created_at": EXAMPLE_TIME,
    "started_at": EXAMPLE_TIME,
    "finished_at": None,
}
ASKED: dict[str, Any] = {"policy": "injury", "corpus": "eight books", "seed": 1, "target_kl": 0.5}
DETAIL: dict[str, Any] = {
    **ROW,
    "settings": {"target_kl": 0.5},
    "progress": EVENT,
    "funnel": [{"key": "corpus", "label": "Drawn from the corpus", "count": 6000}],
    "spending": {"my-model": {"requests": 40, "prompt_tokens": 9000, "completion_tokens": 4100, "money": 0.004}},
    "summary": {},
}
