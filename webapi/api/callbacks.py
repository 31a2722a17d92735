"""Where vendors bring labels, or say that there are some. `docs/webhook_vendor.openapi.yaml` describes it for them."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from rest_framework.parsers import BaseParser
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from labeling_adapters.base import Delivery
from webapi.api.base import check_size
from webapi.services.callbacks import callback_take


class Callbacks(APIView):
    """The address ends in a secret, which is all the rights there are. The body is taken as it came: signed."""

    permission_classes = [AllowAny]
    authentication_classes = []
    throttle_classes = []
    parser_classes: list[type[BaseParser]] = []
    schema = None

    def post(self, request: Request, batch: uuid.UUID, secret: str) -> Response:
        """What became of the labels, by outcome."""
        check_size(request, settings.MAX_BODY_BYTES)
        body = request._request.body
        headers = {name.lower(): value for name, value in request.headers.items()}
        return Response({"counts": callback_take(batch_id=batch, secret=secret, delivery=Delivery(body, headers))})

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        """Django logs the paths of refused requests; this one holds a secret."""
        answer = super().finalize_response(request, response, *args, **kwargs)
        vars(answer)["_has_been_logged"] = True
        return answer
