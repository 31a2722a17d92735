"""Attacks: launched on a classifier, watched, compared by what they yield."""

from __future__ import annotations

from typing import Any

import django_filters as filters
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from pydantic import Field
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from engine.attacks import ATTACKS
from webapi.api.base import Resource
from webapi.api.fields import ClassifierField, RateSerializer
from webapi.api.filters import ByPeriod
from webapi.api.pagination import ByCursor
from webapi.api.schema import EXAMPLE_ID, EXAMPLE_TIME, example
from webapi.models import Attack, AttackCandidate
from webapi.selectors.attacks import attack_progress, attacks_listed, spending_of, strong, yield_of
from webapi.services.attacks import attack_cancel, attack_create
from workers.attack_alone import LoneAttack

MAX_COMPARED = 50
"""Attacks whose yields one request tells."""


class ByStrength(ByCursor):
    """The strongest first."""

    def get_ordering(self, request: Request, queryset: QuerySet[Any], view: Any) -> tuple[str, ...]:
        """Strength, and the key between equals."""
        return ("-strength", "id")


class AttackRequest(LoneAttack):
    """An attack to launch."""

    classifier: str = Field(description="Key of the classifier to attack.")
    second_opinion: str | None = Field(
        None, description="Key of another classifier: finds are ranked by how far the two disagree on them."
    )


class AttackTarget(serializers.Serializer[Any]):
    """What is attacked."""

    classifier = ClassifierField()
    second_opinion = ClassifierField(required=False, allow_null=True, default=None)


class AttackSerializer(serializers.ModelSerializer[Attack]):
    """An attack in a list. `done` of `seeds` known failures are attacked."""

    done = serializers.SerializerMethodField()
    budget = serializers.DictField(read_only=True)

    class Meta:
        model = Attack
        fields = [
            "id",
            "policy",
            "classifier",
            "round",
            "role",
            "name",
            "title",
            "state",
            "seeds",
            "done",
            "budget",
            "error",
            "created_by",
            "created_at",
            "finished_at",
        ]
        read_only_fields = fields

    def get_done(self, row: Attack) -> int:
        """Seeds done."""
        return attack_progress(row).done


class YieldSerializer(serializers.Serializer[Any]):
    """What people said of an attack's finds, as far as they are labelled. Intervals take seeds as what was sampled."""

    seeds = serializers.IntegerField()
    open_seeds = serializers.IntegerField(help_text="Seeds with finds of which none is labelled yet.")
    unreached = serializers.IntegerField(help_text="Seeds that the budget ended before; left out of seeds_broken.")
    accepted_unedited = serializers.IntegerField(help_text="Seeds that the classifier accepts as they stand.")
    candidates = serializers.IntegerField()
    labelled = serializers.IntegerField()
    failures = serializers.IntegerField(help_text="Labelled the policy's failure.")
    labels = serializers.IntegerField()
    label_seconds = serializers.FloatField()
    queries = serializers.IntegerField()
    seconds = serializers.FloatField(help_text="Wall time of the attack.")
    per_candidate = RateSerializer(help_text="Failures among the labelled finds.")
    per_1000_queries = RateSerializer(allow_null=True)
    per_minute = RateSerializer(allow_null=True, help_text="Failures a minute of labelling.")
    seeds_broken = RateSerializer(help_text="Seeds with a find labelled a failure, or accepted as they stand.")
    mean_similarity = serializers.FloatField(allow_null=True)
    mean_edits = serializers.FloatField(allow_null=True)
    queries_per_candidate = serializers.FloatField(allow_null=True)


class SpendingSerializer(serializers.Serializer[Any]):
    """What an attack paid to endpoints. `money`: US dollars, null where a price is not known."""

    requests = serializers.IntegerField()
    reused = serializers.IntegerField(help_text="Answered from what an earlier attack paid for.")
    tokens = serializers.IntegerField()
    money = serializers.FloatField(allow_null=True)


class AttackDetailSerializer(AttackSerializer):
    """An attack with its settings, totals, spending and yields."""

    config = serializers.DictField(read_only=True)
    wanted = serializers.DictField(read_only=True, help_text="Which known failures it was to start from.")
    totals = serializers.DictField(
        source="result",
        read_only=True,
        help_text="Over all its shards, once it has ended: `stops` by reason, and more.",
    )
    spending = serializers.SerializerMethodField()
    yields = serializers.SerializerMethodField()

    class Meta(AttackSerializer.Meta):
        more = ["threshold", "config", "seed", "second_opinion", "wanted", "totals", "spending", "yields"]
        fields = [*AttackSerializer.Meta.fields, *more]
        read_only_fields = fields

    @extend_schema(responses=SpendingSerializer(allow_null=True))
    def get_spending(self, row: Attack) -> dict[str, Any] | None:
        """Null where no endpoint was asked."""
        spending = spending_of(row)
        return None if spending is None else SpendingSerializer(spending).data

    @extend_schema(responses=YieldSerializer)
    def get_yields(self, row: Attack) -> dict[str, Any]:
        """As far as its finds are labelled."""
        return YieldSerializer(yield_of(row).as_dict()).data


class ComparedSerializer(AttackSerializer):
    """An attack beside others."""

    yields = serializers.SerializerMethodField()

    class Meta(AttackSerializer.Meta):
        fields = [*AttackSerializer.Meta.fields, "yields"]
        read_only_fields = fields

    @extend_schema(responses=YieldSerializer)
    def get_yields(self, row: Attack) -> dict[str, Any]:
        """As far as its finds are labelled."""
        return YieldSerializer(yield_of(row).as_dict()).data


class EditSerializer(serializers.Serializer[Any]):
    """One change of a completion."""

    kind = serializers.CharField()
    at = serializers.IntegerField(help_text="Where it begins, in characters of the text before it.")
    before = serializers.CharField()
    after = serializers.CharField()


class CandidateSerializer(serializers.ModelSerializer[AttackCandidate]):
    """A find beside its seed. `edits` lead from the seed's completion to the find's; none where all was told anew."""

    text = serializers.SerializerMethodField()
    edits = EditSerializer(many=True, read_only=True)

    class Meta:
        model = AttackCandidate
        fields = ["snippet", "seed", "logit", "strength", "similarity", "queries", "edits", "text"]
        read_only_fields = fields

    @extend_schema(responses={"type": "object", "additionalProperties": True})
    def get_text(self, row: AttackCandidate) -> dict[str, Any]:
        """Prompts and completions of both, the score, and the label where there is one."""
        return dict(strong(row.attack, row))


class _Keys(filters.BaseInFilter, filters.UUIDFilter):  # type: ignore[misc]
    """Keys with commas between."""


class AttackFilter(ByPeriod):
    """Filters of the list."""

    id = _Keys(label="Of these attacks only: keys with commas between.")
    name = filters.ChoiceFilter(choices=[(name, name) for name in sorted(ATTACKS)])

    class Meta:
        model = Attack
        fields = ["id", "policy", "classifier", "round", "role", "name", "state"]


RATE = {"estimate": 0.25, "low": 0.1, "high": 0.47, "level": 0.95, "method": "Clopper-Pearson", "failures": 5, "n": 20}
ROW: dict[str, Any] = {
    "id": EXAMPLE_ID,
    "policy": EXAMPLE_ID,
    "classifier": EXAMPLE_ID,
    "round": None,
    "role": "alone",
    "name": "rewrite",
    "title": "rewrite",
    "state": "running",
    "seeds": 50,
    "done": 12,
    "budget": {"queries": 5000},
    "error": "",
    "created_by": EXAMPLE_ID,
    "created_at": EXAMPLE_TIME,
    "finished_at": None,
}
YIELDS: dict[str, Any] = {
    "seeds": 20,
    "open_seeds": 0,
    "unreached": 0,
    "accepted_unedited": 1,
    "candidates": 31,
    "labelled": 31,
    "failures": 6,
    "labels": 93,
    "label_seconds": 1020.0,
    "queries": 2400,
    "seconds": 51.2,
    "per_candidate": {**RATE, "estimate": 0.19, "failures": 6, "n": 31},
    "per_1000_queries": {**RATE, "estimate": 2.5, "high": 5.4, "method": "Garwood", "failures": 6, "n": 2.4},
    "per_minute": {**RATE, "estimate": 0.35, "method": "Garwood", "failures": 6, "n": 17.0},
    "seeds_broken": RATE,
    "mean_similarity": 0.87,
    "mean_edits": 2.1,
    "queries_per_candidate": 77.4,
}
DETAIL: dict[str, Any] = {
    **ROW,
    "threshold": 0.04,
    "config": {"recipe": "beam"},
    "seed": 0,
    "second_opinion": None,
    "wanted": {"split": "train", "limit": 50},
    "totals": {"queries": 2400, "kept": 31, "stops": {"enough": 14, "searched": 6}},
    "spending": None,
    "yields": YIELDS,
}
ASKED: dict[str, Any] = {
    "classifier": EXAMPLE_ID,
    "name": "rewrite",
    "config": {"recipe": "beam", "wanted": 2},
    "budget": {"queries": 5000, "seconds": 600},
    "seeds": {"split": "train", "limit": 50},
}
CANDIDATE: dict[str, Any] = {
    "snippet": EXAMPLE_ID,
    "seed": EXAMPLE_ID,
    "logit": -4.1,
    "strength": 0.92,
    "similarity": 0.91,
    "queries": 64,
    "edits": [{"kind": "replace", "at": 4, "before": "sword", "after": "blade"}],
    "text": {
        "seed_completion": "The sword cut him.",
        "completion": "The blade cut him.",
        "score": 0.016,
        "label": None,
    },
}


@extend_schema_view(list=extend_schema(examples=example(ROW, status=200)))
class Attacks(Resource[Attack]):
    """Attacks."""

    resource = "attacks"
    queryset = attacks_listed()
    filterset_class = AttackFilter
    serializer_class = AttackSerializer

    def list(self, request: Request) -> Response:
        """Attacks, a page at a time."""
        return self.listed(self.get_queryset())

    @extend_schema(responses=AttackDetailSerializer, examples=example(DETAIL, status=200))
    def retrieve(self, request: Request, pk: str) -> Response:
        """One attack: its settings, how far it is, what it cost, and its yields as far as its finds are labelled."""
        return self._shown(self.get_object())

    @extend_schema(
        request=AttackRequest,
        responses={202: AttackDetailSerializer},
        examples=[*example(ASKED), *example(DETAIL, status=202)],
    )
    def create(self, request: Request) -> Response:
        """Launches an attack. Jobs choose known failures to start from and attack them; watch `state` and `done`."""
        data = dict(request.data) if isinstance(request.data, dict) else {}
        target = {name: data.pop(name) for name in map(str, AttackTarget().fields) if name in data}
        about = self.input(AttackTarget, target)
        row = attack_create(settings=LoneAttack.model_validate(data), created_by=self.user, **about)
        return self._shown(row, status=202)

    @extend_schema(request=None, responses=AttackDetailSerializer, examples=example(DETAIL, status=200))
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """Ends an attack that belongs to no round; what it found so far stays."""
        return self._shown(attack_cancel(attack=self.get_object()))

    @extend_schema(responses=CandidateSerializer(many=True), examples=example(CANDIDATE, status=200))
    @action(detail=True, filter_backends=[], pagination_class=ByStrength)
    def candidates(self, request: Request, pk: str) -> Response:
        """What it found, the strongest first, a page at a time. For labels, make a batch with `filter: {attack: …}`."""
        row = self.get_object()
        rows = row.candidates.select_related("attack", "snippet__consensus", "seed")
        pages = ByStrength()
        page = pages.paginate_queryset(rows, request, view=self) or []
        return pages.get_paginated_response(CandidateSerializer(page, many=True).data)

    @extend_schema(
        responses=ComparedSerializer(many=True),
        examples=example([{**ROW, "yields": YIELDS}], status=200),
    )
    @action(detail=False, pagination_class=None)
    def yields(self, request: Request) -> Response:
        """Attacks beside one another with their yields: the newest 50 that the filters leave."""
        rows = self.filter_queryset(self.get_queryset()).order_by("-pk")[:MAX_COMPARED]
        return Response(ComparedSerializer(rows, many=True).data)

    def _shown(self, row: Attack, status: int = 200) -> Response:
        return Response(AttackDetailSerializer(row).data, status=status)
