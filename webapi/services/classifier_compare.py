"""Two classifiers beside one another: recipes, snapshots, thresholds, rates on the same data, decisions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pyarrow.parquet as pq
from django.db.models import Case, Count, F, IntegerField, Q, Sum, When

from engine.evaluation.rates import RateDict, clopper_pearson
from engine.generation.rejection import logit_cutoff
from webapi.errors import DomainError
from webapi.models import Classifier, DatasetSnapshot, Score
from workers.artifacts import verified


class Difference(NamedTuple):
    """A value that is not the same of both; None where one has none."""

    name: str
    a: Any
    b: Any


class Rows(NamedTuple):
    """Snippets that each was trained on."""

    only_a: int
    only_b: int
    both: int
    relabelled: int
    """Of `both`, those with another choice."""


class ComparedRate(NamedTuple):
    """One rate of both on the same data."""

    evaluation: str
    name: str
    a: RateDict
    b: RateDict


class Decisions(NamedTuple):
    """What both decided, each at its threshold, of the snippets that both scored."""

    equal: RateDict
    """Share decided alike; `failures` counts them."""
    only_a_rejects: int
    only_b_rejects: int


class Compared(NamedTuple):
    """Everything that can be said of two classifiers side by side."""

    a: Classifier
    b: Classifier
    recipe: list[Difference]
    environment: list[Difference]
    rows: Rows | None
    """None where one has no snapshot."""
    rates: list[ComparedRate]
    decisions: Decisions | None
    """None while one has no threshold, or no snippet was scored by both."""


def classifiers_compare(*, a: Classifier, b: Classifier) -> Compared:
    """Reads both snapshots whole, and counts scores in the database. Raises DomainError `invalid` where they are of
    different policies; NotStored or Damaged for a snapshot's file. O(snippets of the snapshots + common scores).
    """
    if a.policy_id != b.policy_id:
        raise DomainError("invalid", f"{a.name} and {b.name} are of different policies.")
    return Compared(
        a=a,
        b=b,
        recipe=list(_differences(a.recipe, b.recipe)),
        environment=list(_differences(a.environment, b.environment)),
        rows=_rows(a.snapshot, b.snapshot),
        rates=list(_rates(a, b)),
        decisions=_decisions(a, b),
    )


def _differences(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "") -> Iterator[Difference]:
    """Values that differ, those inside of tables by `table.name`."""
    for key in dict.fromkeys([*a, *b]):
        one, other, name = a.get(key), b.get(key), f"{prefix}{key}"
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from _differences(one, other, f"{name}.")
        elif one != other:
            yield Difference(name, one, other)


def _rows(a: DatasetSnapshot | None, b: DatasetSnapshot | None) -> Rows | None:
    if a is None or b is None:
        return None
    if a.artifact.sha256 == b.artifact.sha256:
        return Rows(0, 0, len(_choices(a)), 0)
    left, right = _choices(a), _choices(b)
    both = left.keys() & right.keys()
    relabelled = sum(left[pk] != right[pk] for pk in both)
    return Rows(len(left) - len(both), len(right) - len(both), len(both), relabelled)


def _choices(snapshot: DatasetSnapshot) -> dict[str, str]:
    table = pq.read_table(verified(snapshot.artifact), columns=["snippet_id", "choice"])
    return dict(zip(table["snippet_id"].to_pylist(), table["choice"].to_pylist(), strict=True))


def _rates(a: Classifier, b: Classifier) -> Iterator[ComparedRate]:
    """Rates of the evaluations that both have on the same held-out sets: of one round, under one name."""
    others = {(row.round_id, row.name): row.results for row in b.evaluations.exclude(round=None)}
    for row in a.evaluations.exclude(round=None).order_by("name"):
        other = others.get((row.round_id, row.name))
        if other is None:
            continue
        right = dict(_rates_in(other))
        for name, rate in _rates_in(row.results):
            if name in right:
                yield ComparedRate(row.name, name, rate, right[name])


def _rates_in(results: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, RateDict]]:
    for key, value in results.items():
        if not isinstance(value, Mapping):
            continue
        if {"estimate", "low", "high", "failures", "n"} <= value.keys():
            yield f"{prefix}{key}", RateDict(**value)  # type: ignore[typeddict-item]
        else:
            yield from _rates_in(value, f"{prefix}{key}, ")


def _decisions(a: Classifier, b: Classifier) -> Decisions | None:
    if a.threshold is None or b.threshold is None:
        return None
    pairs = Score.objects.filter(classifier=a, snippet__scores__classifier=b).annotate(
        other=F("snippet__scores__logit")
    )
    first, second = float(logit_cutoff(a.threshold)), float(logit_cutoff(b.threshold))
    counted = pairs.aggregate(
        n=Count("pk"),
        only_a=_how_many(Q(logit__gte=first, other__lt=second)),
        only_b=_how_many(Q(logit__lt=first, other__gte=second)),
    )
    n, only_a, only_b = counted["n"], counted["only_a"] or 0, counted["only_b"] or 0
    if not n:
        return None
    return Decisions(clopper_pearson(n - only_a - only_b, n).as_dict(), only_a, only_b)


def _how_many(rows: Q) -> Sum:
    return Sum(Case(When(rows, then=1), default=0, output_field=IntegerField()))
