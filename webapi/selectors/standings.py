"""How an annotator stands under a policy, as they may know it themselves."""

from __future__ import annotations

from typing import NamedTuple

from django.db.models import F

from engine.evaluation.rates import Rate, clopper_pearson
from webapi.models import Annotator, Policy, Standing, StandingState
from webapi.selectors.feedback import told_gold
from webapi.selectors.gold_answers import gold_record, qualification_size


class Progress(NamedTuple):
    """How far an entrance test is."""

    answered: int
    size: int


class StandingNow(NamedTuple):
    """How one stands under a policy. `qualification` is there while the entrance test runs; `gold` counts told
    answers."""

    policy: Policy
    state: str
    reason: str
    feedback: bool
    qualification: Progress | None
    gold: Rate


def standings_of(annotator: Annotator | None) -> list[StandingNow]:
    """Under each policy that the annotator has taken tasks of."""
    rows = Standing.objects.filter(annotator=annotator).select_related("policy", "annotator")
    return [_now(row) for row in rows]


def standing_under(annotator: Annotator | None, policy: Policy, *, trusted: bool) -> StandingNow:
    """Under one policy, where the annotator may not have begun yet. `trusted`: need not qualify."""
    row = Standing.objects.filter(annotator=annotator, policy=policy).select_related("annotator").first()
    if row is not None:
        row.policy = policy
        return _now(row)
    size = 0 if trusted else qualification_size(policy)
    state = StandingState.QUALIFYING if size else StandingState.QUALIFIED
    test = Progress(0, size) if size else None
    return StandingNow(policy, state, "", policy.rules.quality.feedback, test, clopper_pearson(0, 0))


def _now(row: Standing) -> StandingNow:
    qualifying = row.state == StandingState.QUALIFYING
    test = Progress(sum(gold_record(row)), qualification_size(row.policy, row)) if qualifying else None
    told = told_gold(row.annotator).filter(task__gold__policy=row.policy)
    right = told.filter(choice=F("task__gold__choice")).count()
    gold = clopper_pearson(right, told.count())
    return StandingNow(row.policy, row.state, row.reason, row.policy.rules.quality.feedback, test, gold)
