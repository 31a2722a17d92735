"""Who sees which rows and may do what: one table, by resource and role.

What one may not see is answered 404; what one may see but not do, 403.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar, cast

from django.db.models import Model, Q, QuerySet

from webapi.models import Annotator, ApiToken, Lease, LeaseState, Role, User

RowType = TypeVar("RowType", bound=Model)
PULL = "pull"
"""The adapter of batches that people and vendors lease from over the API and the labeling page."""


class Actor(NamedTuple):
    """Who asks, and in which role: a token may act in a lesser role than its user's."""

    user: User
    role: str


def actor_of(request: Any) -> Actor:
    """The actor behind a request of the API (`Request`) or of a page (`HttpRequest`)."""
    token = getattr(request, "auth", None)
    user = cast(User, request.user)
    return Actor(user, token.role if isinstance(token, ApiToken) else role_of(user))


def role_of(user: User) -> str:
    """The user's role; a superuser is an admin."""
    return Role.ADMIN if user.is_superuser else user.role


Sees = Callable[[Actor], Q]


def every_row(actor: Actor) -> Q:
    """All of them."""
    return Q()


def no_row(actor: Actor) -> Q:
    """None: the resource does not exist for this role."""
    return Q(pk=None)


def own_annotators(user: User, prefix: str = "") -> Q:
    """Annotators who are the user, or workers whom this vendor named. `prefix` leads to the annotator: `annotator__`.

    A vendor's workers carry `pull:<user id>` as their vendor, which no adapter's name can equal.
    """
    return Q(**{f"{prefix}user": user.pk}) | Q(**{f"{prefix}vendor": pull_vendor(user)})


def pull_vendor(user: User) -> str:
    """The `Annotator.vendor` of the workers whom this user names when leasing."""
    return f"pull:{user.pk}"


def vendor_of(annotator: Annotator) -> uuid.UUID | None:
    """The user whom the annotator answers as, or who named them when leasing; None for those of an adapter."""
    prefix, _, key = annotator.vendor.partition(":")
    return uuid.UUID(key) if prefix == PULL and key else annotator.user_id


def _own_labels(actor: Actor) -> Q:
    return own_annotators(actor.user, "annotator__")


def _held_tasks(actor: Actor) -> Q:
    held = Lease.objects.filter(own_annotators(actor.user, "annotator__"), state=LeaseState.LIVE)
    return Q(pk__in=held.values("task"))


def _own_webhooks(actor: Actor) -> Q:
    return Q(owner=actor.user.pk, role=actor.role)


def _own_tokens(actor: Actor) -> Q:
    return Q(user=actor.user.pk)


def _pull_batches(actor: Actor) -> Q:
    return Q(adapter=PULL, vendor_user=None)


def _vendor_batches(actor: Actor) -> Q:
    return Q(adapter=PULL, vendor_user=actor.user.pk)


def _vendor_policies(actor: Actor) -> Q:
    return Q(pk__in=actor.user.vendor_batches.values("policy"))


class Rights(NamedTuple):
    """Which rows a role sees of a resource, and what it may do besides reading."""

    sees: Sees = every_row
    may: frozenset[str] = frozenset()


def _rights(*may: str, sees: Sees = every_row) -> Rights:
    return Rights(sees, frozenset(may))


_READS = _rights()
_LEASES = _rights("lease", "renew", "release", sees=_held_tasks)
_BATCH_MOVES = ("launch", "pause", "resume", "cancel")
_GOLD_MOVES = ("create", "retire", "restore")
_WEBHOOK_MOVES = ("create", "change", "remove", "rotate", "ping", "redeliver")
_STANDING_MOVES = ("pause", "resume", "start_over", "put_back")
_EVALUATION_MOVES = ("create", "plan", "begin", "cancel", "retry")
_ROUND_MOVES = ("create", "pause", "resume", "retry", "cancel")

RIGHTS: Mapping[str, Mapping[str, Rights]] = {
    "policies": {
        Role.RESEARCHER: _rights("create", "rollback"),
        Role.VIEWER: _READS,
        Role.STAFF_LABELER: _READS,
        Role.CONTRACTOR: _READS,
        Role.VENDOR: _rights(sees=_vendor_policies),
    },
    "corpora": {Role.RESEARCHER: _rights("create"), Role.VIEWER: _READS},
    "snippets": {Role.RESEARCHER: _rights("create"), Role.VIEWER: _READS},
    "gold": {Role.RESEARCHER: _rights(*_GOLD_MOVES), Role.STAFF_LABELER: _rights(*_GOLD_MOVES)},
    "annotators": {
        Role.RESEARCHER: _rights(*_STANDING_MOVES),
        Role.STAFF_LABELER: _rights(*_STANDING_MOVES),
        Role.VIEWER: _READS,
    },
    "attacks": {Role.RESEARCHER: _rights("create", "cancel"), Role.VIEWER: _READS},
    "batches": {
        Role.RESEARCHER: _rights("create", *_BATCH_MOVES),
        Role.VIEWER: _READS,
        Role.STAFF_LABELER: _rights(sees=_pull_batches),
        Role.CONTRACTOR: _rights(sees=_pull_batches),
        Role.VENDOR: _rights(sees=_vendor_batches),
    },
    "tasks": {
        Role.ADMIN: _LEASES,
        Role.RESEARCHER: _LEASES,
        Role.VIEWER: _rights(sees=_held_tasks),
        Role.STAFF_LABELER: _LEASES,
        Role.CONTRACTOR: _LEASES,
        Role.VENDOR: _LEASES,
    },
    "labels": {
        Role.RESEARCHER: _rights("create"),
        Role.VIEWER: _READS,
        Role.STAFF_LABELER: _rights("create", sees=_own_labels),
        Role.CONTRACTOR: _rights("create", sees=_own_labels),
        Role.VENDOR: _rights("create", sees=_own_labels),
    },
    "rounds": {Role.RESEARCHER: _rights(*_ROUND_MOVES), Role.VIEWER: _READS},
    "classifiers": {Role.RESEARCHER: _rights("score", "promote", "export"), Role.VIEWER: _READS},
    "sweeps": {Role.RESEARCHER: _rights("create", "cancel", "retry"), Role.VIEWER: _READS},
    "generators": {Role.RESEARCHER: _rights("create", "sample"), Role.VIEWER: _READS},
    "samplings": {Role.RESEARCHER: _rights("create"), Role.VIEWER: _READS},
    "filter": {Role.RESEARCHER: _rights("create"), Role.VIEWER: _rights("create")},
    "evaluations": {Role.RESEARCHER: _rights(*_EVALUATION_MOVES), Role.VIEWER: _READS},
    "snapshots": {Role.RESEARCHER: _READS, Role.VIEWER: _READS},
    "indexes": {Role.RESEARCHER: _rights("refresh"), Role.VIEWER: _READS},
    "jobs": {Role.RESEARCHER: _rights("cancel"), Role.VIEWER: _READS},
    "imports": {Role.RESEARCHER: _rights("create"), Role.VIEWER: _READS},
    "exports": {Role.RESEARCHER: _rights("create"), Role.VIEWER: _READS},
    "metrics": {Role.RESEARCHER: _READS, Role.VIEWER: _READS},
    "webhooks": {
        Role.RESEARCHER: _rights(*_WEBHOOK_MOVES),
        Role.VENDOR: _rights(*_WEBHOOK_MOVES, sees=_own_webhooks),
    },
    "tokens": {role: _rights("create", "revoke", sees=_own_tokens) for role in Role},
    "me": dict.fromkeys(Role, _READS),
}
"""Rights by resource and role. Admins are not listed: they see and may everything (but held tasks and tokens are
one's own for them too). A role that is missing sees nothing."""

BLIND = frozenset({Role.STAFF_LABELER, Role.CONTRACTOR, Role.VENDOR})
"""Roles that never learn a snippet's source, score, target, split or pool, nor which round or classifier asks."""

STAFF = frozenset({Role.STAFF_LABELER, Role.RESEARCHER, Role.ADMIN})
"""Roles whose labels are trusted: they audit, and need not qualify."""

TOKEN_ROLES: Mapping[str, frozenset[str]] = {
    Role.ADMIN: frozenset(Role.values),
    Role.RESEARCHER: frozenset({Role.RESEARCHER, Role.VIEWER}),
    Role.STAFF_LABELER: frozenset({Role.STAFF_LABELER}),
    Role.CONTRACTOR: frozenset({Role.CONTRACTOR}),
    Role.VENDOR: frozenset({Role.VENDOR}),
    Role.VIEWER: frozenset({Role.VIEWER}),
}
"""The roles that a token may have, by the role of the one who makes it or holds it."""

_NOTHING = Rights(no_row)


def rights_of(actor: Actor, resource: str) -> Rights | None:
    """What `actor` sees and may of `resource`; None for admins, who may everything there."""
    if actor.role == Role.ADMIN and resource not in {"tokens", "tasks"}:
        return None
    return RIGHTS[resource].get(actor.role, _NOTHING)


def may(actor: Actor, resource: str, action: str) -> bool:
    """Whether `actor` may do `action` on `resource` at all; which rows, `visible` says."""
    rights = rights_of(actor, resource)
    return rights is None or action in rights.may


def sees(actor: Actor, resource: str) -> bool:
    """Whether `resource` exists for `actor`."""
    rights = rights_of(actor, resource)
    return rights is None or rights.sees is not no_row


def visible(rows: QuerySet[RowType], resource: str, actor: Actor) -> QuerySet[RowType]:
    """Those of `rows` that `actor` may see."""
    rights = rights_of(actor, resource)
    return rows if rights is None else rows.filter(rights.sees(actor))
