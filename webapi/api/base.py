"""What every resource of the API shares: rights, sizes, idempotency keys, strict input."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, TypeVar, cast

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.db.models import Model, QuerySet
from rest_framework import serializers
from rest_framework.permissions import SAFE_METHODS
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from webapi.errors import DomainError, FieldError
from webapi.models import User
from webapi.permissions import Actor, actor_of, visible
from webapi.services.idempotency import Answer, answer_once

KEY_HEADER = "Idempotency-Key"
MAX_KEY = 200
RowType = TypeVar("RowType", bound=Model)


class Resource(GenericViewSet[RowType]):
    """A resource of the table of rights.

    `queryset` holds the rows before rights; a changing request may carry an idempotency key.
    """

    resource: ClassVar[str]
    """Name in `webapi.permissions.RIGHTS`."""
    max_body: ClassVar[int | None] = None
    """Bytes; None: the setting's `MAX_BODY_BYTES`."""
    unchanging: ClassVar[frozenset[str]] = frozenset()
    """Actions that change nothing though they are POSTs: they need no idempotency key."""
    secrets: ClassVar[frozenset[str]] = frozenset()
    """Fields of an answer that are shown once and not kept under an idempotency key."""

    @property
    def actor(self) -> Actor:
        """Who asks."""
        return actor_of(self.request)

    @property
    def user(self) -> User:
        """Who asks, as a row."""
        return cast(User, self.request.user)

    def get_queryset(self) -> QuerySet[RowType]:
        """The rows that the actor may see."""
        rows = super().get_queryset()
        return rows if getattr(self, "swagger_fake_view", False) else visible(rows, self.resource, self.actor)

    def input(self, serializer: type[serializers.Serializer[Any]], data: Any = None) -> dict[str, Any]:
        """The request's body, checked. Raises ValidationError."""
        checked = serializer(data=self.request.data if data is None else data, context=self.get_serializer_context())
        checked.is_valid(raise_exception=True)
        return cast(dict[str, Any], checked.validated_data)

    def listed(self, rows: QuerySet[RowType]) -> Response:
        """One page of the filtered rows."""
        page = self.paginate_queryset(self.filter_queryset(rows))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuses a body that is too large, then asks for rights, then sees to the idempotency key."""
        check_size(request, self.max_body or settings.MAX_BODY_BYTES)
        super().initial(request, *args, **kwargs)
        method = (request.method or "").lower()
        key = request.headers.get(KEY_HEADER, "")
        handler = getattr(self, method, None)
        if key and handler and request.method not in SAFE_METHODS and self.action not in self.unchanging:
            setattr(self, method, partial(self._once, handler, checked_key(key)))

    def _once(
        self, handler: Callable[..., Response], key: str, request: Request, *args: Any, **kwargs: Any
    ) -> Response:
        def work() -> Answer:
            self._fresh = handler(request, *args, **kwargs)
            return Answer(self._fresh.status_code, self._kept(self._fresh.data))

        answer = answer_once(
            user=self.user, key=key, request=f"{request.method} {request.path}", digest=digest_of(request), work=work
        )
        if answer.replayed:
            return Response(answer.body, status=answer.status, headers={"Idempotency-Replayed": "true"})
        return self._fresh

    def _kept(self, data: Any) -> Any:
        plain = json.loads(JSONRenderer().render(data) or b"null")
        return {**plain, **dict.fromkeys(self.secrets)} if self.secrets else plain


class StrictSerializer(serializers.Serializer[Any]):
    """Input: fields that nobody knows are refused, so that a misspelt one does not read as left out."""

    def to_internal_value(self, data: Any) -> Any:
        """The checked fields. Raises ValidationError."""
        if isinstance(data, Mapping) and (unknown := [str(name) for name in data if name not in self.fields]):
            known = ", ".join(self.fields)
            raise serializers.ValidationError(
                {
                    name: serializers.ErrorDetail(f"There is no such field; known are {known}.", "unknown_field")
                    for name in unknown
                }
            )
        return super().to_internal_value(data)


def check_size(request: Request, most: int) -> None:
    """Raises DomainError `body_too_large` by what the request says of itself; nothing more is ever read of it."""
    length = request.META.get("CONTENT_LENGTH") or "0"
    if length.isascii() and length.isdigit() and int(length) > most:
        raise DomainError("body_too_large", f"The body has {int(length):,} bytes, at most {most:,} are taken.")


def checked_key(key: str) -> str:
    """The idempotency key. Raises DomainError for one that cannot be kept."""
    if len(key) > MAX_KEY or not key.isprintable():
        message = f"{KEY_HEADER} must be at most {MAX_KEY} printable characters."
        raise DomainError("invalid", message, errors=[FieldError((KEY_HEADER,), "max_length", message)])
    return key


def digest_of(request: Request) -> str:
    """A hash of what a request asks: the same for the same fields and files, however they were encoded."""
    digest = hashlib.sha256(request.META.get("QUERY_STRING", "").encode())
    data = request.data
    if not hasattr(data, "lists"):
        digest.update(json.dumps(data, sort_keys=True).encode())
        return digest.hexdigest()
    for name, values in sorted(data.lists()):
        for value in values:
            digest.update(f"\0{name}\0".encode())
            if isinstance(value, UploadedFile):
                for chunk in value.chunks():
                    digest.update(chunk)
                value.seek(0)
            else:
                digest.update(str(value).encode(errors="surrogatepass"))
    return digest.hexdigest()
