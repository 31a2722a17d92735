"""The list of attacks with their yields, and those on one classifier or of one round compared side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.db.models import Count, QuerySet
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET

from engine.attacks import ATTACKS
from engine.evaluation.report_data import AttackSpending
from engine.evaluation.yields import Yield
from webapi.api.csv_answers import RATE_CELLS, csv_answer, rate_cells
from webapi.models import Attack, AttackRole, AttackState, Classifier, Policy, Round
from webapi.models.attacks import UNFINISHED
from webapi.pages.access import PageRequest, is_open_to, page
from webapi.pages.attack_words import YIELDS, YieldWords, rate_data, yields_in_words
from webapi.pages.paging import key_in, page_of
from webapi.pages.snippets import Filter
from webapi.selectors.attack_origins import SimulatedParts, simulated_parts
from webapi.selectors.attacks import (
    TITLES,
    AttackProgress,
    attack_progress,
    attack_title,
    attacks_listed,
    spending_of,
    yield_of,
)

PAGE_SIZE = 20
"""Yields cost three queries an attack, so a page is short."""
RECENT = 50
"""Classifiers and rounds to choose from, the newest."""
BY_KEY = ("policy", "round", "classifier")
BY_WORD = ("name", "role", "state")


class AttackRow(NamedTuple):
    """An attack with what a line of the list shows."""

    attack: Attack
    title: str
    progress: AttackProgress
    found: Yield
    yields: tuple[YieldWords, ...]
    spending: AttackSpending | None
    simulated: bool


class Column(NamedTuple):
    """A column that the comparison is sorted by: `link` sorts by it, or turns its order round."""

    name: str
    title: str
    meaning: str
    sorted: str
    """`ascending`, `descending` or empty."""
    link: str


@page("attacks")
@require_GET
def attacks(request: PageRequest) -> HttpResponse:
    """Attacks, newest first; of one classifier or round compared in a table that can be sorted, with a chart."""
    query = {name: value for name, value in request.GET.dict().items() if value}
    matching = attacks_listed().filter(**_conditions(query))
    found = page_of(matching, query, size=PAGE_SIZE)
    parts = simulated_parts(found.rows)
    about = _about(query)
    sort = query.get("sort", "") if about else ""
    rows = _sorted([_row(one, parts) for one in found.rows], sort)
    states = _states(matching)
    context = {
        "rows": rows,
        "columns": {one.name: one for one in _columns(query, sort if about else None)},
        "compared": about is not None and bool(rows),
        "pager": found.pager,
        "total": sum(states.values()),
        "headline": _headline(states, about),
        "moving": any(row.attack.state in UNFINISHED for row in rows),
        "filters": _filters(query),
        "filtered": any(name in query for name in (*BY_KEY, *BY_WORD)),
        "chart": _chart(rows, sort, about),
        "with_money": any(row.spending for row in rows),
        "simulated": sum(row.simulated for row in rows),
        "same": urlencode({name: query[name] for name in (*BY_KEY, *BY_WORD) if name in query}),
        "same_page": urlencode({name: value for name, value in query.items() if name != "sort"}),
        "may_attack": is_open_to(request.user, "attacks", "create"),
        "chosen_classifier": query.get("classifier", ""),
    }
    return render(request, "pages/attacks.html", context)


@page("attacks")
@require_GET
def yields_csv(request: PageRequest) -> HttpResponse:
    """The yields of the attacks on the same page of the list, a line a yield; where there is none, an empty one."""
    query = {name: value for name, value in request.GET.dict().items() if value}
    found = page_of(attacks_listed().filter(**_conditions(query)), query, size=PAGE_SIZE)
    about = ("id", "name", "title", "classifier", "round", "role", "state")
    counts = ("seeds", "candidates", "labelled", "queries")
    return csv_answer("attacks", (*about, *counts, "yield", *RATE_CELLS), _csv_lines(found.rows, counts))


def _csv_lines(rows: Sequence[Attack], counts: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for row in rows:
        found = yield_of(row)
        round_name = row.round.name if row.round else ""
        about = (str(row.pk), row.name, row.title, row.classifier.name, round_name, row.role, row.state)
        counted = tuple(str(getattr(found, name)) for name in counts)
        for one in yields_in_words(found):
            yield (*about, *counted, one.name, *rate_cells({} if one.rate is None else {**one.rate.as_dict()}))


def _conditions(query: Mapping[str, str]) -> dict[str, Any]:
    keys = {name: key_in(query, name) for name in BY_KEY}
    words = {name: query[name] for name in BY_WORD if name in query}
    return {name: key for name, key in keys.items() if key is not None} | words


def _row(row: Attack, parts: SimulatedParts) -> AttackRow:
    found = yield_of(row)
    return AttackRow(
        attack=row,
        title=attack_title(row),
        progress=attack_progress(row),
        found=found,
        yields=yields_in_words(found),
        spending=spending_of(row),
        simulated=row.pk in parts.any(),
    )


def _about(query: Mapping[str, str]) -> Classifier | Round | None:
    """What the attacks that are compared have in common."""
    if (key := key_in(query, "classifier")) is not None:
        return Classifier.objects.filter(pk=key).first()
    if (key := key_in(query, "round")) is not None:
        return Round.objects.filter(pk=key).first()
    return None


def _value(row: AttackRow, name: str) -> float | str | None:
    """What the row is sorted by; None comes last."""
    if name in YIELDS:
        said = next(one for one in row.yields if one.name == name)
        return None if said.rate is None else said.rate.estimate
    if name == "spent":
        return row.spending["money"] if row.spending else None
    plain: dict[str, float | str] = {
        "title": f"{row.title} {row.attack.classifier.name}".lower(),
        "seeds": row.attack.seeds,
        "candidates": row.found.candidates,
        "queries": row.found.queries,
    }
    return plain.get(name)


def _sorted(rows: Sequence[AttackRow], sort: str) -> list[AttackRow]:
    """In the order asked for: `seeds_broken` or, the largest first, `-seeds_broken`. As they came where none is."""
    name, descending = sort.removeprefix("-"), sort.startswith("-")
    known = [(value, row) for row in rows if (value := _value(row, name)) is not None]
    if not known:
        return list(rows)
    unknown = [row for row in rows if _value(row, name) is None]
    ordered = sorted(known, key=lambda one: one[0], reverse=descending)
    return [row for _, row in ordered] + unknown


def _columns(query: Mapping[str, str], sort: str | None) -> list[Column]:
    """The columns; without links where there is nothing to compare (`sort` is None)."""
    titles = {
        "title": ("Attack", ""),
        "seeds": ("Seeds", "Known failures that it starts from"),
        "candidates": ("Candidates", "Accepted by the classifier, for people to judge"),
        **YIELDS,
        "queries": ("Queries", "Texts that the classifier scored"),
        "spent": ("Spent", "On requests to endpoints, US dollars"),
    }
    kept = {name: value for name, value in query.items() if name != "sort"}
    found = []
    for name, (title, meaning) in titles.items():
        first, other = (name, f"-{name}") if name == "title" else (f"-{name}", name)
        now = {name: "ascending", f"-{name}": "descending"}.get(sort or "", "")
        link = "" if sort is None else f"?{urlencode({**kept, 'sort': other if sort == first else first})}"
        found.append(Column(name, title, meaning, now, link))
    return found


def _label(row: AttackRow, about: Classifier | Round | None) -> str:
    """What tells it from the others in the chart."""
    purpose = ", training" if row.attack.role == AttackRole.TRAINING else ""
    if isinstance(about, Classifier):
        return f"{row.title}{purpose}"
    return f"{row.title}, {row.attack.classifier.condition}{purpose}"


def _chart(rows: Sequence[AttackRow], sort: str, about: Classifier | Round | None) -> dict[str, Any]:
    """The yield that the table is sorted by, else the seeds broken, with its intervals."""
    name = sort.removeprefix("-") if sort.removeprefix("-") in YIELDS else "seeds_broken"
    said = [(row, next(one for one in row.yields if one.name == name)) for row in rows]
    drawn = [
        {
            "label": _label(row, about),
            "url": reverse("attack", args=[row.attack.pk]),
            **rate_data(one),
        }
        for row, one in said
        if one.rate is not None
    ]
    title, meaning = YIELDS[name]
    percent = name in ("seeds_broken", "per_candidate")
    axis = f"{title.lower()}, {'share' if percent else 'failures'}, 95 % interval"
    return {
        "title": title,
        "meaning": meaning,
        "left_out": len(rows) - len(drawn),
        "data": {"rows": drawn, "axis": axis, "percent": percent},
    }


def _states(rows: QuerySet[Attack]) -> dict[str, int]:
    counted = rows.select_related(None).order_by().values_list("state")
    return dict(counted.annotate(n=Count("pk")))


def _headline(states: Mapping[str, int], about: Classifier | Round | None) -> str:
    total, moving = sum(states.values()), sum(states.get(state, 0) for state in UNFINISHED)
    ended = {
        AttackState.SUCCEEDED: "finished",
        AttackState.FAILED: "stopped by an error",
        AttackState.CANCELLED: "cancelled",
    }
    total_words = f"{total:,} attack{'' if total == 1 else 's'}"
    where = "" if about is None else f" {'on' if isinstance(about, Classifier) else 'of'} {about.name}"
    if not total:
        return f"No attack{where} has run yet."
    parts = [f"{moving:,} under way"] if moving else []
    parts += [f"{states[state]:,} {words}" for state, words in ended.items() if states.get(state)]
    if len(parts) == 1:
        return f"{total_words}{where}, {'all ' if total > 1 else ''}{parts[0].partition(' ')[2]}."
    return f"{total_words}{where}: {', '.join(parts)}."


def _filters(query: Mapping[str, str]) -> list[Filter]:
    policies = [(str(row.pk), str(row)) for row in Policy.objects.order_by("name", "-version")]
    rounds = [(str(row.pk), row.name) for row in _recent(Round.objects.all(), query, "round")]
    on = _recent(Classifier.objects.exclude(attacks=None).distinct(), query, "classifier")
    options: dict[str, tuple[str, list[tuple[str, str]]]] = {
        "policy": ("Policy", policies),
        "round": ("Round", rounds),
        "classifier": ("On", [(str(row.pk), row.name) for row in on]),
        "name": ("Attack", [(name, TITLES.get(name, name)) for name in ATTACKS]),
        "role": ("For", [(value, str(words)) for value, words in AttackRole.choices]),
        "state": ("State", [(value, str(words)) for value, words in AttackState.choices]),
    }
    return [Filter(name, title, listed, query.get(name, "")) for name, (title, listed) in options.items()]


def _recent(rows: QuerySet[Any], query: Mapping[str, str], field: str) -> list[Any]:
    """The newest, and the one chosen."""
    found = list(rows.order_by("-pk")[:RECENT])
    chosen = key_in(query, field)
    if chosen is not None and chosen not in {row.pk for row in found}:
        found += list(rows.model.objects.filter(pk=chosen))
    return found
