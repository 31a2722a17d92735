"""Quality control: snippets whose right answer is known, and how an annotator stands under a policy."""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.utils import timezone

from webapi.models.accounts import Annotator
from webapi.models.base import Row
from webapi.models.policies import Policy
from webapi.models.snippets import Snippet


class Gold(Row):
    """A snippet with its right answer. Qualifies new annotators and is hidden among the tasks of the others."""

    policy = models.ForeignKey(Policy, on_delete=models.CASCADE, related_name="gold")
    snippet = models.ForeignKey(Snippet, on_delete=models.CASCADE, related_name="gold")
    choice = models.CharField(max_length=64)
    explanation = models.TextField(blank=True)
    """Shown after the answer, if the policy gives feedback."""
    active = models.BooleanField(default=True)

    class Meta(Row.Meta):
        verbose_name_plural = "gold"
        constraints = [models.UniqueConstraint(fields=["policy", "snippet"], name="gold_once_per_policy")]

    def __str__(self) -> str:
        return f"{self.choice}: {self.snippet}"


class StandingState(models.TextChoices):
    """Whether an annotator may do real work under a policy."""

    QUALIFYING = "qualifying"
    QUALIFIED = "qualified"
    PAUSED = "paused"


class Standing(Row):
    """How an annotator stands under a policy. No row: new."""

    annotator = models.ForeignKey(Annotator, on_delete=models.CASCADE, related_name="standings")
    policy = models.ForeignKey(Policy, on_delete=models.CASCADE, related_name="standings")
    state = models.CharField(max_length=16, choices=StandingState, default=StandingState.QUALIFYING)
    since = models.DateTimeField(default=timezone.now)
    """Gold answered before does not count any more."""
    reason = models.TextField(blank=True)

    class Meta(Row.Meta):
        constraints = [models.UniqueConstraint(fields=["annotator", "policy"], name="standing_once")]
        indexes = [models.Index(fields=["policy", "state"], name="standing_by_state")]

    def __str__(self) -> str:
        return f"{self.annotator}: {self.state}"

    def _move(self, *, to: str, since: tuple[str, ...], reason: str, at: datetime | None = None) -> bool:
        fields = {"state": to, "reason": reason} | ({"since": at} if at else {})
        return bool(Standing.objects.filter(pk=self.pk, state__in=since).update(**fields))

    def qualify(self, reason: str) -> bool:
        """qualifying -> qualified."""
        return self._move(to=StandingState.QUALIFIED, since=(StandingState.QUALIFYING,), reason=reason)

    def pause(self, reason: str) -> bool:
        """qualifying or qualified -> paused: no further task is given."""
        since = (StandingState.QUALIFYING, StandingState.QUALIFIED)
        return self._move(to=StandingState.PAUSED, since=since, reason=reason)

    def resume(self, *, now: datetime) -> bool:
        """paused -> qualified, with a clean slate: gold answered before `now` does not count any more."""
        return self._move(to=StandingState.QUALIFIED, since=(StandingState.PAUSED,), reason="", at=now)

    def start_over(self, *, now: datetime) -> bool:
        """paused -> qualifying, with a clean slate."""
        return self._move(to=StandingState.QUALIFYING, since=(StandingState.PAUSED,), reason="", at=now)
