"""Label Studio's ML-backend contract: a project there may ask a classifier here, where the policy is not blind.

`http://…/api/v1/ml/CLASSIFIER` is the address of the backend there, with basic authentication: any user name, an API
token as the password. The shapes are `labeling_adapters.label_studio_backend`'s.
"""

from __future__ import annotations

from typing import Any, cast

from django.conf import settings
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from labeling_adapters import label_studio_backend as backend
from webapi.api.base import check_size
from webapi.api.parsing import JsonBody
from webapi.authentication import BasicToken, BearerAuthentication
from webapi.errors import DomainError
from webapi.models import Classifier
from webapi.permissions import actor_of, visible
from webapi.services.classifiers import classifier_score


class MlBackend(APIView):
    """One classifier as Label Studio wants a backend to be. Who may score may ask."""

    resource = "classifiers"
    action: str | None = None
    detail = True
    authentication_classes = [BasicToken, BearerAuthentication]
    parser_classes: list[type[BaseParser]] = [JsonBody]
    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Rights as for scoring."""
        check_size(request, settings.MAX_BODY_BYTES)
        self.action = "score"
        super().initial(request, *args, **kwargs)

    def get_object(self) -> Classifier:
        """The classifier of the path. Raises DomainError `not_found`."""
        rows = visible(Classifier.objects.select_related("policy"), "classifiers", actor_of(self.request))
        found = rows.filter(pk=self.kwargs["classifier"]).first()
        if found is None:
            raise DomainError("not_found", "There is no such classifier.")
        return found

    def get(self, request: Request, classifier: str, asked: str) -> Response:
        """`health`."""
        if asked != "health":
            raise DomainError("not_found", f"There is nothing to be had at {asked!r}.")
        return Response(backend.health(self.get_object().name))

    def post(self, request: Request, classifier: str, asked: str) -> Response:
        """`setup`, `predict` and `webhook`."""
        row = self.get_object()
        if asked == "webhook":
            return Response(backend.webhook())
        if asked not in ("setup", "predict"):
            raise DomainError("not_found", f"There is nothing to ask at {asked!r}.")
        policy = row.policy.rules
        if policy.blind:
            raise DomainError("policy_is_blind", f"{row.policy} keeps labelers from the classifier's opinion.")
        if asked == "setup":
            return Response(backend.setup(policy, request.data, str(row.pk)))
        snippets, tags = backend.asked(policy, request.data)
        if row.threshold is None:
            raise DomainError("classifier_not_calibrated", f"{row.name} has no threshold yet.")
        logits = [scored.logit for scored in classifier_score(classifier=row, snippets=snippets)]
        found = backend.predictions(policy, tags, logits, threshold=row.threshold, version=str(row.pk))
        return Response(cast(dict[str, Any], found))
