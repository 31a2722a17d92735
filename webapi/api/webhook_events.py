"""What each message of a webhook says, as it stands in the API's description (OpenAPI's `webhooks`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from webapi.models import BatchKind, BatchState
from workers.export_tables import EXPORTS

Schema = dict[str, Any]
KEY: Schema = {"type": "string", "format": "uuid"}
TEXT: Schema = {"type": "string"}


class Told(NamedTuple):
    """When a message is sent, what stands in its `data` for everybody, and what besides for those who are no vendor."""

    when: str
    everybody: Mapping[str, Schema]
    staff: Mapping[str, Schema]


def or_null(schema: Schema) -> Schema:
    """The same, or null."""
    kind = {"type": [schema["type"], "null"]}
    return {**schema, **kind}


def _object(told: Told) -> Schema:
    return {
        "type": "object",
        "required": list(told.everybody),
        "properties": {**told.everybody, **told.staff},
        "additionalProperties": False,
    }


LABEL = Told(
    "",
    {
        "label": KEY,
        "task": KEY,
        "batch": or_null(KEY),
        "revision": {"type": "integer", "description": "Above 0: the annotator changed the answer."},
        "outcome": {"enum": ["recorded", "surplus"], "description": "`surplus`: kept, but it does not count."},
        "external_id": TEXT,
    },
    {
        "policy": or_null(KEY),
        "snippet": KEY,
        "rival": {**or_null(KEY), "description": "The other completion of a comparison."},
        "annotator": KEY,
        "choice": {**TEXT, "description": "Of a comparison: `first` is `snippet`, `second` is `rival`."},
        "flagged": {"type": "boolean"},
    },
)
WHY = {"policy": KEY, "reason": TEXT}
EVENTS_TOLD: Mapping[str, Told] = {
    "label.recorded": Told(
        "Answers were recorded: one message for all that came in one request.",
        {"labels": {"type": "array", "minItems": 1, "items": _object(LABEL)}},
        {},
    ),
    "batch.finished": Told(
        "A batch has the labels it wants, or was cancelled.",
        {"batch": KEY, "policy": KEY, "state": {"enum": [BatchState.DONE.value, BatchState.CANCELLED.value]}},
        {"name": TEXT, "kind": {"enum": BatchKind.values}, "round": or_null(KEY)},
    ),
    "round.stage_finished": Told("A stage of a round ended well.", {"round": KEY, "stage": TEXT}, {}),
    "round.finished": Told(
        "A round ended. One that failed may be retried, and then ends again.",
        {"round": KEY, "state": {"enum": ["succeeded", "failed", "cancelled"]}, "error": TEXT},
        {},
    ),
    "annotator.paused": Told(
        "An annotator gets no tasks under a policy any more. Vendors are told of their own workers, as `worker`.",
        WHY,
        {"worker": {**TEXT, "description": "The name that the vendor gave."}, "annotator": KEY, "name": TEXT},
    ),
    "export.finished": Told(
        "An export's file is there, or it failed.",
        {
            "export": KEY,
            "what": {"enum": list(EXPORTS)},
            "state": {"enum": ["succeeded", "failed"]},
            "rows": {"type": ["integer", "null"]},
            "error": TEXT,
        },
        {},
    ),
    "ping": Told("Somebody asked for a message of no consequence.", {}, {}),
}
"""What is told, by event. Vendors never learn what a batch is for, or what is known of a text."""

HEADERS = {
    "webhook-id": "Names the message: a repeat has the same, so that it can be taken once.",
    "webhook-timestamp": "Seconds since 1970, of this attempt.",
    "webhook-signature": "`v1,` and base64 of HMAC-SHA256 over id, timestamp and body, by the secret; several while "
    "a secret is changed, separated by spaces.",
}
ABOUT = """{when}

Signed as [Standard Webhooks](https://www.standardwebhooks.com/). Answer 2xx within 15 s; anything else (also a
redirect) is tried again after 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h and 24 h, always under the same
`webhook-id`. 410 switches the endpoint off. Messages may come twice and in any order."""


def payload_schema(event: str) -> Schema:
    """The JSON schema of a message's body."""
    return {
        "type": "object",
        "required": ["type", "timestamp", "data"],
        "properties": {
            "type": {"const": event},
            "timestamp": {"type": "string", "format": "date-time", "description": "When it happened."},
            "data": _object(EVENTS_TOLD[event]),
        },
        "additionalProperties": False,
    }


def describe_events() -> dict[str, Any]:
    """OpenAPI's `webhooks`."""
    headers = [
        {"name": name, "in": "header", "required": True, "schema": TEXT, "description": says}
        for name, says in HEADERS.items()
    ]
    return {
        event: {
            "post": {
                "operationId": f"told_{event.replace('.', '_')}",
                "tags": ["webhooks"],
                "description": ABOUT.format(when=told.when),
                "parameters": headers,
                "requestBody": {"content": {"application/json": {"schema": payload_schema(event)}}},
                "responses": {"2XX": {"description": "Taken."}},
            }
        }
        for event, told in EVENTS_TOLD.items()
    }
