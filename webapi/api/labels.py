"""Labels: answers to tasks."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, NoReturn

import django_filters as filters
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from webapi.api.base import Resource, StrictSerializer
from webapi.api.filters import ByPeriod
from webapi.api.outcomes import EachItem, ErrorSerializer, answer_many, item_errors
from webapi.api.schema import EXAMPLE_ID, EXAMPLE_TIME, example, one_of
from webapi.api.tasks import TASK, TaskSerializer, all_shown
from webapi.errors import ERROR_CODES, DomainError
from webapi.models import Annotator, Label
from webapi.permissions import BLIND
from webapi.services.labels import MAX_LABELS, LabelInput, LabelOutcome, labels_record, labels_record_and_lease
from webapi.services.leases import MAX_LEASES

MAX_SECONDS = 86_400
OUTCOMES = ["recorded", "duplicate", "surplus", "unknown_choice", "lease_not_found", "invalid"]
NEXT = (
    "Lease so many tasks of the same policy and kind with the same request; they come as `tasks`, none where you may "
    "have none."
)


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
    seconds = serializers.FloatField(min_value=0, max_value=MAX_SECONDS, allow_null=True, default=None)
    note = serializers.CharField(max_length=10_000, allow_blank=True, default="")
    flagged = serializers.BooleanField(default=False, help_text="Somebody should look at this text; `note` says why.")
    external_id = serializers.CharField(max_length=200, allow_blank=True, default="")


class OneLabel(LabelFields):
    """An answer to a task that you hold."""

    next = serializers.IntegerField(min_value=0, max_value=MAX_LEASES, default=0, help_text=NEXT)


class ManyLabels(StrictSerializer):
    """Answers to tasks that you hold; each is answered for itself."""

    labels = EachItem(LabelFields, max_length=MAX_LABELS)
    next = serializers.IntegerField(min_value=0, max_value=MAX_LEASES, default=0, help_text=NEXT)


class LabelOutcomeSerializer(serializers.Serializer[Any]):
    """What became of one answer.

    `recorded`; `duplicate`: the annotator had answered before, and that answer stands; `surplus`: it came when none was
    wanted any more, and is kept without counting; `unknown_choice`; `lease_not_found`: no lease of yours on that task
    has this token; `invalid`: see `errors`.
    """

    index = serializers.IntegerField()
    outcome = serializers.ChoiceField(OUTCOMES)
    task = serializers.UUIDField(allow_null=True)
    label = serializers.UUIDField(allow_null=True)  # type: ignore[assignment]
    late = serializers.BooleanField(help_text="The lease had run out; the answer counts if it is `recorded`.")
    errors = ErrorSerializer(many=True)  # type: ignore[assignment]


class OneOutcomeSerializer(LabelOutcomeSerializer):
    """What became of the answer, and the tasks asked for by `next`."""

    tasks = TaskSerializer(many=True, required=False)


class LabelOutcomesSerializer(serializers.Serializer[Any]):
    """What became of each answer, in the order of the request, and the tasks asked for by `next`."""

    tasks = TaskSerializer(many=True, required=False)

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
        request=one_of("OneOrManyLabels", OneLabel, ManyLabels),
        responses={201: OneOutcomeSerializer, 200: LabelOutcomesSerializer},
        examples=[
            *example(ASKED, name="One"),
            *example({**ASKED, "next": 1}, name="One, and the next task"),
            *example({"labels": [ASKED]}, name="Many"),
            *example(DONE, name="One", status=201),
            *example({**DONE, "tasks": [TASK]}, name="One, and the next task", status=201),
            *example({"counts": {"recorded": 1}, "results": [DONE]}, name="Many", status=200),
        ],
    )
    def create(self, request: Request) -> Response:
        """Answers a task, or up to 1,000 with an outcome for each; `next` leases as well.

        An answer whose lease ran out is late: it counts if the task still wants one (`recorded`), else it is kept
        without counting (`surplus`).
        """
        if isinstance(request.data, dict) and "labels" in request.data:
            many = self.input(ManyLabels)
            return Response(self._record_many(many["labels"], many["next"]))
        answer, count = self._one(request.data)
        (done,), more = self._record([answer], count)
        if done.outcome in REFUSALS:
            refuse(done)
        return Response({**_shown(0, done), **more}, status=201 if done.outcome == "recorded" else 200)

    def _one(self, data: Any) -> tuple[LabelInput, int]:
        """An answer, and how many tasks are to be leased with it."""
        if isinstance(data, dict) and type(data.get("next", 0)) is int and 0 <= data.get("next", 0) <= MAX_LEASES:
            plain = _plainly({name: value for name, value in data.items() if name != "next"})
            if plain is not None:
                return plain, data.get("next", 0)
        one = self.input(OneLabel)
        count = one.pop("next")
        return LabelInput(**one), count

    def _record(self, answers: Sequence[LabelInput], count: int) -> tuple[Sequence[LabelOutcome], dict[str, Any]]:
        if not count:
            return labels_record(user=self.user, answers=answers), {}
        done = labels_record_and_lease(actor=self.actor, answers=answers, count=count)
        return done.outcomes, {"tasks": all_shown(done.tasks)}

    def _record_many(self, data: Sequence[Any], count: int) -> dict[str, Any]:
        items = [_plainly(item) or LabelFields(data=item) for item in data]
        valid = [LabelInput(**i.validated_data) if isinstance(i, LabelFields) else i for i in items if _is_valid(i)]
        outcomes, more = self._record(valid, count)
        recorded = iter(outcomes)
        results = [
            _invalid(n, item) if isinstance(item, LabelFields) and item.errors else _shown(n, next(recorded))
            for n, item in enumerate(items)
        ]
        return {**answer_many(results), **more}


PLAIN = frozenset({"task", "lease", "choice", "seconds"})


def _plainly(item: Any) -> LabelInput | None:
    """The answer, where nothing about it needs the serializer's closer look, which takes thirty times as long."""
    if not isinstance(item, dict) or not PLAIN.issuperset(item):
        return None
    task, lease, choice, seconds = (item.get(name) for name in ("task", "lease", "choice", "seconds"))
    if not (isinstance(task, str) and isinstance(lease, str) and isinstance(choice, str)):
        return None
    if not (0 < len(choice) <= 64 and choice.isprintable() and choice == choice.strip()):
        return None
    if seconds is not None and not (type(seconds) in (int, float) and 0 <= seconds <= MAX_SECONDS):
        return None
    try:
        return LabelInput(uuid.UUID(task), uuid.UUID(lease), choice, seconds)
    except ValueError:
        return None


def _is_valid(item: LabelInput | LabelFields) -> bool:
    return isinstance(item, LabelInput) or item.is_valid()


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
