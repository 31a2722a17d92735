"""How annotators answered gold, and how much of it their entrance test has."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import NamedTuple

from django.db.models import Exists, F, OuterRef, QuerySet, Subquery

from webapi.models import Gold, Label, Policy, Standing


class GoldRecord(NamedTuple):
    """Answers to gold that count."""

    right: int
    wrong: int


def gold_answers(annotator_id: uuid.UUID, policy: Policy, *, since: datetime | None = None) -> QuerySet[Label]:
    """The annotator's standing answers to gold of the policy, the earliest first."""
    labels = Label.objects.filter(annotator=annotator_id, task__gold__policy=policy)
    if since is not None:
        labels = labels.filter(created_at__gte=since)
    newest = Label.objects.filter(snippet=OuterRef("snippet"), annotator=annotator_id).order_by("-revision")
    return labels.filter(pk=Subquery(newest.values("pk")[:1])).order_by("pk")


def gold_record(standing: Standing) -> GoldRecord:
    """Right and wrong answers to gold since the annotator's slate was clean."""
    answers = gold_answers(standing.annotator_id, standing.policy, since=standing.since)
    right = answers.filter(choice=F("task__gold__choice")).count()
    return GoldRecord(right, answers.count() - right)


def qualification_size(policy: Policy, standing: Standing | None = None) -> int:
    """How many gold tasks a new annotator answers first: as many as the policy asks, or as there are.

    For one with a standing, what they answered since their slate was clean counts among those that are there, and
    what they answered before does not: it cannot be asked again.
    """
    wanted = policy.rules.quality.qualification
    if not wanted:
        return 0
    gold = Gold.objects.filter(policy=policy, active=True)
    if standing is None:
        return min(wanted, gold.count())
    answered = Label.objects.filter(snippet=OuterRef("snippet"), annotator=standing.annotator_id)
    return min(wanted, gold.filter(~Exists(answered)).count() + sum(gold_record(standing)))
