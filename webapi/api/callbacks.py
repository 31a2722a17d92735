"""Where vendors bring labels, or say that there are some. `docs/webhook_vendor.openapi.yaml` describes it for them."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.permissions import AllowAny
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from labeling_adapters.base import Delivery, RefusedLabel
from webapi.api.base import check_size
from webapi.services.callbacks import callback_batch, callback_take
from workers.vendor_answers import NAME_CHARS


class Anyhow(BaseContentNegotiation):
    """The answer is JSON whatever is asked for: a vendor's library asks for what it likes, and labels are not lost."""

    def select_parser(self, request: Request, parsers: Any) -> None:
        """None: the body is taken as it came."""

    def select_renderer(self, request: Request, renderers: Any, format_suffix: Any = None) -> tuple[BaseRenderer, str]:
        """The first."""
        return renderers[0], renderers[0].media_type


class Callbacks(APIView):
    """The address ends in a secret, which is all the rights there are. The body is taken as it came: signed.

    All that begins with `callbacks/` comes here, for Django logs the paths of refused requests, and one that is nearly
    right holds the secret too.
    """

    http_method_names = ["post"]
    permission_classes = [AllowAny]
    authentication_classes = []
    throttle_classes = []
    parser_classes: list[type[BaseParser]] = []
    content_negotiation_class = Anyhow
    schema = None

    def post(self, request: Request, address: str) -> Response:
        """What became of the labels, by outcome, and those that were not taken. A stranger's body is not read."""
        batch = callback_batch(address=address)
        check_size(request, settings.MAX_BODY_BYTES)
        headers = {name.lower(): value for name, value in request.headers.items()}
        taken = callback_take(batch=batch, delivery=Delivery(request._request.body, headers))
        refused = [_shown(place, label) for place, label in taken.refused.items()]
        return Response({"counts": taken.counts, "refused": refused})

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        """Keeps the path out of Django's log."""
        answer = super().finalize_response(request, response, *args, **kwargs)
        vars(answer)["_has_been_logged"] = True
        return answer


def _shown(place: int, label: RefusedLabel) -> dict[str, Any]:
    """The task is told back as far as it is text."""
    task = label.task_id[:NAME_CHARS].encode(errors="replace").decode()
    return {"index": place, "task": task, "reason": label.reason}
