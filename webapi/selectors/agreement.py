"""How far annotators agree under a policy, over any filter, computed on the columns of labels at each request."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from django.db.models import Exists, OuterRef

from engine.aggregation import VoteTable
from engine.aggregation.agreement import Agreement, agreement, agreement_by
from engine.aggregation.kappa import pairwise_kappas, sharing_most
from engine.evaluation.rates import Rate, clopper_pearson
from webapi.models import Annotator, Label, Policy
from webapi.selectors.agreement_filter import DAY_MS, AgreementFilter, Parts, matching, parts_of, table_of
from webapi.selectors.dashboard import DayCount
from webapi.selectors.disagreements import Dispute, disputes
from webapi.selectors.label_columns import COLUMNS, Columns, Mask

LEVEL = 0.95
RESAMPLES = 2000
PART_RESAMPLES = 1000
MOST_PARTS = 120
"""Of days or weeks the latest, of batches, vendors and the like those with most labels."""
MOST_ANNOTATORS = 12
"""In the matrix of pairs."""
MIN_OVERLAP = 10
SHOWN = 15
"""How many snippets in dispute come with the figures; `disagreements` pages through them all."""
DAYS = 60
STATISTICS: tuple[Literal["percent", "alpha", "fleiss", "ac1", "ac2"], ...] = (
    "percent",
    "alpha",
    "fleiss",
    "ac1",
    "ac2",
)
SPECIFIC = "specific agreement"
KAPPA = "Cohen's kappa, bootstrap of items"


class Person(NamedTuple):
    """An annotator by key and name."""

    id: str
    name: str


class Pair(NamedTuple):
    """Two annotators and Cohen's kappa between them. None where kappa is undefined: both gave one answer only."""

    a: str
    b: str
    a_id: str
    b_id: str
    items: int
    kappa: float | None
    low: float | None
    high: float | None


class Part(NamedTuple):
    """Agreement within one day, batch or the like."""

    key: str
    unanimous: Rate
    overall: Agreement


class Figure(NamedTuple):
    """One statistic with its interval and counts. None where there is none, or it is undefined."""

    of: str
    """`all` labels, those of one `day` (or whatever parts are told apart by), or a `pair` of annotators."""
    key: str
    """Of the part; empty for all and for pairs."""
    a: Person | None
    b: Person | None
    """The pair."""
    statistic: str
    choice: str
    """Of agreement on one choice; else empty."""
    estimate: float | None
    low: float | None
    high: float | None
    level: float
    method: str
    failures: float | None
    n: float


@dataclass(frozen=True, slots=True)
class AgreementFigures:
    """Everything the agreement page says of the labels that a filter leaves."""

    policy: str
    choices: tuple[str, ...]
    judgements: int
    """All answers that count; an annotator who changed an answer gave two."""
    replaced: int
    """Answers that a later one of the same annotator replaced."""
    snippets: int
    annotators: int
    simulated: int
    """How many of the annotators are simulated."""
    unanimous: Rate
    """Of the snippets that were judged twice or more, those on which all gave the same answer."""
    overall: Agreement
    """Over the answers that stand."""
    matrix: tuple[Person, ...]
    """The annotators who share most snippets: `pairs` has every two of them who share enough."""
    pairs: tuple[Pair, ...]
    """Those who share most snippets first."""
    disputes: tuple[Dispute, ...]
    per_day: tuple[DayCount, ...]
    by: str
    parts: tuple[Part, ...]
    parts_left_out: int
    held_since: str | None
    """Where there are more labels than `AGREEMENT_LABELS`: from when on they are looked at."""

    def as_json(self) -> dict[str, Any]:
        """The same as plain data."""
        return {
            "policy": self.policy,
            "choices": list(self.choices),
            "judgements": self.judgements,
            "replaced": self.replaced,
            "snippets": self.snippets,
            "annotators": self.annotators,
            "simulated_annotators": self.simulated,
            "unanimous": self.unanimous.as_dict(),
            "overall": self.overall.as_dict(),
            "matrix": [person._asdict() for person in self.matrix],
            "pairs": [pair._asdict() for pair in self.pairs],
            "disputes": [dispute._asdict() for dispute in self.disputes],
            "per_day": [{"day": d.day, "choice": d.choice, "count": d.count} for d in self.per_day],
            "by": self.by,
            "parts": [
                {"key": part.key, "unanimous": part.unanimous.as_dict(), "overall": part.overall.as_dict()}
                for part in self.parts
            ],
            "parts_left_out": self.parts_left_out,
            "held_since": self.held_since,
            "bootstrap": {"of": "snippets", "level": LEVEL, "resamples": RESAMPLES, "part_resamples": PART_RESAMPLES},
        }

    def rows(self) -> Iterator[Figure]:
        """Every statistic as a row: of all labels first, then of each part, then of each pair of annotators."""
        whole = Part("", self.unanimous, self.overall)
        for of, part in (("all", whole), *((self.by, part) for part in self.parts)):
            overall = part.overall.as_dict()
            yield _figure(of, part.key, "unanimous", part.unanimous.as_dict())
            for name in STATISTICS:
                yield _figure(of, part.key, name, overall[name])
            for choice, value in overall["per_choice"].items():
                yield _figure(of, part.key, SPECIFIC, value, choice)
        for pair in self.pairs:
            a, b = Person(pair.a_id, pair.a), Person(pair.b_id, pair.b)
            limits = (pair.kappa, pair.low, pair.high, LEVEL)
            yield Figure("pair", "", a, b, "kappa", "", *limits, KAPPA, None, pair.items)


def _figure(of: str, key: str, statistic: str, value: Mapping[str, Any], choice: str = "") -> Figure:
    cells: list[Any] = [value.get(name) for name in ("estimate", "low", "high", "level", "method", "failures", "n")]
    return Figure(of, key, None, None, statistic, choice, *cells)


def agreement_figures(policy: Policy, which: AgreementFilter | None = None, *, by: str = "day") -> AgreementFigures:
    """How far annotators agree on the labels that `which` leaves (all of the policy's), and within parts of them.

    `by` is a key of `agreement_filter.PARTS`. O(labels), however the filter stands: a second at a million.
    """
    columns = COLUMNS.current()
    choices = policy.rules.choices
    votes = matching(columns, which or AgreementFilter(policy.pk), choices)
    chosen = votes & columns.standing
    table = table_of(columns, chosen, choices)
    overall = agreement(table, level=LEVEL, resamples=RESAMPLES)
    parts, left_out = _parts(table, parts_of(columns, chosen, by))
    matrix, pairs = _pairs(columns, table)
    return AgreementFigures(
        policy=str(policy),
        choices=choices,
        judgements=int(votes.sum()),
        replaced=int(votes.sum()) - overall.votes,
        snippets=overall.items,
        annotators=overall.annotators,
        simulated=_simulated(columns, table),
        unanimous=_unanimous(overall),
        overall=overall,
        matrix=matrix,
        pairs=pairs,
        disputes=tuple(disputes(columns, table, first=SHOWN)),
        per_day=_per_day(columns, chosen, table),
        by=parts[0],
        parts=parts[1],
        parts_left_out=left_out,
        held_since=columns.since.isoformat().replace("+00:00", "Z") if columns.since else None,
    )


def policies_with_labels() -> list[Policy]:
    """The policies that have any label, the newest first."""
    return list(Policy.objects.filter(Exists(Label.objects.filter(snippet__policy=OuterRef("pk")))).order_by("-id"))


def has_labels(policy: Policy) -> bool:
    """Whether anything was ever answered under the policy."""
    return Label.objects.filter(snippet__policy=policy).exists()


def _unanimous(found: Agreement) -> Rate:
    agreed = found.items_with_pairs - found.items_in_dispute
    return clopper_pearson(agreed, found.items_with_pairs, level=LEVEL)


def _parts(table: VoteTable, parts: Parts) -> tuple[tuple[str, tuple[Part, ...]], int]:
    """What the votes are told apart by, the parts, and how many there are besides."""
    votes = np.bincount(parts.codes, minlength=len(parts.names))
    timely = parts.by in ("day", "week")
    order = np.arange(votes.size)[-MOST_PARTS:] if timely else np.sort(np.argsort(-votes, kind="stable")[:MOST_PARTS])
    place = np.full(votes.size, -1)
    place[order] = np.arange(order.size)
    codes = place[parts.codes]
    kept = codes >= 0
    part = table._replace(
        items=table.items[kept],
        annotators=table.annotators[kept],
        answers=table.answers[kept],
        staff=table.staff[kept],
    )
    found = agreement_by(part, codes[kept], order.size, level=LEVEL, resamples=PART_RESAMPLES)
    named = (Part(parts.names[code], _unanimous(one), one) for code, one in zip(order.tolist(), found, strict=True))
    return (parts.by, tuple(named)), votes.size - order.size


def _simulated(columns: Columns, table: VoteTable) -> int:
    """Compared here, not by an `IN`: databases bound the number of parameters."""
    simulated = set(Annotator.objects.filter(simulated=True).values_list("pk", flat=True))
    return sum(
        columns.annotator_keys[code] in simulated for code in np.flatnonzero(np.bincount(table.annotators)).tolist()
    )


def _per_day(columns: Columns, chosen: Mask, table: VoteTable) -> tuple[DayCount, ...]:
    """Standing votes of each choice on each of the last `DAYS` days before the latest, oldest first."""
    days, width = columns.times[chosen] // DAY_MS, len(table.choices)
    recent = days > days.max(initial=0) - DAYS
    cells, counts = np.unique(days[recent] * width + table.answers[recent], return_counts=True)
    return tuple(
        DayCount(str(np.datetime64(cell // width, "D")), table.choices[cell % width], count)
        for cell, count in zip(cells.tolist(), counts.tolist(), strict=True)
    )


def _pairs(columns: Columns, table: VoteTable) -> tuple[tuple[Person, ...], tuple[Pair, ...]]:
    whom = sharing_most(table, MOST_ANNOTATORS, at_least=MIN_OVERLAP)
    people = people_of(columns, whom.tolist())
    found = pairwise_kappas(table, min_overlap=MIN_OVERLAP, whom=whom, level=LEVEL)
    pairs = [
        Pair(
            people[i].name,
            people[j].name,
            people[i].id,
            people[j].id,
            int(found.items[i, j]),
            *(None if np.isnan(of[i, j]) else float(of[i, j]) for of in (found.kappa, found.low, found.high)),
        )
        for i, j in zip(*np.nonzero(np.triu(found.items >= MIN_OVERLAP, 1)), strict=True)
    ]
    return tuple(people), tuple(sorted(pairs, key=lambda pair: -pair.items))


def people_of(columns: Columns, codes: Sequence[int]) -> list[Person]:
    """The annotators with these codes. One query."""
    keys = [columns.annotator_keys[code] for code in codes]
    names: dict[uuid.UUID, str] = dict(Annotator.objects.filter(pk__in=keys).values_list("pk", "name"))
    return [Person(str(key), names[key]) for key in keys]
