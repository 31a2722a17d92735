"""Batches: snippets that go out for labels, and how many have come back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_field, extend_schema_view
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from labeling_adapters import ADAPTERS
from labeling_adapters.base import Move
from webapi.api.base import Resource, StrictSerializer
from webapi.api.fields import PolicyField
from webapi.api.filters import Filters
from webapi.api.schema import EXAMPLE_ID, EXAMPLE_TIME, example, one_of
from webapi.models import Batch, BatchKind, Role, Source, SplitName, User
from webapi.permissions import BLIND, PULL
from webapi.selectors.batches import BatchCounts, batch_counts, roughly
from webapi.services.batches import MAX_FOUND, MAX_NAMED, BatchOrder, batch_create, batch_move


class BatchProgressSerializer(serializers.Serializer[BatchCounts]):
    """How far a batch is: `done` of `total` labels; `rate` is labels a second over the last ten minutes.

    Who labels sees counts in steps of ten.
    """

    tasks = serializers.IntegerField()
    tasks_done = serializers.IntegerField()
    done = serializers.IntegerField()
    total = serializers.IntegerField()
    leased = serializers.IntegerField(help_text="Tasks that annotators hold now.")
    rate = serializers.FloatField(allow_null=True)
    eta = serializers.DateTimeField(allow_null=True)


VENDOR_STATES = {"launch": "launched", "resume": "launched", "pause": "paused", "cancel": "cancelled"}


class VendorSerializer(serializers.Serializer[Any]):
    """How a batch stands at its vendor. A job tells the vendor what was asked; `told` follows `asked`."""

    state = serializers.ChoiceField(["unlaunched", "launched", "paused", "cancelled"])
    asked = serializers.CharField(allow_blank=True)
    told = serializers.CharField(allow_blank=True)
    remote_id = serializers.CharField(allow_blank=True, help_text="The vendor's own id of it, once it was opened.")
    sent = serializers.IntegerField(help_text="Tasks that the vendor has.")
    error = serializers.CharField(allow_blank=True, help_text="What went wrong with the vendor at last, if anything.")


class LabelerBatchSerializer(serializers.ModelSerializer[Batch]):
    """A batch as those who label see it: not what it is for."""

    progress = serializers.SerializerMethodField()

    class Meta:
        model = Batch
        fields = ["id", "policy", "state", "created_at", "finished_at", "progress"]
        read_only_fields = fields

    @extend_schema(responses=BatchProgressSerializer)
    def get_progress(self, row: Batch) -> dict[str, Any]:
        """Its counts, to the nearest ten."""
        return BatchProgressSerializer(roughly(self.counts_of(row))).data

    def counts_of(self, row: Batch) -> BatchCounts:
        """To the label."""
        counts: dict[Any, BatchCounts] = self.context["counts"]
        return counts[row.pk]


class BatchSerializer(LabelerBatchSerializer):
    """A batch."""

    vendor = serializers.SerializerMethodField()

    class Meta(LabelerBatchSerializer.Meta):
        more = ["name", "kind", "round", "adapter", "config", "priority", "vendor_user", "vendor"]
        fields = [*LabelerBatchSerializer.Meta.fields, *more]
        read_only_fields = fields

    @extend_schema(responses=BatchProgressSerializer)
    def get_progress(self, row: Batch) -> dict[str, Any]:
        """Its counts."""
        return BatchProgressSerializer(self.counts_of(row)).data

    @extend_schema_field(VendorSerializer)
    def get_vendor(self, row: Batch) -> dict[str, Any]:
        """How the batch stands at its vendor."""
        return VendorSerializer(
            {
                "state": VENDOR_STATES.get(row.told, "unlaunched"),
                "asked": row.asked,
                "told": row.told,
                "remote_id": row.remote_id,
                "sent": self.counts_of(row).sent,
                "error": row.vendor_error,
            }
        ).data


class ChosenSerializer(StrictSerializer):
    """Which snippets of the policy, the oldest first."""

    source = serializers.ChoiceField(Source.choices, required=False)  # type: ignore[assignment]
    split = serializers.ChoiceField(SplitName.choices, required=False)
    consensus = serializers.CharField(required=False, help_text="One of the policy's choices.")
    round = serializers.UUIDField(required=False, help_text="Those that are in this round.")
    attack = serializers.UUIDField(required=False, help_text="Those that this attack found.")
    unlabelled = serializers.BooleanField(default=False, help_text="Those without a counted label only.")
    limit = serializers.IntegerField(min_value=1, max_value=MAX_FOUND, default=1000)


class PairField(serializers.ListField):
    """Two keys."""

    child = serializers.UUIDField()

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_length=2, max_length=2, **kwargs)


class BatchInput(StrictSerializer):
    """A batch to send out: either `snippets`, or `pairs` (to compare), or a `filter`."""

    policy = PolicyField()
    name = serializers.CharField(max_length=100)
    kind = serializers.ChoiceField(BatchKind.choices, default=BatchKind.LABEL)
    snippets = serializers.ListField(child=serializers.UUIDField(), required=False, max_length=MAX_NAMED)
    pairs = serializers.ListField(child=PairField(), required=False, max_length=MAX_NAMED)
    filter = ChosenSerializer(required=False)
    overlap = serializers.IntegerField(
        min_value=1, max_value=25, required=False, help_text="Annotators for each; else what the policy wants at first."
    )
    adapter = serializers.CharField(
        max_length=32, default=PULL, help_text=f"Who labels: {', '.join(sorted(ADAPTERS))}."
    )
    config = serializers.DictField(
        default=dict, help_text="The adapter's settings. Secrets by the name of an environment variable, never as such."
    )
    priority = serializers.IntegerField(min_value=-100, max_value=100, default=0)
    vendor_user = serializers.SlugRelatedField(
        slug_field="username",
        queryset=User.objects.filter(role=Role.VENDOR),
        required=False,
        help_text="The vendor's account that alone may lease from it.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """One of the three ways of saying which snippets."""
        if sum(name in attrs for name in ("snippets", "pairs", "filter")) != 1:
            message = "Give one of snippets, pairs and filter."
            raise serializers.ValidationError({"snippets": serializers.ErrorDetail(message, "required")})
        return attrs


class LabelerBatchFilter(Filters):
    """Filters of the list."""

    class Meta:
        model = Batch
        fields = ["policy", "state"]


class BatchFilter(Filters):
    """Filters of the list for those who see rounds."""

    class Meta:
        model = Batch
        fields = ["policy", "state", "round", "adapter"]


ROW: dict[str, Any] = {
    "id": EXAMPLE_ID,
    "policy": EXAMPLE_ID,
    "state": "open",
    "created_at": EXAMPLE_TIME,
    "finished_at": None,
    "progress": {
        "tasks": 600,
        "tasks_done": 412,
        "done": 412,
        "total": 600,
        "leased": 10,
        "rate": 0.2,
        "eta": "2026-11-21T09:45:40Z",
    },
}
DETAIL: dict[str, Any] = {
    **ROW,
    "name": "Second look",
    "kind": "label",
    "round": None,
    "adapter": "surge",
    "config": {"key_variable": "SURGE_API_KEY"},
    "priority": 0,
    "vendor_user": None,
    "vendor": {
        "state": "launched",
        "asked": "launch",
        "told": "launch",
        "remote_id": "7c9e6679",
        "sent": 600,
        "error": "",
    },
}
ASKED = {
    "policy": "injury",
    "name": "Second look",
    "filter": {"source": "rewrite", "unlabelled": True, "limit": 600},
    "overlap": 2,
    "adapter": "surge",
    "config": {"key_variable": "SURGE_API_KEY"},
}
SHAPES = [BatchSerializer, LabelerBatchSerializer]
_move = extend_schema(request=None, responses=BatchSerializer, examples=example(DETAIL, status=200))


@extend_schema_view(
    list=extend_schema(responses=one_of("BatchForRole", *SHAPES, many=True), examples=example(ROW, status=200)),
    retrieve=extend_schema(responses=one_of("BatchForRole", *SHAPES), examples=example(ROW, status=200)),
)
class Batches(Resource[Batch]):
    """Batches."""

    resource = "batches"
    queryset = Batch.objects.all()

    @property
    def filterset_class(self) -> type[Filters]:
        """What one is not to know one may not ask for either."""
        fake = getattr(self, "swagger_fake_view", False)
        return LabelerBatchFilter if not fake and self.actor.role in BLIND else BatchFilter

    def list(self, request: Request) -> Response:
        """Batches with their progress, a page at a time."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset())) or []
        return self.get_paginated_response(self._shown(page))

    def retrieve(self, request: Request, pk: str) -> Response:
        """One batch with its progress."""
        return Response(self._shown([self.get_object()])[0])

    @extend_schema(
        request=BatchInput,
        responses={201: BatchSerializer},
        examples=[*example(ASKED), *example(DETAIL, status=201)],
    )
    def create(self, request: Request) -> Response:
        """Sends snippets out for labels. A vendor is sent the tasks by a job, and begins when the batch is launched."""
        data = self.input(BatchInput)
        chosen = data.pop("filter", None)
        pairs = [(first, second) for first, second in data.pop("pairs", [])]
        batch = batch_create(order=BatchOrder(**data, pairs=pairs, chosen=chosen))
        return Response(self._shown([batch])[0], status=201)

    @_move
    @action(detail=True, methods=["post"])
    def launch(self, request: Request, pk: str) -> Response:
        """Has the vendor begin. This may cost money, and never happens by itself."""
        return self._moved("launch")

    @_move
    @action(detail=True, methods=["post"])
    def pause(self, request: Request, pk: str) -> Response:
        """Gives nothing more out until the batch is resumed; what is held may be answered."""
        return self._moved("pause")

    @_move
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, pk: str) -> Response:
        """Goes on after a pause."""
        return self._moved("resume")

    @_move
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """Ends the batch for good, here and at the vendor; labels stay."""
        return self._moved("cancel")

    def _moved(self, move: Move) -> Response:
        return Response(self._shown([batch_move(batch=self.get_object(), move=move)])[0])

    def _shown(self, rows: Sequence[Batch]) -> Any:
        shape = LabelerBatchSerializer if self.actor.role in BLIND else BatchSerializer
        context = {**self.get_serializer_context(), "counts": batch_counts(row.pk for row in rows)}
        return shape(rows, many=True, context=context).data
