"""How answers become JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework.renderers import JSONRenderer


class _Escaped(JSONRenderer):
    ensure_ascii = True


class AnyText(JSONRenderer):
    """As REST framework's, but half a surrogate pair is escaped, which a request's JSON can hold and UTF-8 cannot.

    What is told back of a request must not undo the answer to it.
    """

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        """The bytes of the answer."""
        try:
            return super().render(data, accepted_media_type, renderer_context)
        except UnicodeEncodeError:
            return _Escaped().render(data, accepted_media_type, renderer_context)
