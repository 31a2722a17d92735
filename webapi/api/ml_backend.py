"""Label Studio's ML-backend contract: a project there may ask a classifier here, where the policy is not blind.

`http://…/api/v1/ml/CLASSIFIER` is the address of the backend there, with basic authentication: any user name, an API
token as the password. With a policy's id instead its serving classifier is asked, so that a project follows what is
promoted. The shapes are `labeling_adapters.label_studio_backend`'s.
"""

from __future__ import annotations

import uuid
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
from webapi.models import Classifier, Policy
from webapi.permissions import actor_of, visible
from webapi.selectors.classifiers import serving_classifier
from webapi.services.classifiers import classifier_score

MAX_REASON = 200
"""Characters of a status line that tell why."""


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
        """The classifier of the path, or the one that serves the policy of the path. Raises DomainError `not_found`."""
        actor, key = actor_of(self.request), self.kwargs["key"]
        rows = visible(Classifier.objects.select_related("policy"), "classifiers", actor)
        found = rows.filter(pk=key).first()
        if found is not None:
            return found
        policy = visible(Policy.objects.all(), "policies", actor).filter(pk=key).first()
        if policy is None:
            raise DomainError("not_found", "There is no such classifier, nor such a policy.")
        serving = serving_classifier(policy.pk)
        if serving is None:
            raise DomainError("not_found", f"{policy} has no serving classifier: promote one first.")
        return rows.get(pk=serving.pk)

    def get(self, request: Request, key: uuid.UUID, asked: str) -> Response:
        """`health` and `versions`."""
        row = self.get_object()
        if asked == "health":
            return Response(backend.health(row.name))
        if asked == "versions":
            return Response(backend.versions(str(row.pk)))
        raise DomainError("not_found", f"There is nothing to be had at {asked!r}.")

    def post(self, request: Request, key: uuid.UUID, asked: str) -> Response:
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

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        """A refusal's status line says why: of all that is answered, Label Studio shows people only that."""
        answer = super().finalize_response(request, response, *args, **kwargs)
        if answer.status_code >= 400:
            detail = str(answer.data["detail"])[:MAX_REASON]
            answer.reason_phrase = "".join(one if one.isascii() and one.isprintable() else "?" for one in detail)
        return answer
