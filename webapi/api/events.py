"""Server-sent events: the state of something that moves, sent whenever it changes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from django.conf import settings
from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.renderers import BaseRenderer, JSONRenderer

from webapi.api.schema import example

LOOK_EVERY = 1.0
"""Seconds between two looks at the database."""
KEEP_ALIVE = 15.0
"""Seconds of silence after which a comment keeps proxies from closing the stream."""

TICKING = frozenset({"eta", "rate", "seconds"})
"""Figures that change with the clock alone: no reason for an event."""

EVENTS = 'id: 4f1c0a9e2b7d8c35\nevent: progress\ndata: {"state": "running", "done": 4000, "total": 10000}\n\n'
describe_events = extend_schema(
    parameters=[
        OpenApiParameter(
            "Last-Event-ID", str, OpenApiParameter.HEADER, description="The id of the last event that was seen."
        )
    ],
    responses={(200, "text/event-stream"): OpenApiResponse(OpenApiTypes.STR, "Events `progress`, then `end`.")},
    examples=example(EVENTS, status=200, media_type="text/event-stream"),
    filters=False,
)
"""How a stream of events stands in the API's description."""


class Snapshot(NamedTuple):
    """The whole state now, and whether it can still change."""

    data: dict[str, Any]
    moving: bool


class EventRenderer(BaseRenderer):
    """Lets a view be asked for `text/event-stream`. Problems are still JSON."""

    media_type = "text/event-stream"
    format = "events"
    charset = None

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        """Problems only: events are streamed past it."""
        return JSONRenderer().render(data)


def event_stream(look: Callable[[], Snapshot], last_id: str) -> StreamingHttpResponse:
    """Answers with events until the state is final or the stream has been open for `EVENTS_SECONDS`.

    Each event is a whole state, named by its hash: a client who comes back with the last name it saw gets only what
    changed since. The last event is `end` when nothing will change any more; a client should then stop.
    """
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingHttpResponse(_events(look, last_id), content_type="text/event-stream", headers=headers)


def _events(look: Callable[[], Snapshot], last_id: str) -> Iterator[bytes]:
    started = spoken = time.monotonic()
    yield b"retry: 2000\n\n"
    while True:
        snapshot = look()
        name, text = _named(snapshot)
        if name != last_id:
            last_id, spoken = name, time.monotonic()
            yield f"id: {name}\nevent: progress\ndata: {text}\n\n".encode()
        if not snapshot.moving:
            yield f"id: {name}\nevent: end\ndata: {{}}\n\n".encode()
            return
        now = time.monotonic()
        if now - started > settings.EVENTS_SECONDS:
            return
        if now - spoken > KEEP_ALIVE:
            spoken = now
            yield b": still here\n\n"
        time.sleep(LOOK_EVERY)


def _named(snapshot: Snapshot) -> tuple[str, str]:
    name = hashlib.sha256(JSONRenderer().render(_still(snapshot.data))).hexdigest()[:16]
    return name, JSONRenderer().render(snapshot.data).decode()


def _still(value: Any) -> Any:
    """What stands still while nothing happens."""
    if isinstance(value, dict):
        return {key: _still(item) for key, item in value.items() if key not in TICKING}
    return [_still(item) for item in value] if isinstance(value, list | tuple) else value
