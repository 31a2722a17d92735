"""API tokens: made for oneself, shown once, revoked at any time."""

from __future__ import annotations

from webapi.errors import DomainError
from webapi.models import ApiToken, IssuedToken, User
from webapi.permissions import TOKEN_ROLES

MAX_DAYS = 365


def token_create(*, user: User, role: str, name: str, wanted_role: str = "", days: int = 90) -> IssuedToken:
    """A token of `user`, who asks in `role`. Raises DomainError `role_not_allowed` for more than that role has."""
    token_role = wanted_role or role
    if token_role not in TOKEN_ROLES[role]:
        allowed = ", ".join(sorted(TOKEN_ROLES[role]))
        raise DomainError(
            "role_not_allowed", f"A token made by a {role} may have the role {allowed}, not {token_role}."
        )
    return ApiToken.issue(user=user, name=name, role=token_role, days=min(days, MAX_DAYS))


def token_revoke(*, token: ApiToken) -> ApiToken:
    """Ends the token at once. Raises DomainError `token_revoked` if it had ended before."""
    if not token.revoke():
        raise DomainError("token_revoked", "The token had been revoked before.")
    token.refresh_from_db()
    return token
