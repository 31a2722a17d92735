"""Labels: answers to tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn, cast

import django_filters as filters
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from webapi.api.base import Resource, StrictSerializer
from webapi.api.filters import ByPeriod
from webapi.api.outcomes import ErrorSerializer, answer_many, item_errors
from webapi.api.schema import EXAMPLE_ID, EXAMPLE_TIME, example, one_of
from webapi.errors import ERROR_CODES, DomainError
from webapi.models import Annotator, Label
from webapi.permissions import BLIND
from webapi.services.labels import MAX_LABELS, LabelInput, LabelOutcome, labels_record


class AnnotatorSerializer(serializers.ModelSerializer[Annotator]):
    """Who answered."""

    class Meta:
        model = Annotator
        fields = ["id", "name", "staff", "simulated"]
        read_only_fields = fields


class LabelerLabelSerializer(serializers.ModelSerializer[Label]):
    """A label as the one who gave it sees it."""

    class Meta:
        model = Label
        fields = ["id", "task", "choice", "revision", "seconds", "note", "flagged", "external_id", "created_at"]
        read_only_fields = fields


class LabelSerializer(LabelerLabelSerializer):
    """A label."""

    annotator = AnnotatorSerializer(read_only=True)

    class Meta(LabelerLabelSerializer.Meta):
        fields = [*LabelerLabelSerializer.Meta.fields, "snippet", "annotator"]
        read_only_fields = fields


class LabelFields(StrictSerializer):
    """An answer to a task that you hold."""

    task = serializers.UUIDField()
    lease = serializers.UUIDField(help_text="The token that the task was leased with.")
    choice = serializers.CharField(max_length=64, help_text="One of the choices that the task came with.")
    seconds = serializers.FloatField(min_value=0, max_value=86_400, allow_null=True, default=None)
    note = serializers.CharField(max_length=10_000, allow_blank=True, default="")
    flagged = serializers.BooleanField(default=False, help_text="Somebody should look at this text; `note` says why.")
    external_id = serializers.CharField(max_length=200, allow_blank=True, default="")


class ManyLabels(StrictSerializer):
    """Answers to tasks that you hold; each is answered for itself."""

    labels = serializers.ListField(child=serializers.JSONField(), min_length=1, max_length=MAX_LABELS)


class ManyLabelsSchema(StrictSerializer):
    """Answers to tasks that you hold; each is answered for itself."""

    labels = LabelFields(many=True, max_length=MAX_LABELS)  # type: ignore[call-arg]


class LabelOutcomeSerializer(serializers.Serializer[Any]):
    """What became of one answer.

    `recorded`; `duplicate`: the annotator had answered before, and that answer stands; `surplus`: it came when none was
    wanted any more, and is kept without counting; `unknown_choice`; `lease_not_found`: no lease of yours on that task
    has this token; `invalid`: see `errors`.
    """

    index = serializers.IntegerField()
    outcome = serializers.ChoiceField(
        ["recorded", "duplicate", "surplus", "unknown_choice", "lease_not_found", "invalid"]
    )
    task = serializers.UUIDField(allow_null=True)
    label = serializers.UUIDField(allow_null=True)  # type: ignore[assignment]
    late = serializers.BooleanField(help_text="The lease had run out; the answer counts if it is `recorded`.")
    errors = ErrorSerializer(many=True)  # type: ignore[assignment]


class LabelOutcomesSerializer(serializers.Serializer[Any]):
    """What became of each answer, in the order of the request."""

    counts = serializers.DictField(child=serializers.IntegerField())
    results = LabelOutcomeSerializer(many=True)


class LabelFilter(ByPeriod):
    """Filters of the list."""

    batch = filters.UUIDFilter(field_name="task__batch", label="In this batch.")
    policy = filters.UUIDFilter(field_name="snippet__policy", label="Under this policy.")

    class Meta:
        model = Label
        fields = ["task", "annotator", "choice"]


class ResearcherLabelFilter(LabelFilter):
    """Filters of the list for those who see snippets and rounds."""

    round = filters.UUIDFilter(field_name="task__batch__round", label="Given for this round.")

    class Meta(LabelFilter.Meta):
        fields = ["task", "snippet", "annotator", "choice"]


REFUSALS = {
    "unknown_choice": "unknown_choice",
    "lease_not_found": "lease_not_found",
}
"""Outcome of a single answer -> the code it is refused with."""

ROW: dict[str, Any] = {
    "id": EXAMPLE_ID,
    "task": EXAMPLE_ID,
    "choice": "No",
    "revision": 0,
    "seconds": 14.2,
    "note": "",
    "flagged": False,
    "external_id": "",
    "created_at": EXAMPLE_TIME,
}
ASKED = {"task": EXAMPLE_ID, "lease": "5b0c1b1e-5f0e-4f0e-9d53-0d4c7a0c2a11", "choice": "No", "seconds": 14.2}
DONE = {"index": 0, "outcome": "recorded", "task": EXAMPLE_ID, "label": EXAMPLE_ID, "late": False, "errors": []}


@extend_schema_view(
    list=extend_schema(
        responses=one_of("LabelForRole", LabelSerializer, LabelerLabelSerializer, many=True),
        examples=example(ROW, status=200),
    )
)
class Labels(Resource[Label]):
    """Labels. Labelers see their own."""

    resource = "labels"
    queryset = Label.objects.all()

    @property
    def filterset_class(self) -> type[LabelFilter]:
        """What one is not to know one may not ask for either."""
        fake = getattr(self, "swagger_fake_view", False)
        return LabelFilter if not fake and self.actor.role in BLIND else ResearcherLabelFilter

    def get_serializer_class(self) -> type[serializers.BaseSerializer[Label]]:
        """Labelers see their answers, not the snippets' keys."""
        return LabelerLabelSerializer if self.actor.role in BLIND else LabelSerializer

    def list(self, request: Request) -> Response:
        """Labels, a page at a time."""
        return self.listed(self.get_queryset().select_related("annotator"))

    @extend_schema(
        request=one_of("OneOrManyLabels", LabelFields, ManyLabelsSchema),
        responses={201: LabelOutcomeSerializer, 200: LabelOutcomesSerializer},
        examples=[
            *example(ASKED, name="One"),
            *example({"labels": [ASKED]}, name="Many"),
            *example(DONE, name="One", status=201),
            *example({"counts": {"recorded": 1}, "results": [DONE]}, name="Many", status=200),
        ],
    )
    def create(self, request: Request) -> Response:
        """Answers a task, or up to 1,000 with an outcome for each.

        An answer whose lease ran out is late: it counts if the task still wants one (`recorded`), else it is kept
        without counting (`surplus`).
        """
        if isinstance(request.data, dict) and "labels" in request.data:
            return Response(answer_many(self._record_many(self.input(ManyLabels)["labels"])))
        (done,) = labels_record(user=self.user, answers=[LabelInput(**self.input(LabelFields))])
        if done.outcome in REFUSALS:
            refuse(done)
        return Response(_shown(0, done), status=201 if done.outcome == "recorded" else 200)

    def _record_many(self, data: Sequence[Any]) -> Sequence[dict[str, Any]]:
        items = [LabelFields(data=item) for item in data]
        valid = [LabelInput(**cast(dict[str, Any], item.validated_data)) for item in items if item.is_valid()]
        recorded = iter(labels_record(user=self.user, answers=valid))
        return [_invalid(n, item) if item.errors else _shown(n, next(recorded)) for n, item in enumerate(items)]


def refuse(done: LabelOutcome) -> NoReturn:
    """Raises the DomainError of a single answer that was not recorded."""
    code = REFUSALS[done.outcome]
    raise DomainError(code, ERROR_CODES[code].meaning)


def _shown(index: int, done: LabelOutcome) -> dict[str, Any]:
    return {
        "index": index,
        "outcome": done.outcome,
        "task": str(done.task),
        "label": str(done.label) if done.label else None,
        "late": done.late,
        "errors": [],
    }


def _invalid(index: int, item: LabelFields) -> dict[str, Any]:
    errors = item_errors(item)
    return {"index": index, "outcome": "invalid", "task": None, "label": None, "late": False, "errors": errors}
