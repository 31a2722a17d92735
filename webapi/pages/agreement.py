"""How far annotators agree: a form of filters, the figures when they are counted, and the snippets in dispute."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET

from engine.aggregation.estimate import EstimateDict
from webapi.api.agreement import AgreementQuery, scope
from webapi.models import Annotator, Batch, Policy, Round, Source, SplitName, User
from webapi.pages.access import PageRequest, page
from webapi.pages.paging import key_in
from webapi.permissions import Actor, pull_vendor, role_of
from webapi.selectors.agreement import (
    MIN_OVERLAP,
    AgreementFigures,
    Pair,
    Part,
    agreement_figures,
    policies_with_labels,
)
from webapi.selectors.agreement_filter import NO_VENDOR, AgreementFilter
from webapi.selectors.disagreements import disagreements

RECENT = 50
"""Batches and rounds to choose from, the newest."""
PAGE_SIZE = 10
BY = (("day", "Day"), ("batch", "Batch"), ("vendor", "Vendor"), ("source", "Source"), ("split", "Split"))
DEEPEST = 38
"""Percent of the accent in a cell of the matrix where kappa is 1: text on it stays readable."""


class Choice(NamedTuple):
    """One field of the form with options, as (value, words), and the value now. No `all_words`: one must choose."""

    name: str
    title: str
    options: Sequence[tuple[str, str]]
    value: str
    all_words: str = "All"


class Cell(NamedTuple):
    """A pair of annotators in the matrix; None: the annotator with themselves, or too few shared snippets."""

    pair: Pair | None
    itself: bool
    depth: float


class MatrixRow(NamedTuple):
    """One annotator of the matrix, with the cells towards all."""

    number: int
    name: str
    url: str
    cells: tuple[Cell, ...]


class Asked(NamedTuple):
    """What the address asks for, or what is wrong with it."""

    policy: Policy | None
    which: AgreementFilter | None
    by: str
    errors: dict[str, list[str]]


@page("metrics")
@require_GET
def agreement(request: PageRequest) -> HttpResponse:
    """The frame: the form, and a skeleton that the figures replace."""
    policies = policies_with_labels()
    if not policies:
        return render(request, "pages/agreement.html", {"policies": ()})
    query = _filled(request)
    asked = _asked(request, query)
    policy = asked.policy or policies[0]
    context = {
        "policies": policies,
        "policy": policy,
        "choices": _choices(query, policy, policies),
        "query": query,
        "errors": asked.errors,
        "filtered": bool(query.keys() - {"policy", "by"}),
        "same": urlencode({**query, "policy": policy.pk}),
        "same_rows": urlencode({**{name: value for name, value in query.items() if name != "by"}, "policy": policy.pk}),
    }
    return render(request, "pages/agreement.html", context, status=400 if asked.errors else 200)


@page("metrics")
@require_GET
def figures_fragment(request: PageRequest) -> HttpResponse:
    """The figures of the labels that the address means."""
    query = _filled(request)
    asked = _asked(request, query)
    if asked.policy is None or asked.which is None:
        return HttpResponse(status=400)
    figures = agreement_figures(asked.policy, asked.which, by=asked.by)
    context = {
        "policy": asked.policy,
        "figures": figures,
        "same": urlencode(query),
        "min_overlap": MIN_OVERLAP,
        "statistics": _statistics(figures),
        "statistics_data": _intervals(figures),
        "trend_data": _trend(figures, query),
        "matrix": _matrix(figures, query),
        "choice_rows": [
            (choice, figures.overall.votes_by_choice[choice], _shown(figures.overall.per_choice[choice].as_dict()))
            for choice in figures.choices
        ],
    }
    return render(request, "parts/agreement.html", context)


@page("metrics")
@require_GET
def disagreements_fragment(request: PageRequest) -> HttpResponse:
    """Some snippets in dispute with who said what, and a button for more."""
    query = _filled(request)
    cursor = query.pop("cursor", "")
    asked = _asked(request, query)
    if asked.policy is None or asked.which is None:
        return HttpResponse(status=400)
    found = disagreements(asked.policy, asked.which, cursor=cursor, size=PAGE_SIZE)
    more = urlencode({**query, "cursor": found.next}) if found.next else ""
    return render(request, "parts/disagreements.html", {"found": found, "more": more, "first": not cursor})


def _filled(request: PageRequest) -> dict[str, str]:
    """The fields of the address that are not empty."""
    return {name: value for name, value in request.GET.dict().items() if value}


def _asked(request: PageRequest, query: dict[str, str]) -> Asked:
    """The labels that the address means, checked as the API checks them. Raises Http404 for what is not there."""
    checked = AgreementQuery(data=query, context={"request": request})
    if not checked.is_valid():
        errors = {name: [str(one) for one in found] for name, found in checked.errors.items()}
        return Asked(None, None, "day", errors)
    policy, which = scope(checked.validated_data, Actor(request.user, role_of(request.user)))
    return Asked(policy, which, checked.validated_data["by"], {})


def _choices(query: dict[str, str], policy: Policy, policies: Sequence[Policy]) -> list[Choice]:
    vendors = Annotator.objects.exclude(vendor="").order_by("vendor").values_list("vendor", flat=True).distinct()
    batches = Batch.objects.filter(policy=policy).order_by("-pk")[:RECENT]
    rounds = Round.objects.filter(policy=policy).order_by("-pk")[:RECENT]
    options: dict[str, tuple[str, list[tuple[str, str]]]] = {
        "batch": ("Batch", [(str(row.pk), row.name) for row in batches]),
        "round": ("Round", [(str(row.pk), row.name) for row in rounds]),
        "source": ("Source", [(value, str(words)) for value, words in Source.choices]),
        "split": ("Split", [(value, str(words)) for value, words in SplitName.choices]),
        "vendor": ("Vendor", [(NO_VENDOR, "People with an account"), *_named_vendors(list(vendors))]),
    }
    if "annotator" in query:
        key = key_in(query, "annotator")
        named = [(str(row.pk), row.name) for row in Annotator.objects.filter(pk__in=[key] if key else [])]
        options["annotator"] = ("Judged by", named)
    found = [Choice(name, title, listed, query.get(name, "")) for name, (title, listed) in options.items()]
    found = [one for one in found if one.options or one.value]
    if len(policies) > 1:
        listed = [(str(row.pk), str(row)) for row in policies]
        found.insert(0, Choice("policy", "Policy", listed, str(policy.pk), ""))
    return [*found, Choice("by", "Compare by", BY, query.get("by", "day"), "")]


def _named_vendors(vendors: Sequence[str]) -> list[tuple[str, str]]:
    """With the user's name where the vendor is somebody who pulls tasks over the API."""
    users = {pull_vendor(user): user.username for user in User.objects.filter(role="vendor")}
    return [(vendor, users.get(vendor, vendor)) for vendor in vendors]


def _shown(value: EstimateDict) -> dict[str, Any]:
    return dict(value)


def _statistics(figures: AgreementFigures) -> list[tuple[str, str, dict[str, Any]]]:
    """Name, what it means, and the value of each statistic."""
    overall = figures.overall
    return [
        ("Krippendorff's alpha", "1 is perfect agreement, 0 is chance", _shown(overall.alpha.as_dict())),
        ("Fleiss' kappa", "Beyond chance, each snippet weighted alike", _shown(overall.fleiss.as_dict())),
        ("Gwet's AC1", "Beyond chance, not deflated where a choice is rare", _shown(overall.ac1.as_dict())),
        ("Gwet's AC2", "As AC1; choices next to each other agree in part", _shown(overall.ac2.as_dict())),
    ]


def _intervals(figures: AgreementFigures) -> dict[str, Any]:
    """All statistics with their intervals as a chart."""
    percent = ("Paired answers that agree", "", _shown(figures.overall.percent.as_dict()))
    known = [(name, value) for name, _, value in (percent, *_statistics(figures)) if value["estimate"] is not None]
    rows = [{"label": name, **{key: value[key] for key in ("estimate", "low", "high", "n")}} for name, value in known]
    return {"rows": rows, "axis": "agreement, 1 is perfect", "counted": "snippets"}


def _trend(figures: AgreementFigures, query: dict[str, str]) -> dict[str, Any]:
    """Two lines over the parts, with their intervals."""
    lines = {
        "pairs that agree": [part.overall.percent for part in figures.parts],
        "alpha": [part.overall.alpha for part in figures.parts],
    }
    return {
        "keys": [part.key for part in figures.parts],
        "counts": [part.overall.items_with_pairs for part in figures.parts],
        "dated": figures.by in ("day", "week"),
        "axis": {"day": "day (UTC)", "week": "week from Monday (UTC)"}.get(figures.by, figures.by),
        "urls": [_url_of(part, figures.by, query) for part in figures.parts],
        "series": [
            {
                "name": name,
                "estimate": [value.estimate for value in values],
                "low": [value.low for value in values],
                "high": [value.high for value in values],
            }
            for name, values in lines.items()
        ],
    }


def _url_of(part: Part, by: str, query: dict[str, str]) -> str | None:
    """The page of a part alone, where the form has a field for it."""
    if by not in ("source", "split", "vendor"):
        return None
    return f"{reverse('agreement')}?{urlencode({**query, by: part.key})}#t-disagreements"


def _matrix(figures: AgreementFigures, query: dict[str, str]) -> list[MatrixRow]:
    by_two = {frozenset((pair.a_id, pair.b_id)): pair for pair in figures.pairs}
    return [
        MatrixRow(
            number,
            row.name,
            f"?{urlencode({**query, 'annotator': row.id})}",
            tuple(_cell(by_two.get(frozenset((row.id, other.id))), row is other) for other in figures.matrix),
        )
        for number, row in enumerate(figures.matrix, 1)
    ]


def _cell(pair: Pair | None, itself: bool) -> Cell:
    kappa = 0.0 if pair is None or pair.kappa is None else max(0.0, pair.kappa)
    return Cell(None if itself else pair, itself, round(DEEPEST * kappa, 1))
