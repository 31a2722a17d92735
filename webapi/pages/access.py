"""Who sees which page. What one may not see is not found; what one may see but not do is forbidden."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, cast

from django.contrib.auth.decorators import login_required
from django.core.exceptions import BadRequest, PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseBase
from django.utils.cache import add_never_cache_headers

from webapi.errors import DomainError
from webapi.models import Role, User
from webapi.permissions import Actor, may, role_of, sees

CONTENT_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""Scripts come from here alone. Inline styles stay: the chart library writes them."""

FOR_PEOPLE = frozenset({"tasks", "batches"})
"""Resources that vendors, being machines, have over the API alone."""

P = ParamSpec("P")


class PageRequest(HttpRequest):
    """A request by somebody who is signed in."""

    user: User


View = Callable[Concatenate[PageRequest, P], HttpResponseBase]


def page(
    resource: str, action: str = ""
) -> Callable[[View[P]], Callable[Concatenate[HttpRequest, P], HttpResponseBase]]:
    """A view for those who see `resource` (or may do `action` on it) in `webapi.permissions`.

    For others the page does not exist. Signed out: to the login page first.
    """

    def decorate(view: View[P]) -> Callable[Concatenate[HttpRequest, P], HttpResponseBase]:
        @login_required
        @wraps(view)
        def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            signed_in = cast(PageRequest, request)
            if not is_open_to(signed_in.user, resource, action):
                raise Http404("no such page")
            if any("\0" in value for values in request.GET.lists() for value in values[1]):
                raise BadRequest("a null character in the address")
            try:
                return guard(view(signed_in, *args, **kwargs))
            except DomainError as error:  # which the page has no words for: an address that nobody was given
                raise BadRequest(error.message) from error

        return guarded

    return decorate


def is_open_to(user: User, resource: str, action: str = "") -> bool:
    """Whether pages about `resource` (those for doing `action` on it) exist for `user`."""
    actor = Actor(user, role_of(user))
    if actor.role == Role.VENDOR and resource in FOR_PEOPLE:
        return False
    return may(actor, resource, action) if action else sees(actor, resource)


def require(user: User, resource: str, action: str) -> None:
    """Raises PermissionDenied (403) where somebody may look but not act."""
    if not is_open_to(user, resource, action):
        raise PermissionDenied(f"Your role may look at {resource} but not {action} them.")


def guard(response: HttpResponseBase) -> HttpResponseBase:
    """The headers of every page: scripts from here alone, and no copy kept by anybody."""
    response.headers.setdefault("Content-Security-Policy", CONTENT_POLICY)
    if not response.has_header("Cache-Control"):
        add_never_cache_headers(response)
    return response
