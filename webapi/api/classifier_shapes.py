"""How comparisons and promotions of classifiers are told."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from webapi.api.base import StrictSerializer
from webapi.api.fields import ClassifierField, RateSerializer
from webapi.api.schema import EXAMPLE_ID, EXAMPLE_TIME
from webapi.models import Promotion


class PromotionSerializer(serializers.ModelSerializer[Promotion]):
    """A classifier made its policy's serving one. `by` is null where it is not known any more."""

    class Meta:
        model = Promotion
        fields = [
            "id",
            "policy",
            "classifier",
            "serving",
            "note",
            "by",
            "created_at",
            "rolled_back_at",
            "rolled_back_by",
        ]
        read_only_fields = fields


class Pair(StrictSerializer):
    """Which two."""

    a = ClassifierField()
    b = ClassifierField()


class DifferenceSerializer(serializers.Serializer[Any]):
    """A value that is not the same of both; null where one has none."""

    name = serializers.CharField()
    a = serializers.JSONField()
    b = serializers.JSONField()


class RowsSerializer(serializers.Serializer[Any]):
    """Snippets that each was trained on."""

    only_a = serializers.IntegerField()
    only_b = serializers.IntegerField()
    both = serializers.IntegerField()
    relabelled = serializers.IntegerField(help_text="Of `both`, those with another consensus.")


class ComparedRateSerializer(serializers.Serializer[Any]):
    """One rate of both on the same held-out set."""

    evaluation = serializers.CharField()
    name = serializers.CharField()
    a = RateSerializer()
    b = RateSerializer()


class DecisionsSerializer(serializers.Serializer[Any]):
    """What both decided, each at its threshold, of the snippets that both scored."""

    equal = RateSerializer(help_text="Share decided alike; `failures` counts them.")
    only_a_rejects = serializers.IntegerField()
    only_b_rejects = serializers.IntegerField()


class SideSerializer(serializers.Serializer[Any]):
    """One of the two."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    condition = serializers.CharField()
    threshold = serializers.FloatField(allow_null=True)
    precision = serializers.CharField()


class ClassifiersComparedSerializer(serializers.Serializer[Any]):
    """Two classifiers side by side; `recipe` and `environment` hold what differs."""

    a = SideSerializer()
    b = SideSerializer()
    recipe = DifferenceSerializer(many=True)
    environment = DifferenceSerializer(many=True)
    rows = RowsSerializer(allow_null=True, help_text="Null where one has no snapshot.")
    rates = ComparedRateSerializer(many=True)
    decisions = DecisionsSerializer(
        allow_null=True, help_text="Null while one has no threshold, or no snippet was scored by both."
    )


RATE: dict[str, Any] = {
    "estimate": 0.12,
    "low": 0.07,
    "high": 0.19,
    "level": 0.95,
    "method": "Clopper-Pearson",
    "failures": 14,
    "n": 117,
}
PROMOTION: dict[str, Any] = {
    "id": EXAMPLE_ID,
    "policy": EXAMPLE_ID,
    "classifier": EXAMPLE_ID,
    "serving": True,
    "note": "Round 4 held up in the audit.",
    "by": EXAMPLE_ID,
    "created_at": EXAMPLE_TIME,
    "rolled_back_at": None,
    "rolled_back_by": None,
}
SIDE: dict[str, Any] = {
    "id": EXAMPLE_ID,
    "name": "Round 4, retrained",
    "condition": "+paraphrases",
    "threshold": 0.31,
    "precision": "int8",
}
COMPARED: dict[str, Any] = {
    "a": SIDE,
    "b": {**SIDE, "name": "Round 4, baseline", "condition": "baseline", "threshold": 0.28},
    "recipe": [{"name": "learning_rate", "a": 0.0003, "b": 0.0002}],
    "environment": [],
    "rows": {"only_a": 300, "only_b": 300, "both": 900, "relabelled": 0},
    "rates": [{"evaluation": "held-out", "name": "fnr", "a": RATE, "b": {**RATE, "estimate": 0.2, "failures": 23}}],
    "decisions": {
        "equal": {**RATE, "estimate": 0.93, "low": 0.91, "high": 0.95, "failures": 930, "n": 1000},
        "only_a_rejects": 50,
        "only_b_rejects": 20,
    },
}
