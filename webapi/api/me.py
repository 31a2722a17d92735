"""Who the API takes you for, and what it means by its error codes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import django_filters as filters
from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

from engine.evaluation.rates import clopper_pearson
from webapi.api.base import Resource
from webapi.api.fields import RateSerializer
from webapi.api.filters import Filters
from webapi.api.schema import EXAMPLE_ID, EXAMPLE_TIME, example
from webapi.errors import ERROR_CODES, DomainError
from webapi.models import Annotator, ApiToken, Label, Role, StandingState
from webapi.permissions import RIGHTS, Actor, may, pull_vendor, sees
from webapi.selectors.dashboard import annotator_figures
from webapi.selectors.feedback import told_gold
from webapi.selectors.standings import standings_of


class FiguresSerializer(serializers.Serializer[Any]):
    """Your own labeling. `seconds`: the median time of your latest thousand answers."""

    today = serializers.IntegerField()
    total = serializers.IntegerField()
    changed = serializers.IntegerField()
    seconds = serializers.FloatField(allow_null=True)
    choices = serializers.ListField(child=serializers.DictField())
    first = serializers.DateTimeField(allow_null=True)
    last = serializers.DateTimeField(allow_null=True)


class PolicyNameSerializer(serializers.Serializer[Any]):
    """Which policy."""

    id = serializers.UUIDField(source="pk")
    name = serializers.CharField()
    version = serializers.IntegerField()


class QualificationSerializer(serializers.Serializer[Any]):
    """How far your entrance test is."""

    answered = serializers.IntegerField()
    size = serializers.IntegerField()


class StandingSerializer(serializers.Serializer[Any]):
    """How you stand under a policy. `gold` counts answers to gold whose right answers you may know by now."""

    policy = PolicyNameSerializer()
    state = serializers.ChoiceField(StandingState.choices)
    reason = serializers.CharField(allow_blank=True)
    feedback = serializers.BooleanField(help_text="Whether you will see at `/me/gold` how you answered gold.")
    qualification = QualificationSerializer(allow_null=True, help_text="While you are `qualifying`.")
    gold = RateSerializer(help_text="The share that you answered rightly.")


class ToldGoldSerializer(serializers.ModelSerializer[Label]):
    """Gold that you answered, with the right answer."""

    policy = PolicyNameSerializer(source="snippet.policy")
    prompt = serializers.CharField(source="snippet.prompt")
    completion = serializers.CharField(source="snippet.completion")
    right_choice = serializers.CharField(source="task.gold.choice")
    explanation = serializers.CharField(source="task.gold.explanation")

    class Meta:
        model = Label
        fields = ["id", "task", "policy", "prompt", "completion", "choice", "right_choice", "explanation", "created_at"]
        read_only_fields = fields


class MeSerializer(serializers.Serializer[Any]):
    """You. `may`: resource -> what you may do there besides reading; what is missing you do not see."""

    id = serializers.UUIDField()
    username = serializers.CharField()
    role = serializers.CharField()
    token = serializers.UUIDField(allow_null=True)
    may = serializers.DictField(child=serializers.ListField(child=serializers.CharField()))
    labeling = FiguresSerializer(allow_null=True)
    standings = StandingSerializer(many=True)


WHOM = "For vendors: your own id of the worker whom you ask about; none: yourself."
YOU: dict[str, Any] = {
    "id": EXAMPLE_ID,
    "username": "acme",
    "role": "vendor",
    "token": EXAMPLE_ID,
    "may": {"batches": [], "tasks": ["lease", "release", "renew"], "labels": ["create"]},
    "labeling": None,
    "standings": [
        {
            "policy": {"id": EXAMPLE_ID, "name": "injury", "version": 1},
            "state": "qualifying",
            "reason": "",
            "feedback": True,
            "qualification": {"answered": 3, "size": 10},
            "gold": clopper_pearson(0, 0).as_dict(),
        }
    ],
}
TOLD: dict[str, Any] = {
    "id": EXAMPLE_ID,
    "task": EXAMPLE_ID,
    "policy": {"id": EXAMPLE_ID, "name": "injury", "version": 1},
    "prompt": "The rain fell. Ada ran to the gate. It was locked.",
    "completion": "She climbed over it and cut her hand on the latch.",
    "choice": "No",
    "right_choice": "Yes",
    "explanation": "A cut is an injury, however small.",
    "created_at": EXAMPLE_TIME,
}


class WhoseFilter(Filters):
    """Of whom; `annotator_asked` has seen to it."""

    annotator = filters.CharFilter(method="as_asked", label=WHOM)

    def as_asked(self, rows: QuerySet[Label], name: str, worker: str) -> QuerySet[Label]:
        """All of them."""
        return rows


class Me(Resource[Label]):
    """You."""

    resource = "me"
    queryset = Label.objects.none()
    serializer_class = ToldGoldSerializer
    filterset_class = WhoseFilter

    @extend_schema(
        responses=MeSerializer,
        examples=example(YOU, status=200),
        operation_id="me",
        parameters=[OpenApiParameter("annotator", str, description=WHOM)],
        filters=False,
    )
    def list(self, request: Request) -> Response:
        """Who you are here, what you may do, and how you (or a worker of yours) stand as a labeler."""
        annotator = annotator_asked(self.actor, request.query_params.get("annotator", ""))
        rights = {
            resource: sorted(
                action
                for action in {action for rights in roles.values() for action in rights.may}
                if may(self.actor, resource, action)
            )
            for resource, roles in RIGHTS.items()
            if sees(self.actor, resource)
        }
        data = {
            "id": self.user.pk,
            "username": self.user.username,
            "role": self.actor.role,
            "token": request.auth.pk if isinstance(request.auth, ApiToken) else None,
            "may": rights,
            "labeling": asdict(annotator_figures(annotator)) if annotator else None,
            "standings": [{**row._asdict(), "gold": row.gold.as_dict()} for row in standings_of(annotator)],
        }
        return Response(MeSerializer(data).data)

    @extend_schema(
        responses=ToldGoldSerializer(many=True),
        examples=example(TOLD, status=200),
        operation_id="me_gold",
    )
    @action(detail=False)
    def gold(self, request: Request) -> Response:
        """Texts whose right answer was known, as you (or a worker of yours) answered them, the latest first.

        Those of an entrance test are here once it has ended; others a day later or after twenty further answers, and
        none under a policy that gives no feedback. An answer that is here cannot be changed any more.
        """
        annotator = annotator_asked(self.actor, request.query_params.get("annotator", ""))
        told = told_gold(annotator) if annotator else Label.objects.none()
        return self.listed(told.select_related("task__gold", "snippet__policy"))


def annotator_asked(actor: Actor, worker: str) -> Annotator | None:
    """The annotator that the user is, or the worker whom this vendor names; None who has not leased anything yet.

    Raises DomainError `not_an_annotator` where anybody else names a worker.
    """
    if not worker:
        return Annotator.objects.filter(user=actor.user).first()
    if actor.role != Role.VENDOR:
        raise DomainError("not_an_annotator", "Only vendors name the worker whom they ask about.")
    return Annotator.objects.filter(vendor=pull_vendor(actor.user), external_id=worker).first()


class ErrorCodeSerializer(serializers.Serializer[Any]):
    """What a code means."""

    code = serializers.CharField()
    status = serializers.IntegerField(help_text="The status that it usually comes with.")
    title = serializers.CharField()
    meaning = serializers.CharField()


def _code(code: str) -> dict[str, Any]:
    return {"code": code, **ERROR_CODES[code]._asdict()}


class ErrorCodes(ViewSet):
    """The codes that problems carry; where their `type` leads."""

    permission_classes = [AllowAny]
    throttle_classes = []
    lookup_value_regex = "[a-z_]+"

    @extend_schema(
        responses=ErrorCodeSerializer(many=True),
        examples=example(_code("not_found"), status=200),
        operation_id="errors_list",
        tags=["errors"],
    )
    def list(self, request: Request) -> Response:
        """Every code."""
        return Response([_code(code) for code in ERROR_CODES])

    @extend_schema(
        responses=ErrorCodeSerializer,
        examples=example(_code("not_found"), status=200),
        operation_id="errors_retrieve",
        tags=["errors"],
        parameters=[],
    )
    def retrieve(self, request: Request, pk: str) -> Response:
        """What one code means."""
        if pk not in ERROR_CODES:
            raise DomainError("not_found", f"There is no error code {pk!r}.")
        return Response(_code(pk))


class Nothing(APIView):
    """Every other path of the API."""

    permission_classes = [AllowAny]
    authentication_classes = []
    throttle_classes = []
    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """404, whatever the method."""
        raise DomainError("not_found", f"There is nothing at {request.path}.")
