"""Policies: what counts as a failure."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from engine.policies import Policy as PolicySpec
from webapi.api.base import Resource, StrictSerializer
from webapi.api.classifier_shapes import PROMOTION, PromotionSerializer
from webapi.api.fields import ClassifierField
from webapi.api.filters import Filters
from webapi.api.schema import EXAMPLE_ID, EXAMPLE_TIME, example, one_of
from webapi.models import Policy
from webapi.permissions import BLIND
from webapi.services.policies import policy_create
from webapi.services.promotions import policy_roll_back


class ComparisonSerializer(serializers.Serializer[Any]):
    """What is asked of two completions."""

    question = serializers.CharField()
    guidelines = serializers.CharField()


class LabelerPolicySerializer(serializers.ModelSerializer[Policy]):
    """A policy as those who label see it."""

    question = serializers.CharField(source="spec.question", read_only=True)
    guidelines = serializers.CharField(source="spec.guidelines", read_only=True)
    choices = serializers.ListField(
        child=serializers.CharField(), source="spec.choices", read_only=True, help_text="The most severe first."
    )
    comparison = ComparisonSerializer(source="rules.comparison", read_only=True)

    class Meta:
        model = Policy
        fields = ["id", "name", "version", "question", "guidelines", "choices", "comparison", "created_at"]


class PolicySerializer(LabelerPolicySerializer):
    """A policy with everything that is said in it."""

    spec = serializers.DictField(read_only=True)

    class Meta(LabelerPolicySerializer.Meta):
        fields = [*LabelerPolicySerializer.Meta.fields, "spec"]


class RollBackInput(StrictSerializer):
    """What is thought to serve now: where another classifier does, nothing is changed (409)."""

    classifier = ClassifierField(required=False, allow_null=True, default=None)


class PolicyFilter(Filters):
    """Filters of the list."""

    class Meta:
        model = Policy
        fields = ["name", "version"]


SPEC = {
    "name": "injury",
    "question": "Was anyone injured, or is there fresh injury?",
    "choices": ["Yes", "Unsure", "No"],
    "snippet_rules": {"prompt_sentences": 3},
}
ROW: dict[str, Any] = {
    "id": EXAMPLE_ID,
    "name": "injury",
    "version": 1,
    "question": SPEC["question"],
    "guidelines": "",
    "choices": SPEC["choices"],
    "comparison": {"question": "Which continuation is better?", "guidelines": ""},
    "created_at": EXAMPLE_TIME,
}


@extend_schema_view(
    list=extend_schema(
        responses=one_of("PolicyForRole", PolicySerializer, LabelerPolicySerializer, many=True),
        examples=example(ROW, status=200),
    ),
    retrieve=extend_schema(
        responses=one_of("PolicyForRole", PolicySerializer, LabelerPolicySerializer), examples=example(ROW, status=200)
    ),
)
class Policies(Resource[Policy]):
    """Policies; a change is a new version."""

    resource = "policies"
    queryset = Policy.objects.all()
    filterset_class = PolicyFilter

    def get_serializer_class(self) -> type[serializers.BaseSerializer[Policy]]:
        """Labelers see what they need to judge."""
        return LabelerPolicySerializer if self.actor.role in BLIND else PolicySerializer

    def list(self, request: Request) -> Response:
        """Policies, a page at a time."""
        return self.listed(self.get_queryset())

    def retrieve(self, request: Request, pk: str) -> Response:
        """One policy."""
        return Response(self.get_serializer(self.get_object()).data)

    @extend_schema(
        request=PolicySpec,
        responses={201: PolicySerializer, 200: PolicySerializer},
        examples=[*example(SPEC), *example({**ROW, "spec": SPEC}, status=201)],
    )
    def create(self, request: Request) -> Response:
        """Adds a policy, or the name's next version. The same content again is the same row (200)."""
        asked_at = timezone.now()
        policy = policy_create(spec=PolicySpec.model_validate(request.data))
        return Response(PolicySerializer(policy).data, status=201 if policy.created_at >= asked_at else 200)

    @extend_schema(
        request=RollBackInput,
        responses=PromotionSerializer,
        examples=[*example({"classifier": EXAMPLE_ID}), *example(PROMOTION, status=200)],
    )
    @action(detail=True, methods=["post"])
    def rollback(self, request: Request, pk: str) -> Response:
        """The classifier that was promoted before the serving one serves again; answers its promotion."""
        policy, wanted = self.get_object(), self.input(RollBackInput)["classifier"]
        return Response(PromotionSerializer(policy_roll_back(policy=policy, by=self.user, wanted=wanted)).data)
