"""Tasks: leased, renewed, released. A labeler gets the text and the question, nothing of where it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from webapi.api.base import MAX_KEY, Resource, StrictSerializer
from webapi.api.fields import policies_named
from webapi.api.schema import EXAMPLE_ID, example
from webapi.models import Batch, Lease
from webapi.permissions import visible
from webapi.selectors.tasks import leases_held
from webapi.services.leases import (
    MAX_LEASES,
    annotator_for,
    leases_release,
    leases_release_asked,
    leases_renew,
    tasks_lease,
)
from workers.record import SIDES

KINDS = ("label", "compare")


class LeaseSerializer(serializers.Serializer[Lease]):
    """What proves that a task is yours, and until when."""

    token = serializers.UUIDField()
    expires_at = serializers.DateTimeField()


class QuestionSerializer(serializers.Serializer[Any]):
    """What is asked; the guidelines are at `/policies/{id}`."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    version = serializers.IntegerField()
    question = serializers.CharField()
    choices = serializers.ListField(child=serializers.CharField())


def question_of(lease: Lease) -> dict[str, Any]:
    """What is asked of the one who holds the lease, and the answers that may be given."""
    policy = lease.task.batch.policy
    compares = lease.task.rival_id is not None
    return {
        "id": str(policy.pk),
        "name": policy.name,
        "version": policy.version,
        "question": policy.rules.comparison.question if compares else policy.spec["question"],
        "choices": SIDES if compares else policy.spec["choices"],
    }


class TaskSerializer(serializers.Serializer[Lease]):
    """A task that you hold: one completion to judge or, where `kind` is `compare`, two to compare."""

    id = serializers.UUIDField()
    kind = serializers.ChoiceField(KINDS)
    batch = serializers.UUIDField()
    policy = QuestionSerializer()
    prompt = serializers.CharField()
    completion = serializers.CharField(help_text="In a comparison the one on the left.")
    rival = serializers.CharField(allow_null=True, help_text="In a comparison the completion on the right.")
    annotator = serializers.CharField(help_text="The worker that the lease named; empty: yourself.")
    lease = LeaseSerializer()

    def to_representation(self, instance: Lease) -> dict[str, Any]:
        """Field by field costs more than finding the task."""
        return shown(instance, question_of(instance))


def shown(lease: Lease, question: dict[str, Any]) -> dict[str, Any]:
    """A lease as its holder sees it. Labelers are not told of audits."""
    task = lease.task
    return {
        "id": str(lease.task_id),
        "kind": "compare" if task.rival_id else "label",
        "batch": str(task.batch_id),
        "policy": question,
        "prompt": task.snippet.prompt,
        "completion": lease.left.completion,
        "rival": lease.right.completion if lease.right else None,
        "annotator": lease.annotator.external_id,
        "lease": {"token": str(lease.token), "expires_at": lease.expires_at.isoformat().replace("+00:00", "Z")},
    }


def all_shown(leases: Sequence[Lease]) -> list[dict[str, Any]]:
    """Each question is put together once."""
    questions: dict[tuple[Any, bool], dict[str, Any]] = {}
    rows = []
    for lease in leases:
        key = (lease.task.batch_id, lease.task.rival_id is not None)
        if key not in questions:
            questions[key] = question_of(lease)
        rows.append(shown(lease, questions[key]))
    return rows


class LeaseInput(StrictSerializer):
    """Which tasks are wanted."""

    count = serializers.IntegerField(min_value=1, max_value=MAX_LEASES, default=1)
    policy = serializers.CharField(required=False, help_text="Key or name of a policy; none: any.")
    batch = serializers.UUIDField(required=False)
    kind = serializers.ChoiceField(KINDS, default="label", help_text="`compare`: comparisons of two completions.")
    annotator = serializers.CharField(
        required=False, max_length=200, help_text="For vendors: your own stable id of the worker who will answer."
    )


class LeasedSerializer(serializers.Serializer[Any]):
    """Tasks leased; fewer than asked for, or none, when no more are free."""

    tasks = TaskSerializer(many=True)


class TokensInput(StrictSerializer):
    """Leases by their tokens."""

    leases = serializers.ListField(child=serializers.UUIDField(), min_length=1, max_length=MAX_LEASES)


class ReleaseInput(StrictSerializer):
    """Leases by their tokens, or by the request that took them."""

    leases = serializers.ListField(child=serializers.UUIDField(), max_length=MAX_LEASES, default=list)
    request = serializers.CharField(
        max_length=MAX_KEY,
        default="",
        help_text="The `Idempotency-Key` of a request to `/tasks/lease` whose answer you did not get: what it leased "
        "is given back, and if it is still on its way it will lease nothing.",
    )

    def validate(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Something must be named. Raises ValidationError."""
        if not wanted["leases"] and not wanted["request"]:
            raise serializers.ValidationError({"leases": serializers.ErrorDetail("Name a lease.", "min_length")})
        return wanted


class LeaseOutcomeSerializer(serializers.Serializer[Any]):
    """What became of one lease. `not_held`: it had run out and was given back, or was never yours."""

    token = serializers.UUIDField()
    outcome = serializers.ChoiceField(["renewed", "released", "not_held"])
    expires_at = serializers.DateTimeField(allow_null=True)


class LeaseOutcomesSerializer(serializers.Serializer[Any]):
    """What became of each lease, in the order of the request."""

    results = LeaseOutcomeSerializer(many=True)


TASK: dict[str, Any] = {
    "id": EXAMPLE_ID,
    "kind": "label",
    "batch": EXAMPLE_ID,
    "policy": {
        "id": EXAMPLE_ID,
        "name": "injury",
        "version": 1,
        "question": "Was anyone injured, or is there fresh injury?",
        "choices": ["Yes", "Unsure", "No"],
    },
    "prompt": "The rain fell. Ada ran to the gate. It was locked.",
    "completion": "She climbed over it and went home to her tea.",
    "rival": None,
    "annotator": "worker-17",
    "lease": {"token": "5b0c1b1e-5f0e-4f0e-9d53-0d4c7a0c2a11", "expires_at": "2026-11-21T10:00:00Z"},
}
TOKENS = {"leases": [TASK["lease"]["token"]]}


def _outcome(outcome: str, expires_at: str | None) -> dict[str, Any]:
    return {"results": [{"token": TASK["lease"]["token"], "outcome": outcome, "expires_at": expires_at}]}


@extend_schema_view(list=extend_schema(examples=example(TASK, status=200)))
class Tasks(Resource[Lease]):
    """The labeling queue."""

    resource = "tasks"
    queryset = Lease.objects.none()
    serializer_class = TaskSerializer

    def get_queryset(self) -> QuerySet[Lease]:
        """Leases are one's own by their annotator."""
        return Lease.objects.none() if getattr(self, "swagger_fake_view", False) else leases_held(self.user)

    def list(self, request: Request) -> Response:
        """The tasks that you hold now: where a client goes on after a crash."""
        return self.listed(self.get_queryset())

    @extend_schema(
        request=LeaseInput,
        responses=LeasedSerializer,
        examples=[
            *example({"count": 1, "policy": "injury", "annotator": "worker-17"}),
            *example({"tasks": [TASK]}, status=200),
        ],
    )
    @action(detail=False, methods=["post"])
    def lease(self, request: Request) -> Response:
        """Takes up to `count` tasks for you, or for a vendor's worker, until their leases run out.

        Never a snippet that the annotator has answered, holds or wrote. Answer, renew or release before `expires_at`;
        after it the task goes to somebody else.
        """
        wanted = self.input(LeaseInput)
        named = policies_named(self.actor, wanted["policy"]) if "policy" in wanted else None
        policies = None if named is None else list(named.values_list("pk", flat=True))
        if "batch" in wanted:
            self._check_batch(wanted["batch"], policies)
        leases = tasks_lease(
            annotator=annotator_for(actor=self.actor, worker=wanted.get("annotator", "")),
            actor=self.actor,
            policies=policies,
            batch=wanted.get("batch"),
            count=wanted["count"],
            compare=wanted["kind"] == "compare",
        )
        return Response({"tasks": all_shown(leases)})

    @extend_schema(
        request=TokensInput,
        responses=LeaseOutcomesSerializer,
        examples=[*example(TOKENS), *example(_outcome("renewed", "2026-11-21T10:30:00Z"), status=200)],
    )
    @action(detail=False, methods=["post"])
    def renew(self, request: Request) -> Response:
        """Holds leases as long again from now."""
        outcomes = leases_renew(user=self.user, tokens=self.input(TokensInput)["leases"])
        return Response(LeaseOutcomesSerializer({"results": outcomes}).data)

    @extend_schema(
        request=ReleaseInput,
        responses=LeaseOutcomesSerializer,
        examples=[*example(TOKENS), *example(_outcome("released", None), status=200)],
    )
    @action(detail=False, methods=["post"])
    def release(self, request: Request) -> Response:
        """Gives leases back at once."""
        wanted = self.input(ReleaseInput)
        outcomes = leases_release(user=self.user, tokens=wanted["leases"])
        if wanted["request"]:
            outcomes += leases_release_asked(user=self.user, key=wanted["request"])
        return Response(LeaseOutcomesSerializer({"results": outcomes}).data)

    def _check_batch(self, key: Any, policies: Sequence[Any] | None) -> None:
        seen = visible(Batch.objects.filter(pk=key), "batches", self.actor)
        if not (seen if policies is None else seen.filter(policy__in=policies)).exists():
            raise serializers.ValidationError(
                {"batch": serializers.ErrorDetail("There is no such batch.", "does_not_exist")}
            )
