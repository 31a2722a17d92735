"""Who is asking: a bearer token from a program, or the session of a page with its CSRF token."""

from __future__ import annotations

import binascii
from base64 import b64decode
from datetime import timedelta

from django.utils import timezone
from rest_framework.authentication import BaseAuthentication, SessionAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from webapi.models import ApiToken, User
from webapi.permissions import TOKEN_ROLES, role_of

NOTE_USE_EVERY = timedelta(minutes=1)
"""`last_used_at` is this exact: a write with every read would be a poor bargain."""


class BearerAuthentication(BaseAuthentication):
    """`Authorization: Bearer <token>`. The token acts in its own role, and dies when its user loses that role."""

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        """The token's user and the token; None where no bearer token was sent."""
        words = get_authorization_header(request).split()
        if not words or words[0].lower() != b"bearer":
            return None
        return _acting_for(words[1].decode("latin-1") if len(words) == 2 else "")

    def authenticate_header(self, request: Request) -> str:
        """What a 401 asks for."""
        return 'Bearer realm="gauntlet"'


class BasicToken(BaseAuthentication):
    """Basic authentication with a token for the password: for programs that can send nothing else."""

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        """The token's user and the token, whatever the user name; None where nothing of the kind was sent."""
        words = get_authorization_header(request).split()
        if not words or words[0].lower() != b"basic":
            return None
        try:
            sent = b64decode(words[1], validate=True).decode("latin-1") if len(words) == 2 else ""
        except binascii.Error:
            sent = ""
        return _acting_for(sent.partition(":")[2])

    def authenticate_header(self, request: Request) -> str:
        """What a 401 asks for."""
        return 'Basic realm="gauntlet"'


class PageSession(SessionAuthentication):
    """The session of a page of this site; changing requests need its CSRF token."""

    def enforce_csrf(self, request: Request) -> None:
        """Raises PermissionDenied with its own code, so that a client can tell it from a missing right."""
        try:
            super().enforce_csrf(request)
        except PermissionDenied as error:
            raise PermissionDenied(str(error.detail), code="csrf_failed") from error


def _acting_for(secret: str) -> tuple[User, ApiToken]:
    """The token with this secret and its user. Raises AuthenticationFailed."""
    token = ApiToken.find_live(secret)
    if token is None or token.role not in TOKEN_ROLES[role_of(token.user)]:
        raise AuthenticationFailed("The token is unknown, expired or revoked.", code="invalid_token")
    _note_use(token)
    return token.user, token


def _note_use(token: ApiToken) -> None:
    now = timezone.now()
    if token.last_used_at is None or now - token.last_used_at > NOTE_USE_EVERY:
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)
