"""Signed webhooks, both ways: Standard Webhooks (standardwebhooks.com), the symmetric scheme `v1`.

A secret is `whsec_` and base64 of 24 to 64 random bytes. Two secrets separated by a comma are an old and a new one
while a receiver changes over: messages are signed with both, and either is taken.
"""

from __future__ import annotations

import secrets
from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import UTC, datetime

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from engine.errors import BadInput

PREFIX = "whsec_"
SEPARATOR = ","
SECRET_BYTES = (24, 64)


class SignatureError(Exception):
    """A message is not from who holds the secret, or not from now; the message says what is wrong with it."""


def new_secret() -> str:
    """A fresh secret."""
    return PREFIX + b64encode(secrets.token_bytes(32)).decode()


def sign(secret: str, message_id: str, body: bytes, *, at: datetime | None = None) -> dict[str, str]:
    """The three headers of a message. `message_id` names the message: a repeat has the same. `at`: now, in UTC.

    Raises BadInput for a secret that is none; the error does not hold it.
    """
    at = (at or datetime.now(UTC)).astimezone(UTC)
    signatures = [webhook.sign(message_id, at, body.decode()) for webhook in _webhooks(secret)]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def verify(secret: str, body: bytes, headers: Mapping[str, str]) -> None:
    """Raises SignatureError unless one of the signatures is right and no more than five minutes off. Constant time."""
    problem = ""
    for webhook in _webhooks(secret):
        try:
            webhook.verify(body, dict(headers), json_parse=False)
        except WebhookVerificationError as error:
            problem = str(error)
        except ValueError:  # neither base64, nor pairs, nor UTF-8: the library lets these through
            problem = "Malformed signature header or body"
        else:
            return
    raise SignatureError(problem)


def _webhooks(secret: str) -> list[Webhook]:
    """One for each of the secrets."""
    return [Webhook(_key(one)) for one in secret.split(SEPARATOR)]


def _key(secret: str) -> bytes:
    least, most = SECRET_BYTES
    try:
        key = b64decode(secret.removeprefix(PREFIX) + "==")
    except ValueError:
        key = b""
    if not least <= len(key) <= most:
        raise BadInput(f"a webhook secret is '{PREFIX}' and the base64 of {least} to {most} random bytes")
    return key
