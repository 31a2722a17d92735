"""When labelers may know the right answers to gold that they answered. Once told, an answer is closed to changes."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from webapi.models import Annotator, Label, Policy, Standing, StandingState
from webapi.selectors.gold_answers import gold_answers, qualification_size

FURTHER = 20
"""Hidden gold is told of after so many further answers, so that nobody learns to know it by when they are told,"""
LATER = timedelta(hours=24)
"""or after so long."""


def told_gold(annotator: Annotator) -> QuerySet[Label]:
    """The annotator's standing answers to gold whose right answers they may know, under every policy."""
    newer = Label.objects.filter(
        snippet=OuterRef("snippet"), annotator=OuterRef("annotator"), revision__gt=OuterRef("revision")
    )
    answers = Label.objects.filter(~Exists(newer), annotator=annotator).exclude(task__gold=None)
    told = Q(pk=None)
    for policy in Policy.objects.filter(pk__in=answers.order_by().values("task__gold__policy")):
        told |= _told(annotator, policy)
    return answers.filter(told)


def is_told(label: Label, annotator: Annotator, policy: Policy) -> bool:
    """Whether the annotator may know by now what would have been the right answer."""
    return gold_answers(annotator.pk, policy).filter(_told(annotator, policy), pk=label.pk).exists()


def _told(annotator: Annotator, policy: Policy) -> Q:
    """Which of the annotator's answers to the policy's gold."""
    if not policy.rules.quality.feedback:
        return Q(pk=None)
    told = Q(created_at__lte=timezone.now() - LATER)
    latest = Label.objects.filter(annotator=annotator, revision=0).order_by("-pk")
    long_ago = latest.values_list("pk", flat=True)[FURTHER - 1 : FURTHER].first()
    if long_ago is not None:
        told |= Q(pk__lt=long_ago)
    standing = Standing.objects.filter(annotator=annotator, policy=policy).first()
    if standing is not None:
        told |= Q(created_at__lt=standing.since) | Q(pk__in=_test_answers(standing))
    return Q(task__gold__policy=policy) & told


def _test_answers(standing: Standing) -> list[object]:
    """The answers of an entrance test that has ended: gold answered before any other text.

    Fewer than the test asks for are none: that is hidden gold which came first.
    """
    if standing.state == StandingState.QUALIFYING:
        return []
    size = qualification_size(standing.policy, standing)
    answers = gold_answers(standing.annotator_id, standing.policy, since=standing.since)
    others = Label.objects.filter(task__gold=None, snippet__policy=standing.policy).filter(
        annotator=standing.annotator_id,
        snippet__policy=standing.policy,
        created_at__gte=standing.since,
        task__gold=None,
    )
    first = others.order_by("pk").values_list("pk", flat=True).first()
    answers = answers.filter(pk__lt=first) if first is not None else answers
    found: list[object] = list(answers.values_list("pk", flat=True)[:size])
    return found if len(found) == size else []
