"""From a snippet back to its story and forth to its consensus, as the API shows it."""

from __future__ import annotations

import math
from typing import Any

from rest_framework import serializers

from webapi.models import Label, RoundSnippet, Score, Snippet
from webapi.selectors.snippets import ancestors, children, labels_of, places_of
from workers.score_reading import scores_of


class RelativeSerializer(serializers.ModelSerializer[Snippet]):
    """An ancestor or child."""

    class Meta:
        model = Snippet
        fields = ["id", "source", "prompt", "completion", "created_at"]
        read_only_fields = fields


class AnswerSerializer(serializers.ModelSerializer[Label]):
    """One annotator's answer about the snippet."""

    annotator = serializers.CharField(source="annotator.name", read_only=True)
    simulated = serializers.BooleanField(source="annotator.simulated", read_only=True)

    class Meta:
        model = Label
        fields = ["id", "annotator", "simulated", "choice", "revision", "seconds", "created_at"]
        read_only_fields = fields


class ScoreSerializer(serializers.ModelSerializer[Score]):
    """One classifier's score of the snippet."""

    classifier_name = serializers.CharField(source="classifier.name", read_only=True)
    score = serializers.SerializerMethodField()
    threshold = serializers.FloatField(source="classifier.threshold", read_only=True, allow_null=True)

    class Meta:
        model = Score
        fields = ["classifier", "classifier_name", "score", "logit", "threshold"]
        read_only_fields = fields

    def get_score(self, row: Score) -> float:
        """A probability in [0, 1]."""
        return 1 / (1 + math.exp(-row.logit)) if row.logit > -700 else 0.0


class PlaceSerializer(serializers.ModelSerializer[RoundSnippet]):
    """The snippet's place in a round."""

    round_name = serializers.CharField(source="round.name", read_only=True)
    details = serializers.DictField(read_only=True)

    class Meta:
        model = RoundSnippet
        fields = ["round", "round_name", "pool", "selected", "details"]
        read_only_fields = fields


class LineageSerializer(serializers.Serializer[Any]):
    """Where a snippet comes from and what became of it."""

    ancestors = RelativeSerializer(many=True, help_text="From the parent to the first ancestor.")
    children = RelativeSerializer(many=True, help_text="What was made from it, up to 100.")
    labels = AnswerSerializer(many=True)
    scores = ScoreSerializer(many=True)
    rounds = PlaceSerializer(many=True)


def lineage(snippet: Snippet) -> dict[str, Any]:
    """Everything of a snippet's lineage, as plain data."""
    return {
        "ancestors": RelativeSerializer(ancestors(snippet), many=True).data,
        "children": RelativeSerializer(children(snippet), many=True).data,
        "labels": AnswerSerializer(labels_of(snippet), many=True).data,
        "scores": ScoreSerializer(scores_of(snippet), many=True).data,
        "rounds": PlaceSerializer(places_of(snippet), many=True).data,
    }
