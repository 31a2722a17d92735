"""Reads of evaluations: the list, and how far one is."""

from __future__ import annotations

from typing import NamedTuple

from django.db.models import Count, Q, QuerySet

from webapi.models import Evaluation, EvaluationKind, Task, TaskState


class EvaluationProgress(NamedTuple):
    """What was sent out for labels, and what waits for them."""

    tasks: int
    open: int


def evaluations_listed() -> QuerySet[Evaluation]:
    """Evaluations with what a list shows of them."""
    return Evaluation.objects.select_related(
        "classifier__policy", "classifier__round", "round", "against", "second", "pool", "report", "parent"
    )


def evaluations_bought() -> QuerySet[Evaluation]:
    """Those that buy labels."""
    return evaluations_listed().exclude(kind=EvaluationKind.HELD_OUT)


def evaluation_progress(evaluation: Evaluation) -> EvaluationProgress:
    """One query."""
    tasks = Task.objects.filter(batch__evaluation=evaluation, gold=None).exclude(state=TaskState.CANCELLED, labelled=0)
    return EvaluationProgress(**tasks.aggregate(tasks=Count("pk"), open=Count("pk", Q(state=TaskState.OPEN))))
