"""The table of rights at work on the API's views."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

from rest_framework.exceptions import NotFound, PermissionDenied
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from webapi.models import User
from webapi.permissions import actor_of, may, sees

if TYPE_CHECKING:
    # REST framework loads this module while it loads its views.
    from rest_framework.views import APIView


class _Resource(Protocol):
    resource: str
    action: str | None
    detail: bool

    def get_object(self) -> object: ...


class ByTable(BasePermission):
    """404 for what one may not see, 403 for what one may see but not do, as `webapi.permissions` says.

    A view names its `resource`; a viewset's actions are those of the table. Which rows one sees, the view's queryset
    says, so that an object that is not one's own is 404 before anything is 403.
    """

    def has_permission(self, request: Request, view: APIView) -> bool:
        """False (401) for nobody; raises NotFound or PermissionDenied."""
        if not isinstance(request.user, User):
            return False
        resource = cast(_Resource, view)
        if resource.action is None:
            return True  # no such method: 405 follows
        actor = actor_of(request)
        if not sees(actor, resource.resource):
            raise NotFound
        if request.method in SAFE_METHODS or may(actor, resource.resource, resource.action):
            return True
        if resource.detail:
            resource.get_object()
        raise PermissionDenied(f"As {actor.role.replace('_', ' ')} you may see {resource.resource} but not do this.")
