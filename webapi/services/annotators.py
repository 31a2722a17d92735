"""What staff may do about an annotator's standing under a policy."""

from __future__ import annotations

from django.utils import timezone

from webapi.errors import DomainError
from webapi.models import Annotator, Policy, Standing, StandingState
from webapi.selectors.gold_answers import qualification_size
from workers.quality import PutBack, pause, put_back, standing_of


def annotator_pause(*, annotator: Annotator, policy: Policy, reason: str) -> Standing:
    """No further task, and what is held is given back. Pausing again changes nothing."""
    standing = standing_of(annotator, policy)
    pause(standing, reason)
    standing.refresh_from_db()
    return standing


def annotator_resume(*, annotator: Annotator, policy: Policy) -> Standing:
    """Back to real work, with a clean slate. Raises DomainError `annotator_not_paused`."""
    standing = standing_of(annotator, policy)
    if not standing.resume(now=timezone.now()):
        raise DomainError("annotator_not_paused", f"{annotator} is {standing.state}.")
    standing.refresh_from_db()
    return standing


def annotator_start_over(*, annotator: Annotator, policy: Policy) -> Standing:
    """Back to the entrance test, on gold not answered before.

    Raises DomainError `annotator_not_paused`, or `no_fresh_gold` where there is nothing left to ask.
    """
    standing = standing_of(annotator, policy)
    if standing.state != StandingState.PAUSED:
        raise DomainError("annotator_not_paused", f"{annotator} is {standing.state}.")
    standing.since = timezone.now()
    if not qualification_size(policy, standing):
        raise DomainError("no_fresh_gold", f"{annotator} has answered all gold of {policy}: add some first.")
    standing.start_over(now=standing.since)
    standing.refresh_from_db()
    return standing


def annotator_put_back(*, annotator: Annotator, policy: Policy) -> PutBack:
    """Takes the labels and comparisons since the last right answer to gold out of the count and asks them again.

    Repeats do nothing.
    """
    return put_back(standing_of(annotator, policy))
