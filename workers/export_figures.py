"""Exports of figures: how far annotators agree, and how each of them works. Computed as the API computes them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from engine.evaluation.rates import Rate
from webapi.models import Annotator, Policy
from webapi.selectors.agreement import AgreementFigures, Person, agreement_figures, policies_with_labels
from webapi.selectors.agreement_filter import NO_VENDOR, AgreementFilter
from webapi.selectors.annotators import AnnotatorRecord, annotator_records, annotators_under
from workers.export_reading import COUNT, REAL, TEXT, TIME, TRUTH, Export, Reading, in_chunks

ANNOTATORS_AT_ONCE = 500
_LIMITS = {"estimate": REAL, "low": REAL, "high": REAL, "level": REAL, "method": TEXT, "failures": COUNT, "n": COUNT}
_POLICY = {"policy": TEXT, "policy_name": TEXT}
_RATES = {"gold": "gold", "others": "others", "audits": "staff", "unsure": "unsure"}
"""As the API calls them, and as records do."""


def _agreement(given: Mapping[str, Any]) -> Reading:
    """Of one policy, or of every one that has labels."""
    return Reading(0, _agreement_rows(given))


def _agreement_rows(given: Mapping[str, Any]) -> Iterator[Sequence[Any]]:
    which: dict[str, Any] = {name: given[name] for name in ("source", "split", "vendor") if name in given}
    which |= {name: uuid.UUID(given[name]) for name in ("batch", "round", "annotator") if name in given}
    which |= {name: datetime.fromisoformat(given[name]) for name in ("since", "until") if name in given}
    for policy in _policies(given):
        figures = agreement_figures(policy, AgreementFilter(policy.pk, **which), by=given.get("by", "day"))
        yield from _figure_rows(policy, figures)


def _figure_rows(policy: Policy, figures: AgreementFigures) -> Iterator[Sequence[Any]]:
    nobody = Person("", "")
    for of, key, a, b, *statistic in figures.rows():
        yield [str(policy.pk), str(policy), of, key, *(a or nobody), *(b or nobody), *statistic]


def _annotators(given: Mapping[str, Any]) -> Reading:
    """Everybody who worked under one policy, or under each that has labels."""
    found = [(policy, _people(policy, given)) for policy in _policies(given)]
    return Reading(sum(people.count() for _, people in found), _annotator_rows(found))


def _people(policy: Policy, given: Mapping[str, Any]) -> QuerySet[Annotator]:
    people = annotators_under(policy)
    if "vendor" not in given:
        return people
    return people.filter(vendor="" if given["vendor"] == NO_VENDOR else given["vendor"])


def _annotator_rows(found: Iterable[tuple[Policy, QuerySet[Annotator]]]) -> Iterator[Sequence[Any]]:
    for policy, people in found:
        for chunk in in_chunks(people, (), size=ANNOTATORS_AT_ONCE):
            rows = Annotator.objects.filter(pk__in=[key for (key,) in chunk]).order_by("pk")
            for record in annotator_records(policy, list(rows)):
                yield _record_row(policy, record)


def _record_row(policy: Policy, record: AnnotatorRecord) -> Sequence[Any]:
    who = record.annotator
    rates: Iterable[Rate] = (getattr(record, name) for name in _RATES.values())
    return [
        *(str(policy.pk), str(policy), str(who.pk), who.name, who.vendor, who.staff, who.simulated),
        *(record.state, record.reason, record.labels, record.seconds, record.last),
        *(cell for rate in rates for cell in rate),
    ]


def _policies(given: Mapping[str, Any]) -> list[Policy]:
    return [Policy.objects.get(pk=given["policy"])] if "policy" in given else policies_with_labels()


AGREEMENT = Export(
    columns={
        **_POLICY,
        **dict.fromkeys(("of", "key", "a", "a_name", "b", "b_name", "statistic", "choice"), TEXT),
        **_LIMITS,
    },
    filters=("policy", "batch", "round", "source", "split", "vendor", "annotator", "since", "until", "by"),
    read=_agreement,
)
ANNOTATORS = Export(
    columns={
        **_POLICY,
        **{"annotator": TEXT, "annotator_name": TEXT, "vendor": TEXT, "staff": TRUTH, "simulated": TRUTH},
        **{"state": TEXT, "reason": TEXT, "labels": COUNT, "seconds": REAL, "last": TIME},
        **{f"{rate}_{name}": kind for rate in _RATES for name, kind in _LIMITS.items()},
    },
    filters=("policy", "vendor"),
    read=_annotators,
)
