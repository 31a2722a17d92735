"""How each annotator works under a policy: gold, agreement with the others and with staff, speed, Unsure."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet
from numpy.typing import NDArray

from engine.aggregation.others import NO_MAJORITY, others_majority
from engine.aggregation.votes import VoteTable
from engine.evaluation.rates import Rate, clopper_pearson_each
from webapi.models import Annotator, Label, Policy, Standing, StandingState
from webapi.selectors.agreement_filter import AgreementFilter, matching, table_of
from webapi.selectors.label_columns import COLUMNS, Columns

BREAK_SECONDS = 600
"""An answer that took longer was interrupted, and says nothing of the annotator's speed."""
FEW = 1000
"""Annotators up to this many are asked for by key."""
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class AnnotatorRecord:
    """One annotator under one policy. Rates count what is right, or the same; intervals are Clopper-Pearson's."""

    annotator: Annotator
    state: str
    reason: str
    labels: int
    """Votes that stand: counted, no gold, changed answers once."""
    gold: Rate
    """Answers to gold that are right, since the annotator's slate was clean."""
    others: Rate
    """Votes equal to the majority of the others' on the same snippet, where one choice leads."""
    staff: Rate
    """Votes equal to what trusted labelers answered on the same snippet; of staff's own votes none."""
    unsure: Rate
    """Votes between the first choice and the last."""
    seconds: float | None
    """Median time of an answer, those of more than ten minutes aside."""
    last: datetime | None
    confusion: tuple[tuple[int, ...], ...]
    """By the others' majority (rows) and the annotator's answer (columns), in the order of the policy's choices."""


def annotators_under(policy: Policy) -> QuerySet[Annotator]:
    """Annotators who answered something under the policy, or have a standing there, in order of their keys."""
    labels = Label.objects.filter(annotator=OuterRef("pk"), snippet__policy=policy)
    standings = Standing.objects.filter(annotator=OuterRef("pk"), policy=policy)
    return Annotator.objects.filter(Exists(labels) | Exists(standings))


def annotator_records(policy: Policy, annotators: Sequence[Annotator]) -> list[AnnotatorRecord]:
    """The records of these annotators, in their order.

    Three queries besides those of the columns (two, where these are up to date), however many annotators; and O(labels)
    on the columns.
    """
    choices = policy.rules.choices
    columns = COLUMNS.current()
    chosen = matching(columns, AgreementFilter(policy.pk), choices) & columns.standing
    table = table_of(columns, chosen, choices)
    times = columns.times[chosen]
    majority, size = others_majority(table), len(choices)
    trusted = _trusted(table, columns.annotator_keys)
    codes = {key: code for code, key in enumerate(columns.annotator_keys)}
    keys = [annotator.pk for annotator in annotators]
    places = np.full(len(columns.annotator_keys), -1, np.int64)
    for place, key in enumerate(keys):
        if key in codes:
            places[codes[key]] = place
    who = places[table.annotators]
    mine = who >= 0
    cells = (who * size + table.answers)[mine]
    answers = np.bincount(cells, minlength=len(keys) * size).reshape(len(keys), size)
    led = mine & (majority != NO_MAJORITY)
    confusions = np.bincount(
        ((who * size + majority) * size + table.answers)[led], minlength=len(keys) * size**2
    ).reshape(len(keys), size, size)
    checked = mine & (trusted != NO_MAJORITY)
    audited = np.bincount(who[checked], minlength=len(keys))
    same = np.bincount(who[checked & (trusted == table.answers)], minlength=len(keys))
    last = np.zeros(len(keys), np.int64)
    np.maximum.at(last, who[mine], times[mine])
    standings = {row.annotator_id: row for row in Standing.objects.filter(_among(keys), policy=policy)}
    gold, seconds = _gold(policy, keys), _seconds(columns, policy, places, len(keys))
    labels = answers.sum(axis=1)
    rates = [
        clopper_pearson_each([right for right, _ in gold], [asked for _, asked in gold]),
        clopper_pearson_each(np.trace(confusions, axis1=1, axis2=2).tolist(), confusions.sum(axis=(1, 2)).tolist()),
        clopper_pearson_each(same.tolist(), audited.tolist()),
        clopper_pearson_each(answers[:, 1:-1].sum(axis=1).tolist(), labels.tolist()),
    ]
    found = []
    for place, (annotator, right, others, staff, unsure) in enumerate(zip(annotators, *rates, strict=True)):
        standing = standings.get(annotator.pk)
        found.append(
            AnnotatorRecord(
                annotator=annotator,
                state=standing.state if standing else StandingState.QUALIFIED.value,
                reason=standing.reason if standing else "",
                labels=int(labels[place]),
                gold=right,
                others=others,
                staff=staff,
                unsure=unsure,
                seconds=seconds[place],
                last=datetime.fromtimestamp(int(last[place]) / 1000, UTC) if labels[place] else None,
                confusion=tuple(tuple(row) for row in confusions[place].tolist()),
            )
        )
    return found


def _trusted(table: VoteTable, keys: Sequence[uuid.UUID]) -> Counts:
    """What staff answered on each vote's item, where they agree and the vote is not theirs; else `NO_MAJORITY`."""
    staff = set(Annotator.objects.filter(staff=True).values_list("pk", flat=True))
    theirs = np.array([key in staff for key in keys] or [False], np.bool_)[table.annotators]
    said = np.full(table.n_items, NO_MAJORITY, np.int64)
    split = np.zeros(table.n_items, np.bool_)
    items, answers = table.items[theirs], table.answers[theirs]
    said[items] = answers
    split[items[said[items] != answers]] = True
    said[split] = NO_MAJORITY
    return np.where(theirs, NO_MAJORITY, said[table.items])


def _among(keys: Sequence[uuid.UUID]) -> Q:
    """Databases take only so many parameters."""
    return Q(annotator__in=keys) if len(keys) <= FEW else Q()


def _gold(policy: Policy, keys: Sequence[uuid.UUID]) -> list[tuple[int, int]]:
    """Right answers and all answers to gold, of each annotator."""
    newer = Label.objects.filter(
        snippet=OuterRef("snippet"), annotator=OuterRef("annotator"), revision__gt=OuterRef("revision")
    )
    clean = Standing.objects.filter(annotator=OuterRef("annotator"), policy=policy, since__gt=OuterRef("created_at"))
    answers = Label.objects.filter(~Exists(newer), ~Exists(clean), _among(keys), task__gold__policy=policy)
    rows = (
        answers.order_by()
        .values("annotator")
        .annotate(right=Count("pk", filter=Q(choice=F("task__gold__choice"))), asked=Count("pk"))
    )
    found = {row["annotator"]: (row["right"], row["asked"]) for row in rows}
    return [found.get(key, (0, 0)) for key in keys]


def _seconds(columns: Columns, policy: Policy, places: Counts, size: int) -> list[float | None]:
    """The median time of each annotator's answers, whatever became of them."""
    codes = [code for code, key in enumerate(columns.policy_keys) if key == policy.pk]
    who = places[columns.annotators]
    timed = (who >= 0) & (columns.seconds <= BREAK_SECONDS) & np.isin(columns.item_policies, codes)[columns.items]
    who, seconds = who[timed], columns.seconds[timed]
    seconds = seconds[np.lexsort((seconds, who))]
    counts = np.bincount(who, minlength=size)
    starts = np.cumsum(counts) - counts
    return [
        float(seconds[start + (n - 1) // 2] + seconds[start + n // 2]) / 2 if n else None
        for start, n in zip(starts.tolist(), counts.tolist(), strict=True)
    ]
