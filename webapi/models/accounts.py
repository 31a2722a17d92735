"""Who may do what: users with a role, their API tokens, and the annotators whose answers are labels."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import NamedTuple

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models import QuerySet
from django.utils import timezone

from webapi.models.base import Row, new_id
from webapi.models.compiled import compiled


class Role(models.TextChoices):
    """What a user or token may do, by object; `webapi.permissions` has the table."""

    ADMIN = "admin"
    RESEARCHER = "researcher"
    STAFF_LABELER = "staff_labeler"
    CONTRACTOR = "contractor"
    VENDOR = "vendor"
    VIEWER = "viewer"


class User(AbstractUser):
    """A person or a vendor's machine."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    role = models.CharField(max_length=16, choices=Role, default=Role.VIEWER)


class IssuedToken(NamedTuple):
    """A new token's row and its secret, which is shown once and never stored."""

    row: ApiToken
    secret: str


class ApiToken(Row):
    """A bearer token, hashed at rest; it expires, can be revoked and acts as its user in one role."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=100)
    role = models.CharField(max_length=16, choices=Role)
    digest = models.CharField(max_length=64, unique=True)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.name} ({self.user})"

    @staticmethod
    def digest_of(secret: str) -> str:
        """What is stored of a secret. A plain hash is enough: the secret has 256 random bits."""
        return hashlib.sha256(secret.encode()).hexdigest()

    @classmethod
    def issue(cls, *, user: User, name: str, role: str | None = None, days: int = 90) -> IssuedToken:
        """A new token for `user`, good for `days`."""
        secret = f"gtl_{secrets.token_urlsafe(32)}"
        expires_at = timezone.now() + timedelta(days=days)
        row = cls.objects.create(
            user=user, name=name, role=role or user.role, digest=cls.digest_of(secret), expires_at=expires_at
        )
        return IssuedToken(row, secret)

    @classmethod
    def find_live(cls, secret: str) -> ApiToken | None:
        """The token with this secret, if it is neither expired nor revoked."""
        return next(iter(_live_tokens(digest=cls.digest_of(secret), now=timezone.now())), None)

    def revoke(self) -> bool:
        """Ends the token. False if it had ended before."""
        return bool(ApiToken.objects.filter(pk=self.pk, revoked_at=None).update(revoked_at=timezone.now()))


@compiled
def _live_tokens(*, digest: str, now: datetime) -> QuerySet[ApiToken]:
    live = ApiToken.objects.filter(revoked_at=None, expires_at__gt=now, user__is_active=True)
    return live.filter(digest=digest).select_related("user").order_by()


class Annotator(Row):
    """One who answers tasks: a person with an account, a vendor's worker, or a simulated one (and called so)."""

    name = models.CharField(max_length=200)
    user = models.OneToOneField(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="annotator")
    vendor = models.CharField(max_length=64, blank=True)
    """The labeling adapter or data set that the annotator comes from; empty for people with an account here."""
    external_id = models.CharField(max_length=200, blank=True)
    staff = models.BooleanField(default=False)
    """Staff labels win over others in the policy rule; staff are trusted: they audit, and need not qualify."""
    simulated = models.BooleanField(default=False)

    class Meta(Row.Meta):
        constraints = [
            models.UniqueConstraint(
                fields=["vendor", "external_id"], condition=~models.Q(external_id=""), name="annotator_once_per_vendor"
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} (simulated)" if self.simulated else self.name
