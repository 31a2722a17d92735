"""A changing request sent twice changes something once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from django.db import IntegrityError, transaction

from webapi.errors import DomainError
from webapi.models import IdempotentRequest, User

FORESTALLED = 409
"""Status of a key whose request must not be answered any more."""


class Answer(NamedTuple):
    """What a request was answered with."""

    status: int
    body: Any
    replayed: bool = False


def answer_once(*, user: User, key: str, request: str, digest: str, work: Callable[[], Answer]) -> Answer:
    """Does `work` under the key, or gives the answer that it gave before.

    `request` is the method and path, `digest` a hash of the body. Key, work and answer are one transaction: of
    concurrent requests the unique key lets one work while the others wait for its answer, and a crash leaves nothing
    behind. Whatever `work` raises frees the key again. Raises DomainError `idempotency_key_reused`.
    """
    before = _before(user, key, request, digest)
    if before:
        return before
    try:
        with transaction.atomic():
            row = IdempotentRequest.objects.create(user=user, key=key, method_path=request, body_digest=digest)
            answer = work()
            IdempotentRequest.objects.filter(pk=row.pk).update(status=answer.status, answer=answer.body)
            return answer
    except IntegrityError:
        before = _before(user, key, request, digest)
        if before is None:
            raise
        return before


def answer_forestall(*, user: User, key: str, request: str) -> Any:
    """What the request with this key was answered; one that has not come yet will find its key used, and do nothing.

    Waits for a request that is being answered. None where nothing was done under the key.
    """
    row, _ = IdempotentRequest.objects.get_or_create(
        user=user, key=key, defaults={"method_path": request, "body_digest": "", "status": FORESTALLED}
    )
    return row.answer if row.method_path == request else None


def _before(user: User, key: str, request: str, digest: str) -> Answer | None:
    row = IdempotentRequest.objects.filter(user=user, key=key).first()
    if row is None or row.status is None:
        return None
    if (row.method_path, row.body_digest) != (request, digest):
        raise DomainError("idempotency_key_reused", f"The key {key!r} came before with another request.")
    return Answer(row.status, row.answer, replayed=True)
