"""The list of snippets with its filters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from django.http import HttpResponse
from django.shortcuts import render

from webapi.models import Consensus, Corpus, Policy, Pool, Round, RoundSnippet, Snippet, Source, SplitName
from webapi.pages.access import PageRequest, page
from webapi.pages.paging import key_in, page_of

RECENT_ROUNDS = 20


PRESENCE = frozenset({("consensus", "any"), ("consensus", "none")})


class Filter(NamedTuple):
    """One field of the filter form: its options as (value, words), and the value now."""

    name: str
    title: str
    options: list[tuple[str, str]]
    value: str


def _in_round(query: Mapping[str, str]) -> Q:
    """Membership in a round, with its pool and whether it was selected: one row must fit all three."""
    conditions: dict[str, Any] = {}
    if (round_ := key_in(query, "round")) is not None:
        conditions["round"] = round_
    if query.get("pool"):
        conditions["pool"] = query["pool"]
    if query.get("selected"):
        conditions["selected"] = query["selected"] == "1"
    return Q(Exists(RoundSnippet.objects.filter(snippet=OuterRef("pk"), **conditions))) if conditions else Q()


def _with_consensus(query: Mapping[str, str]) -> Q:
    wanted = query.get("consensus", "")
    presence = {"": Q(), "any": Q(consensus__isnull=False), "none": Q(consensus__isnull=True)}
    return presence.get(wanted, Q(consensus__choice=wanted))


def _with_policy(query: Mapping[str, str]) -> Q:
    policy = key_in(query, "policy")
    return Q() if policy is None else Q(policy=policy)


def _with_corpus(query: Mapping[str, str]) -> Q:
    corpus = key_in(query, "corpus")
    return Q() if corpus is None else Q(story__corpus=corpus)


CONDITIONS: tuple[Callable[[Mapping[str, str]], Q], ...] = (
    _with_policy,
    _with_corpus,
    lambda query: Q(source=query["source"]) if query.get("source") else Q(),
    lambda query: Q(split=query["split"]) if query.get("split") else Q(),
    _in_round,
    _with_consensus,
)


@page("snippets")
def snippets(request: PageRequest) -> HttpResponse:
    """Snippets, newest first, by source, split, round, pool and consensus."""
    query = request.GET.dict()
    found = page_of(_matching(query), query)
    context = {
        "snippets": found.rows,
        "pager": found.pager,
        "filters": _filters(query),
        "filtered": any(value for name, value in query.items() if name not in {"after", "before"}),
        "same_in_api": urlencode({name: value for name, value in query.items() if _api_has(name, value)}),
    }
    return render(request, "pages/snippets.html", context)


def _api_has(name: str, value: str) -> bool:
    """The API pages in its own way, has no filter by corpus and knows consensus by its choices only."""
    return bool(value) and name not in {"after", "before", "corpus"} and (name, value) not in PRESENCE


def _matching(query: Mapping[str, str]) -> QuerySet[Snippet]:
    rows = Snippet.objects.select_related("consensus", "policy")
    for condition in CONDITIONS:
        rows = rows.filter(condition(query))
    return rows.annotate(answers=Count("labels"))


def _filters(query: Mapping[str, str]) -> list[Filter]:
    policies = [(str(policy.pk), str(policy)) for policy in Policy.objects.order_by("name", "-version")]
    rounds = [(str(row.pk), row.name) for row in Round.objects.order_by("-pk")[:RECENT_ROUNDS]]
    if (chosen := key_in(query, "round")) is not None and str(chosen) not in dict(rounds):
        rounds += [(str(row.pk), row.name) for row in Round.objects.filter(pk=chosen)]
    choices = Consensus.objects.order_by("choice").values_list("choice", flat=True).distinct()
    options: dict[str, tuple[str, list[tuple[str, str]]]] = {
        "policy": ("Policy", policies),
        "corpus": ("Corpus", [(str(row.pk), row.name) for row in Corpus.objects.order_by("name")]),
        "source": ("Source", list(Source.choices)),
        "split": ("Split", list(SplitName.choices)),
        "round": ("Round", rounds),
        "pool": ("Pool", [(value, str(words)) for value, words in Pool.choices]),
        "selected": ("Selected", [("1", "Selected"), ("0", "Not selected")]),
        "consensus": ("Consensus", [("any", "Any"), ("none", "None yet"), *((c, c) for c in choices)]),
    }
    return [Filter(name, title, listed, query.get(name, "")) for name, (title, listed) in options.items()]
