"""Why a round chose what it sent out for labels: in a sentence, on a map, in a list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import pyarrow as pa
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_GET

from engine.selection import Reason
from webapi.models import Pool, Round, Snippet, StageState
from webapi.pages.access import PageRequest, page
from webapi.pages.figures import percent
from webapi.pages.paging import Pager
from webapi.pages.snippet import sigmoid
from workers.selection_reading import Selection, labels_of, page_of, selection_of, summary, texts_of
from workers.selection_table import APART, CHOSEN, LEFT_OUT

PAGE_SIZE = 25
MOST_POINTS = 1500
"""Points of one kind on the map, at even steps of the list: enough to show where they lie."""

POOLS = {Pool.ATTACK.value: "Finds of the attack", Pool.CANDIDATE.value: "Ordinary snippets"}
STATUSES = {CHOSEN: "Chosen", LEFT_OUT: "Left out"}
REASONS: dict[str, str] = {
    Reason.STRATEGY: "Chosen by the strategy",
    Reason.RANDOM: "Drawn by chance",
    Reason.FILLING: "Near-duplicate, to fill the batch",
    Reason.NEAR_DUPLICATE: "Near-duplicate",
    Reason.GAVE_WAY: "Gave way to chance",
    Reason.PASSED_OVER: "Worth more, passed over",
    Reason.LOWER_VALUE: "Worth less",
}


class Near(NamedTuple):
    """A snippet that is near."""

    key: str
    similarity: float
    label: str
    """Its consensus; empty where there is none."""


class Row(NamedTuple):
    """A line of the list."""

    about: Mapping[str, Any]
    snippet: Snippet | None
    score: float
    why: str
    labelled: Near | None
    chosen: Near | None


class Filter(NamedTuple):
    """A choice above the list."""

    name: str
    title: str
    options: list[tuple[str, str]]
    value: str


@page("rounds")
@require_GET
def selection(request: PageRequest, key: UUID) -> HttpResponse:
    """The selection of one round."""
    round_ = get_object_or_404(Round.objects.select_related("policy", "corpus"), pk=key)
    found = selection_of(round_)
    if found is None:
        nothing = {"round": round_, "headline": "", "lede": "", "empty": _not_yet(round_)}
        return render(request, "pages/round_selection.html", nothing)
    told, query = summary(found), request.GET.dict()
    wanted = _wanted(query)
    start = _place(query)
    listed = page_of(found, wanted, start=start, size=PAGE_SIZE)
    context = {
        "round": round_,
        "empty": "",
        "headline": _headline(round_, told),
        "lede": _lede(told),
        "told": told,
        "map": _map(found),
        "shown": percent(told.get("map_shows")),
        "rows": _rows(listed.rows),
        "total": listed.total,
        "first": start + 1,
        "pager": Pager(_word(listed.previous), _word(listed.next)),
        "filters": _filters(wanted),
        "filtered": any(query.get(name) for name in ("status", "pool", "reason")),
        "plainly": wanted.get("plain") is True and wanted.get("status") == LEFT_OUT,
    }
    return render(request, "pages/round_selection.html", context)


def _not_yet(round_: Round) -> str:
    if round_.stages.filter(name="select", state=StageState.SUCCEEDED).exists():
        return f"{round_.name} chose before reasons were kept: only what it chose is known."
    return f"{round_.name} has not chosen yet. It does once its candidates are attacked, scored and embedded."


def _wanted(query: Mapping[str, str]) -> dict[str, object]:
    known: dict[str, Mapping[str, str]] = {"status": STATUSES, "pool": POOLS, "reason": REASONS}
    wanted: dict[str, object] = {name: query[name] for name in known if query.get(name) in known[name]}
    if query.get("plain") == "true":
        wanted["plain"] = True
    return wanted


def _place(query: Mapping[str, str]) -> int:
    """Where the page begins; a pager's links say it."""
    said = query.get("after") or query.get("before") or "0"
    return int(said) if said.isascii() and said.isdigit() and len(said) < 10 else 0


def _word(place: int | None) -> str | None:
    return None if place is None else str(place)


def _headline(round_: Round, told: Mapping[str, Any]) -> str:
    chosen, left = sum(told[CHOSEN].values()), sum(told[LEFT_OUT].values())
    if not chosen + left:
        return f"{round_.name} had nothing to choose from."
    drawn = told[CHOSEN].get(Reason.RANDOM, 0)
    by_chance = f", {drawn:,} of them by chance" if drawn else ""
    return f"{round_.name} chose {chosen:,} of {chosen + left:,} snippets for labels{by_chance}."


def _lede(told: Mapping[str, Any]) -> str:
    """What the strategy changed against the highest values alone."""
    differs, twins = told["differs"], told[LEFT_OUT].get(Reason.NEAR_DUPLICATE, 0)
    if not differs:
        return "The highest values alone would have given the same batch."
    others = "other one" if differs == 1 else "others"
    said = f"The highest values alone would have taken {differs:,} {others}."
    return f"{said} {twins:,} were left out as near-duplicates." if twins else said


def _rows(rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    labels, texts = labels_of(rows), texts_of(rows)
    return [
        Row(
            about=row,
            snippet=texts.get(row["snippet"]),
            score=sigmoid(row["logit"]),
            why=why_in_words(row),
            labelled=_near(row, "nearest_labelled", labels),
            chosen=_near(row, "nearest_chosen", labels),
        )
        for row in rows
    ]


def _near(row: Mapping[str, Any], name: str, labels: Mapping[str, str]) -> Near | None:
    key = row[name]
    return None if key is None else Near(key, row[f"{name}_similarity"], labels.get(key, ""))


def why_in_words(row: Mapping[str, Any]) -> str:
    """Why a snippet was chosen or left out."""
    if row["reason"] == Reason.RANDOM:
        return f"drawn by chance, one in {1 / row['inclusion']:,.0f}"
    if row["reason"] == Reason.PASSED_OVER:
        return f"worth more than some that were chosen, but {_like(row)}"
    return {
        Reason.STRATEGY: "chosen by the strategy",
        Reason.FILLING: "nearly repeats another, but too few were distinct",
        Reason.NEAR_DUPLICATE: f"nearly repeats another: {_like(row)}",
        Reason.GAVE_WAY: "the strategy's next choice; chance took its place",
        Reason.LOWER_VALUE: "others are worth more",
    }[row["reason"]]


def _like(row: Mapping[str, Any]) -> str:
    labelled, chosen = (row[f"nearest_{name}_similarity"] or -1.0 for name in ("labelled", "chosen"))
    if max(labelled, chosen) < 0:
        return "others differ more"
    if labelled > chosen:
        return f"like one that is labelled or in flight ({labelled:.2f})"
    return f"like one that was chosen ({chosen:.2f})"


def _filters(wanted: Mapping[str, object]) -> list[Filter]:
    known: dict[str, tuple[str, Mapping[str, str]]] = {
        "status": ("Which", STATUSES),
        "pool": ("Pool", POOLS),
        "reason": ("Why", REASONS),
    }
    return [
        Filter(name, title, [(str(value), words) for value, words in options.items()], str(wanted.get(name, "")))
        for name, (title, options) in known.items()
    ]


def _map(found: Selection) -> dict[str, Any]:
    """The kinds of points, those underneath first."""
    chosen, left = found.where({"status": CHOSEN}), found.where({"status": LEFT_OUT})
    by_chance = pa.compute.equal(chosen["reason"], str(Reason.RANDOM))
    kinds = [
        ("labelled or in flight", "apart", found.where({"status": APART})),
        ("left out", "left", left.filter(pa.compute.invert(left["plain"]))),
        ("left out, worth more", "plain", left.filter(left["plain"])),
        ("chosen", "chosen", chosen.filter(pa.compute.invert(by_chance))),
        ("chosen by chance", "chance", chosen.filter(by_chance)),
    ]
    return {
        "url": reverse("snippet", args=[UUID(int=0)]).replace(str(UUID(int=0)), "KEY"),
        "kinds": [_points(name, kind, rows) for name, kind, rows in kinds if rows.num_rows],
    }


def _points(name: str, kind: str, table: pa.Table) -> dict[str, Any]:
    step = -(-table.num_rows // MOST_POINTS)
    rows = table.take(pa.array(range(0, table.num_rows, step))).to_pylist()
    return {
        "name": name,
        "kind": kind,
        "count": table.num_rows,
        "x": [round(row["x"], 3) for row in rows],
        "y": [round(row["y"], 3) for row in rows],
        "keys": [row["snippet"] for row in rows],
        "scores": [None if row["logit"] is None else float(f"{sigmoid(row['logit']):.3g}") for row in rows],
        "why": [REASONS[row["reason"]] if row["reason"] else "" for row in rows],
    }
