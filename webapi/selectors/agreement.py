"""How far annotators agree under a policy, from the labels that stand; counted once for each state of the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from django.core.cache import cache
from django.db.models import Count, Exists, Max, OuterRef, QuerySet

from engine.aggregation import VoteTable, codes_of
from engine.aggregation.agreement import Agreement, agreement, disagreements
from engine.aggregation.kappa import KappaPairDict, pairwise_kappas
from webapi.models import Annotator, Label, Policy, Snippet
from webapi.selectors.dashboard import DayCount, LabelFilter, labels_per_day

CACHE_SECONDS = 24 * 3600
BUSIEST = 200
MIN_OVERLAP = 10
SHOWN = 15
"""How many pairs and snippets in dispute are kept: the page shows them all."""


class Pair(NamedTuple):
    """Two annotators and how far they agree beyond chance. None where kappa is undefined: both gave one answer only."""

    a: str
    b: str
    items: int
    kappa: float | None
    low: float | None
    high: float | None


class Dispute(NamedTuple):
    """A snippet whose annotators differ, with its votes per choice in the order of the policy's choices."""

    snippet_id: str
    completion: str
    counts: tuple[int, ...]
    disagreeing: float
    consensus: str


@dataclass(frozen=True, slots=True)
class AgreementFigures:
    """Everything the agreement page says of one policy."""

    policy: str
    choices: tuple[str, ...]
    judgements: int
    """All rows of answers; an annotator who changed an answer gave two."""
    replaced: int
    """Answers that a later one of the same annotator replaced."""
    snippets: int
    annotators: int
    simulated: int
    """How many of the annotators are simulated."""
    overall: Agreement
    """Over the answers that stand."""
    pairs: tuple[Pair, ...]
    """Those of the busiest annotators who share most snippets."""
    disputes: tuple[Dispute, ...]
    per_day: tuple[DayCount, ...]

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
            "overall": self.overall.as_dict(),
            "pairs": [pair._asdict() for pair in self.pairs],
            "disputes": [dispute._asdict() for dispute in self.disputes],
            "per_day": [{"day": d.day, "choice": d.choice, "count": d.count} for d in self.per_day],
        }


class _Votes(NamedTuple):
    table: VoteTable
    snippets: list[Any]
    annotators: list[Any]


def agreement_figures(policy: Policy, *, batch: UUID | str | None = None) -> AgreementFigures | None:
    """How far annotators agree under `policy` (in one batch of it); None without labels.

    Computed once for each state of the labels and then cached: the newest label and their number are the key.
    """
    labels = _labels(policy, batch)
    state = labels.aggregate(count=Count("pk"), newest=Max("created_at"))  # PostgreSQL has no max() of keys
    if not state["count"]:
        return None
    key = f"agreement:{policy.pk}:{batch}:{state['count']}:{state['newest'].timestamp()}"
    found: AgreementFigures | None = cache.get(key)
    if found is None:
        found = _compute(policy, batch, state["count"])
        cache.set(key, found, CACHE_SECONDS)
    return found


def policies_with_labels() -> list[Policy]:
    """The policies that have any label, the newest first."""
    return list(Policy.objects.filter(Exists(Label.objects.filter(snippet__policy=OuterRef("pk")))).order_by("-id"))


def _labels(policy: Policy, batch: UUID | str | None) -> QuerySet[Label]:
    labels = Label.objects.filter(snippet__policy=policy).order_by()
    return labels.filter(task__batch=UUID(str(batch))) if batch else labels


def _compute(policy: Policy, batch: UUID | str | None, judgements: int) -> AgreementFigures:
    votes = _standing_votes(policy, batch)
    rules = policy.rules
    return AgreementFigures(
        policy=str(policy),
        choices=rules.choices,
        judgements=judgements,
        replaced=judgements - votes.table.items.size,
        snippets=len(votes.snippets),
        annotators=len(votes.annotators),
        simulated=_simulated(votes.annotators),
        overall=agreement(votes.table),
        pairs=_pairs(votes),
        disputes=_disputes(votes),
        per_day=tuple(labels_per_day(LabelFilter(policy=str(policy.pk), batch=str(batch) if batch else None))),
    )


def _simulated(annotators: list[Any]) -> int:
    """Compared here, not by an `IN`: databases bound the number of parameters."""
    return len(set(annotators) & set(Annotator.objects.filter(simulated=True).values_list("pk", flat=True)))


def _standing_votes(policy: Policy, batch: UUID | str | None) -> _Votes:
    """The latest answer of each annotator to each snippet, as arrays. One query; later revisions replace earlier."""
    latest: dict[tuple[Any, Any], str] = {}
    rows = _labels(policy, batch).order_by("revision").values_list("snippet_id", "annotator_id", "choice")
    for snippet, annotator, choice in rows.iterator(chunk_size=10_000):
        latest[snippet, annotator] = choice
    snippets = {key: code for code, key in enumerate(dict.fromkeys(snippet for snippet, _ in latest))}
    annotators = {key: code for code, key in enumerate(dict.fromkeys(annotator for _, annotator in latest))}
    table = VoteTable(
        items=np.fromiter((snippets[s] for s, _ in latest), dtype=np.int64, count=len(latest)),
        annotators=np.fromiter((annotators[a] for _, a in latest), dtype=np.int64, count=len(latest)),
        answers=codes_of(list(latest.values()), policy.rules.choices),
        staff=np.zeros(len(latest), dtype=np.bool_),
        n_items=len(snippets),
        choices=policy.rules.choices,
    )
    return _Votes(table, list(snippets), list(annotators))


def _pairs(votes: _Votes) -> tuple[Pair, ...]:
    found = pairwise_kappas(votes.table, min_overlap=MIN_OVERLAP, most=BUSIEST).pairs()
    closest: Sequence[KappaPairDict] = sorted(found, key=lambda pair: -pair["items"])[:SHOWN]
    keys = {votes.annotators[code] for pair in closest for code in (pair["a"], pair["b"])}
    names = dict(Annotator.objects.filter(pk__in=keys).values_list("pk", "name"))
    return tuple(
        Pair(
            names[votes.annotators[pair["a"]]],
            names[votes.annotators[pair["b"]]],
            pair["items"],
            pair["kappa"],
            pair["low"],
            pair["high"],
        )
        for pair in closest
    )


def _disputes(votes: _Votes) -> tuple[Dispute, ...]:
    found = disagreements(votes.table, limit=SHOWN)
    rows = Snippet.objects.select_related("consensus").in_bulk([votes.snippets[one.item] for one in found])
    disputes = []
    for one in found:
        row = rows[votes.snippets[one.item]]
        consensus = row.consensus.choice if hasattr(row, "consensus") else ""
        disputes.append(Dispute(str(row.pk), row.completion, one.counts, one.disagreeing, consensus))
    return tuple(disputes)
