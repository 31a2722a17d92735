"""Agreement as the API gives it: what may be asked, the shapes of the answers, and the same as CSV."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.http import Http404, HttpResponse
from rest_framework import serializers

from webapi.api.base import StrictSerializer
from webapi.api.csv_answers import RATE_CELLS, csv_answer, rate_cells
from webapi.api.fields import EstimateSerializer, PolicyField, RateSerializer
from webapi.api.schema import EXAMPLE_ID, EXAMPLE_TIME
from webapi.models import Annotator, Batch, Policy, Round, Source, SplitName
from webapi.permissions import Actor, visible
from webapi.selectors.agreement import AgreementFigures, has_labels, policies_with_labels
from webapi.selectors.agreement_filter import PARTS, AgreementFilter
from webapi.selectors.disagreements import Disagreement


class AgreementScope(StrictSerializer):
    """Which labels are meant; no policy: the newest that has any."""

    policy = PolicyField(required=False)
    batch = serializers.UUIDField(required=False)
    round = serializers.UUIDField(required=False)
    source = serializers.ChoiceField(Source.values, required=False)  # type: ignore[assignment]
    split = serializers.ChoiceField(SplitName.values, required=False)
    vendor = serializers.CharField(
        required=False,
        max_length=64,
        help_text="Only labels by this vendor's annotators; `none`: by people with an account here.",
    )
    annotator = serializers.UUIDField(
        required=False, help_text="Only snippets that this annotator judged, with everybody's labels of them."
    )
    since = serializers.DateTimeField(required=False, help_text="Labels given from this time on.")
    until = serializers.DateTimeField(required=False, help_text="Labels given before this time.")
    format = serializers.ChoiceField(["json", "csv"], default="json")


class AgreementQuery(AgreementScope):
    """Which labels are meant, and what they are told apart by."""

    by = serializers.ChoiceField(
        list(PARTS),
        default="day",
        help_text="`day`: by the day (UTC) of the snippet's latest label; by week where more than 92 days are meant.",
    )


class DisagreementsQuery(AgreementScope):
    """Which labels are meant, and which page."""

    cursor = serializers.CharField(required=False, max_length=200, help_text="Part of `next` and `previous`.")
    page_size = serializers.IntegerField(default=50, min_value=1, max_value=500)


class AgreementSerializer(serializers.Serializer[Any]):
    """Agreement of all annotators over the answers that stand; intervals by bootstrap of snippets."""

    alpha = EstimateSerializer(help_text="Krippendorff's, nominal.")
    fleiss = EstimateSerializer(help_text="Fleiss' kappa, for any number of labels a snippet.")
    ac1 = EstimateSerializer(help_text="Gwet's AC1: not deflated where a choice is rare.")
    ac2 = EstimateSerializer(help_text="Gwet's AC2: choices next to each other in severity agree in part.")
    percent = EstimateSerializer(help_text="Pairs of votes that agree.")
    per_choice = serializers.DictField(child=EstimateSerializer())
    items = serializers.IntegerField()
    items_with_pairs = serializers.IntegerField()
    items_in_dispute = serializers.IntegerField()
    votes = serializers.IntegerField()
    annotators = serializers.IntegerField()
    votes_by_choice = serializers.DictField(child=serializers.IntegerField())


class PairSerializer(serializers.Serializer[Any]):
    """Two annotators' Cohen's kappa; null where it is undefined."""

    a = serializers.CharField()
    b = serializers.CharField()
    a_id = serializers.UUIDField()
    b_id = serializers.UUIDField()
    items = serializers.IntegerField(help_text="Snippets both judged.")
    kappa = serializers.FloatField(allow_null=True)
    low = serializers.FloatField(allow_null=True)
    high = serializers.FloatField(allow_null=True)


class PersonSerializer(serializers.Serializer[Any]):
    """An annotator."""

    id = serializers.UUIDField()
    name = serializers.CharField()


class PartSerializer(serializers.Serializer[Any]):
    """Agreement within one day, week, batch, vendor, source or split."""

    key = serializers.CharField(help_text="A date (of a week its Monday), or a name.")
    unanimous = RateSerializer()
    overall = AgreementSerializer()


class BootstrapSerializer(serializers.Serializer[Any]):
    """How the intervals were made: percentiles over resamples."""

    of = serializers.CharField()
    level = serializers.FloatField()
    resamples = serializers.IntegerField()
    part_resamples = serializers.IntegerField()


class AgreementFiguresSerializer(serializers.Serializer[Any]):
    """How far the annotators of a policy agree."""

    policy = serializers.CharField()
    choices = serializers.ListField(child=serializers.CharField())
    judgements = serializers.IntegerField(help_text="All answers that count, replaced ones among them.")
    replaced = serializers.IntegerField()
    snippets = serializers.IntegerField()
    annotators = serializers.IntegerField()
    simulated_annotators = serializers.IntegerField()
    unanimous = RateSerializer(help_text="Of the snippets judged twice or more, those on which all said the same.")
    overall = AgreementSerializer()
    matrix = PersonSerializer(many=True, help_text="Annotators who share most snippets; `pairs` has every two of them.")
    pairs = PairSerializer(many=True)
    disputes = serializers.ListField(child=serializers.DictField())
    per_day = serializers.ListField(child=serializers.DictField())
    by = serializers.CharField(help_text="What `parts` are: `day`, `week`, `batch`, `vendor`, `source` or `split`.")
    parts = PartSerializer(many=True)
    parts_left_out = serializers.IntegerField()
    held_since = serializers.DateTimeField(
        allow_null=True, help_text="Where there are too many labels to hold: from when on they are looked at."
    )
    bootstrap = BootstrapSerializer()


class SaidSerializer(serializers.Serializer[Any]):
    """One annotator's standing answer."""

    label = serializers.UUIDField()  # type: ignore[assignment]
    annotator_id = serializers.UUIDField()
    annotator = serializers.CharField()
    simulated = serializers.BooleanField()
    staff = serializers.BooleanField()
    choice = serializers.CharField()
    note = serializers.CharField()
    flagged = serializers.BooleanField()
    created_at = serializers.DateTimeField()


class DisagreementSerializer(serializers.Serializer[Any]):
    """A snippet on which annotators differ, and what each said."""

    snippet = serializers.UUIDField()
    prompt = serializers.CharField()
    completion = serializers.CharField()
    source = serializers.CharField()  # type: ignore[assignment]
    split = serializers.CharField()
    consensus = serializers.CharField(help_text="Empty where there is none yet.")
    counts = serializers.DictField(child=serializers.IntegerField())
    disagreeing = serializers.FloatField(help_text="Share of its pairs of labels that differ.")
    labels = SaidSerializer(many=True)


class DisagreementsSerializer(serializers.Serializer[Any]):
    """A page of them, the most disputed first."""

    total = serializers.IntegerField()
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = DisagreementSerializer(many=True)


def scope(query: Mapping[str, Any], actor: Actor) -> tuple[Policy, AgreementFilter]:
    """The policy and the labels that a checked query means.

    Raises Http404 for what the actor cannot see, and where nothing was ever answered.
    """
    policy = query.get("policy") or next(iter(policies_with_labels()), None)
    if policy is None or not has_labels(policy):
        raise Http404
    batch, round_, annotator = (query.get(name) for name in ("batch", "round", "annotator"))
    if batch and not visible(Batch.objects.filter(pk=batch), "batches", actor).exists():
        raise Http404
    if round_ and not visible(Round.objects.filter(pk=round_), "rounds", actor).exists():
        raise Http404
    if annotator and not Annotator.objects.filter(pk=annotator).exists():
        raise Http404
    plain = {name: query.get(name) for name in ("source", "split", "vendor", "since", "until")}
    return policy, AgreementFilter(policy.pk, batch=batch, round=round_, annotator=annotator, **plain)


def shown(row: Disagreement) -> dict[str, Any]:
    """A disagreement as the API gives it."""
    return {
        "snippet": row.snippet.pk,
        "prompt": row.snippet.prompt,
        "completion": row.snippet.completion,
        "source": row.snippet.source,
        "split": row.snippet.split,
        "consensus": row.consensus,
        "counts": row.counts,
        "disagreeing": row.disagreeing,
        "labels": [said._asdict() for said in row.labels],
    }


def figures_csv(figures: AgreementFigures) -> HttpResponse:
    """One line for each statistic: of all labels first, then of each part, then of each pair of annotators."""
    header = ("of", "key", "statistic", *RATE_CELLS)
    return csv_answer("agreement", header, _figure_rows(figures))


def disagreements_csv(rows: Sequence[Disagreement]) -> HttpResponse:
    """One line for each label of the page's snippets."""
    header = (
        *("snippet", "completion", "source", "split", "consensus", "disagreeing"),
        *("annotator_id", "annotator", "choice", "note", "created_at"),
    )
    lines = (
        (
            *(str(row.snippet.pk), row.snippet.completion, row.snippet.source, row.snippet.split, row.consensus),
            *(repr(row.disagreeing), said.annotator_id, said.annotator, said.choice, said.note, said.created_at),
        )
        for row in rows
        for said in row.labels
    )
    return csv_answer("disagreements", header, lines)


def _figure_rows(figures: AgreementFigures) -> Iterator[tuple[str, ...]]:
    for row in figures.rows():
        key = f"{row.a.name} / {row.b.name}" if row.a and row.b else row.key
        statistic = f"{row.statistic} on {row.choice}" if row.choice else row.statistic
        yield (row.of, key, statistic, *rate_cells(row._asdict()))


def _estimate(estimate: float, low: float, high: float, method: str) -> dict[str, Any]:
    return {"estimate": estimate, "low": low, "high": high, "level": 0.95, "method": method, "n": 1204}


_UNANIMOUS: dict[str, Any] = {
    "estimate": 0.869,
    "low": 0.848,
    "high": 0.887,
    "level": 0.95,
    "method": "Clopper-Pearson",
    "failures": 1046,
    "n": 1204,
}
_OVERALL: dict[str, Any] = {
    "alpha": _estimate(0.74, 0.70, 0.78, "Krippendorff's alpha, nominal, bootstrap of items"),
    "fleiss": _estimate(0.74, 0.70, 0.78, "Fleiss' kappa, items weighted alike, bootstrap of items"),
    "ac1": _estimate(0.85, 0.82, 0.87, "Gwet's AC1, bootstrap of items"),
    "ac2": _estimate(0.90, 0.88, 0.92, "Gwet's AC2, ordinal weights by severity, bootstrap of items"),
    "percent": _estimate(0.88, 0.86, 0.90, "pairs of votes, bootstrap of items"),
    "per_choice": {"Yes": _estimate(0.81, 0.77, 0.85, "specific agreement, bootstrap of items")},
    "items": 1800,
    "items_with_pairs": 1204,
    "items_in_dispute": 158,
    "votes": 3100,
    "annotators": 12,
    "votes_by_choice": {"Yes": 310, "Unsure": 90, "No": 2700},
}
_PERSON = {"id": EXAMPLE_ID, "name": "alice"}
_PAIR = {"a": "alice", "b": "bob", "a_id": EXAMPLE_ID, "b_id": str(uuid.UUID(int=uuid.UUID(EXAMPLE_ID).int + 1))}
FIGURES_EXAMPLE: dict[str, Any] = {
    "policy": "injury v1",
    "choices": ["Yes", "Unsure", "No"],
    "judgements": 3112,
    "replaced": 12,
    "snippets": 1800,
    "annotators": 12,
    "simulated_annotators": 0,
    "unanimous": _UNANIMOUS,
    "overall": _OVERALL,
    "matrix": [_PERSON, {"id": _PAIR["b_id"], "name": "bob"}],
    "pairs": [{**_PAIR, "items": 212, "kappa": 0.71, "low": 0.6, "high": 0.8}],
    "disputes": [],
    "per_day": [{"day": "2026-11-21", "choice": "No", "count": 371}],
    "by": "day",
    "parts": [{"key": "2026-11-21", "unanimous": _UNANIMOUS, "overall": _OVERALL}],
    "parts_left_out": 0,
    "held_since": None,
    "bootstrap": {"of": "snippets", "level": 0.95, "resamples": 2000, "part_resamples": 1000},
}
_SAID = {
    "label": EXAMPLE_ID,
    "annotator_id": EXAMPLE_ID,
    "annotator": "alice",
    "simulated": False,
    "staff": False,
    "choice": "Yes",
    "note": "",
    "flagged": False,
    "created_at": EXAMPLE_TIME,
}
DISAGREEMENTS_EXAMPLE: dict[str, Any] = {
    "total": 158,
    "next": "https://…/api/v1/metrics/disagreements?cursor=ZiAxLjAgMiAw",
    "previous": None,
    "results": [
        {
            "snippet": EXAMPLE_ID,
            "prompt": "She ran down the stairs.",
            "completion": "At the bottom she slipped and held her wrist.",
            "source": "corpus",
            "split": "train",
            "consensus": "Yes",
            "counts": {"Yes": 1, "Unsure": 0, "No": 1},
            "disagreeing": 1.0,
            "labels": [_SAID, {**_SAID, "annotator": "bob", "choice": "No"}],
        }
    ],
}
