"""What people watch besides rounds: labels by day, choice or annotator, the queue, and one annotator's own figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from django.db.models import Count, Exists, Max, Min, OuterRef, Q, QuerySet
from django.db.models.functions import TruncDate
from django.utils import timezone

from webapi.models import Annotator, Batch, Label
from webapi.selectors.batches import BatchCounts, batch_counts


@dataclass(frozen=True, slots=True)
class LabelFilter:
    """Which labels are meant; empty fields leave nothing out."""

    policy: str | None = None
    """Key of a policy row."""
    batch: str | None = None
    since: datetime | None = None
    annotator: str | None = None


@dataclass(frozen=True, slots=True)
class Counted:
    """One group of labels: its name, and how many judgements it holds."""

    key: str
    count: int


@dataclass(frozen=True, slots=True)
class DayCount:
    """Judgements of one choice on one day (UTC)."""

    day: str
    choice: str
    count: int


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """One batch as a watcher sees it. Counts are labels, not tasks; `rate` is labels a second."""

    id: str
    name: str
    policy: str
    round_id: str | None
    round_name: str
    adapter: str
    state: str
    done: int
    total: int
    leased: int
    rate: float | None
    eta: datetime | None
    created_at: datetime
    finished_at: datetime | None

    def as_json(self) -> dict[str, Any]:
        """The same as plain data."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class AnnotatorFigures:
    """What annotators may see of themselves. `seconds` is the median time of an answer, over the latest thousand."""

    today: int
    total: int
    changed: int
    seconds: float | None
    choices: tuple[Counted, ...]
    first: datetime | None
    last: datetime | None


def standing_labels(which: LabelFilter) -> QuerySet[Label]:
    """The labels that stand: votes on snippets, as consensus and agreement take them.

    No answers to gold, none that came when none was wanted or was withdrawn, and of a changed answer only the latest.
    """
    return _latest(Label.objects.filter(counted=True, task__gold=None), which)


def given_labels(which: LabelFilter) -> QuerySet[Label]:
    """The latest answer of each annotator to each snippet, whatever came of it: what annotators may see of themselves.

    They are not to tell from a count which answers were to gold.
    """
    return _latest(Label.objects.all(), which)


def _latest(labels: QuerySet[Label], which: LabelFilter) -> QuerySet[Label]:
    newer = labels.filter(
        snippet=OuterRef("snippet"), annotator=OuterRef("annotator"), revision__gt=OuterRef("revision")
    )
    conditions: dict[str, str | datetime | None] = {
        "snippet__policy": which.policy,
        "task__batch": which.batch,
        "created_at__gte": which.since,
        "annotator": which.annotator,
    }
    wanted = {field: value for field, value in conditions.items() if value is not None}
    return labels.filter(~Exists(newer), **wanted).order_by()


GROUPS: dict[str, Callable[[QuerySet[Label]], QuerySet[Label, tuple[Any, int]]]] = {
    "choice": lambda labels: labels.values_list("choice").annotate(n=Count("pk")).order_by("-n", "choice"),
    "annotator": lambda labels: (
        labels.values_list("annotator__name").annotate(n=Count("pk")).order_by("-n", "annotator__name")
    ),
    "batch": lambda labels: labels.values_list("task__batch__name").annotate(n=Count("pk")).order_by("-n"),
    "day": lambda labels: labels.annotate(day=TruncDate("created_at")).values_list("day").annotate(n=Count("pk")),
}
"""The ways labels can be counted: `by` -> grouped counts."""


def labels_by(labels: QuerySet[Label], by: str) -> list[Counted]:
    """Labels counted by a key of `GROUPS`. Raises KeyError for another."""
    grouped = GROUPS[by](labels)
    return [Counted("none" if key is None else str(key), count) for key, count in grouped]


def labels_per_day(labels: QuerySet[Label], *, days: int = 60) -> list[DayCount]:
    """Labels of each choice on each of the last `days` days that had any, oldest first."""
    last = labels.aggregate(last=Max("created_at"))["last"]
    if last is None:
        return []
    recent = labels.filter(created_at__gt=last - timedelta(days=days))
    rows = recent.annotate(day=TruncDate("created_at")).values_list("day", "choice").annotate(n=Count("pk"))
    return [DayCount(str(day), choice, count) for day, choice, count in rows.order_by("day", "choice")]


def queue(*, policy: str | None = None, state: str | None = None, limit: int = 100) -> list[BatchProgress]:
    """The newest batches with their progress, open ones first, then done, then cancelled. Four queries."""
    batches = Batch.objects.select_related("policy", "round")
    if policy is not None:
        batches = batches.filter(policy_id=policy)
    if state is not None:
        batches = batches.filter(state=state)
    rows = list(batches.order_by("-state", "-id")[:limit])
    counts = batch_counts(row.pk for row in rows)
    return [_batch_progress(row, counts[row.pk]) for row in rows]


def annotator_figures(annotator: Annotator) -> AnnotatorFigures:
    """One annotator's own figures."""
    given = given_labels(LabelFilter(annotator=str(annotator.pk)))
    mine = Label.objects.filter(annotator=annotator)
    midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    totals = mine.aggregate(
        total=Count("pk", filter=Q(revision=0)),
        today=Count("pk", filter=Q(revision=0, created_at__gte=midnight)),
        changed=Count("pk", filter=Q(revision__gt=0)),
        first=Min("created_at"),
        last=Max("created_at"),
    )
    latest = mine.order_by("-id").values_list("seconds", flat=True)[:1000]
    seconds = [value for value in latest if value is not None]
    return AnnotatorFigures(
        seconds=median(seconds) if seconds else None, choices=tuple(labels_by(given, "choice")), **totals
    )


def _batch_progress(row: Batch, counts: BatchCounts) -> BatchProgress:
    return BatchProgress(
        id=str(row.pk),
        name=row.name,
        policy=str(row.policy),
        round_id=str(row.round_id) if row.round_id else None,
        round_name=row.round.name if row.round else "",
        adapter=row.adapter,
        state=row.state,
        done=counts.done,
        total=counts.total,
        leased=counts.leased,
        rate=counts.rate,
        eta=counts.eta,
        created_at=row.created_at,
        finished_at=row.finished_at,
    )
