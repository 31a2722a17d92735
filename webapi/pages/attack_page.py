"""One attack: where it stands, live; its yields and spending; its finds, strongest first, beside their seeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

from django.contrib import messages
from django.db.models import Count, Q
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET

from engine.evaluation.marking import Span, beside, visible
from webapi.errors import DomainError
from webapi.models import Attack, AttackCandidate, AttackState, SplitName
from webapi.models.attacks import CHOOSE_SEEDS, UNFINISHED
from webapi.pages.access import PageRequest, is_open_to, page, require
from webapi.pages.attack_words import found_words, outcome, stops_in_words, under_way, yields_in_words
from webapi.pages.figures import rows_of
from webapi.pages.paging import Pager, key_in
from webapi.pages.round_page import STOP_POLLING
from webapi.pages.snippet import sigmoid
from webapi.selectors.attack_origins import simulated_parts, simulated_words
from webapi.selectors.attacks import (
    AttackProgress,
    attack_progress,
    attack_title,
    attacks_listed,
    spending_of,
    yield_of,
)
from webapi.services.attacks import attack_cancel

PAGE_SIZE = 10


class Find(NamedTuple):
    """A find to read beside its seed. Pieces of text are (`same`, `deleted` or `inserted`; text)."""

    row: AttackCandidate
    score: float
    seed: tuple[Span, ...]
    """The seed's completion, with what was taken out of it."""
    find: tuple[Span, ...]
    """The find's, with what was put in."""
    seed_prompt: tuple[Span, ...]
    find_prompt: tuple[Span, ...]
    same_prompt: bool
    anew: bool
    """More words differ than not, so none is marked."""
    label: str
    """The consensus; empty where there is none."""


class Finds(NamedTuple):
    """A page of finds, strongest first. The pager's `newer` leads to stronger ones."""

    rows: list[AttackCandidate]
    pager: Pager


@page("attacks")
@require_GET
def attack(request: PageRequest, key: UUID) -> HttpResponse:
    """One attack."""
    row = _found(key)
    found, progress = yield_of(row), attack_progress(row)
    finds = strongest_first(row, request.GET.dict())
    now = _progress(row, progress)
    context = {
        **now,
        "headline": now["headline"] or outcome(row, found),
        "title": attack_title(row),
        "found": found,
        "found_words": "" if row.state == AttackState.SUCCEEDED and not found.labelled else found_words(row, found),
        "yields": yields_in_words(found),
        "stops": stops_in_words(_stops(row)),
        "spending": spending_of(row),
        "settings": list(rows_of(row.config)),
        "budget": list(row.budget.items()),
        "wanted": _wanted(row),
        "simulated": simulated_words(row, simulated_parts([row])),
        "finds": [_find(one) for one in finds.rows],
        "pager": finds.pager,
        "may_attack": is_open_to(request.user, "attacks", "create"),
        "may_cancel": _is_alone_and_live(row) and is_open_to(request.user, "attacks", "cancel"),
        "may_send": found.labelled < found.candidates and is_open_to(request.user, "batches", "create"),
    }
    return render(request, "pages/attack.html", context)


@page("attacks")
@require_GET
def progress_fragment(request: PageRequest, key: UUID) -> HttpResponse:
    """How far it is, every two seconds while it runs. What it found is asked for again only where that has changed."""
    row = _found(key)
    context = _progress(row, attack_progress(row))
    moved = request.GET.get("seen", "") != context["seen"]
    context |= {"moved": moved, "again": True, "title": attack_title(row)}
    response = render(request, "parts/attack_progress.html", context)
    if moved:
        response["HX-Trigger"] = "attack-moved"
    response.status_code = 200 if row.state in UNFINISHED else STOP_POLLING
    return response


@page("attacks")
def cancel(request: PageRequest, key: UUID) -> HttpResponse:
    """Asks (GET), then cancels (POST) and goes back to the attack."""
    require(request.user, "attacks", "cancel")
    row = _found(key)
    if request.method != "POST":
        return render(request, "pages/attack_cancel.html", {"attack": row, "title": attack_title(row)})
    try:
        attack_cancel(attack=row)
        messages.success(request, "Cancelled. What its finished parts had found stays.")
    except DomainError as error:
        messages.warning(request, f"Nothing was changed: {error.message}")
    return redirect("attack", key)


def strongest_first(row: Attack, query: Mapping[str, str], *, size: int = PAGE_SIZE) -> Finds:
    """The finds weaker than the one with the key `after` of `query`, or stronger than `before`, or the strongest.

    Two queries; the cost of a page does not grow with the table.
    """
    rows = row.candidates.select_related("snippet__consensus", "seed")
    after, before = key_in(query, "after"), key_in(query, "before")
    key = before or after
    at = row.candidates.filter(pk=key).first() if key else None
    if at is not None and before is not None:
        found = list(rows.filter(_stronger(at)).order_by("strength", "-pk")[: size + 1])
        more, found = len(found) > size, found[:size][::-1]
        return Finds(found, _pager(found, stronger=more, weaker=True))
    chosen = rows if at is None else rows.filter(_weaker(at))
    found = list(chosen.order_by("-strength", "pk")[: size + 1])
    more, found = len(found) > size, found[:size]
    return Finds(found, _pager(found, stronger=at is not None, weaker=more))


def _stronger(at: AttackCandidate) -> Q:
    return Q(strength__gt=at.strength) | Q(strength=at.strength, pk__lt=at.pk)


def _weaker(at: AttackCandidate) -> Q:
    return Q(strength__lt=at.strength) | Q(strength=at.strength, pk__gt=at.pk)


def _pager(found: list[AttackCandidate], *, stronger: bool, weaker: bool) -> Pager:
    return Pager(
        str(found[0].pk) if found and stronger else None,
        str(found[-1].pk) if found and weaker else None,
    )


def _found(key: UUID) -> Attack:
    return get_object_or_404(attacks_listed().select_related("second_opinion", "created_by"), pk=key)


def _stops(row: Attack) -> dict[str, int]:
    return dict(row.started_from.order_by().values_list("stop").annotate(n=Count("pk")))


def _is_alone_and_live(row: Attack) -> bool:
    return row.state in UNFINISHED and row.round_id is None


def _progress(row: Attack, progress: AttackProgress) -> dict[str, Any]:
    choosing = _choosing(row)
    return {
        "attack": row,
        "progress": choosing or progress,
        "headline": under_way(row, progress, choosing),
        "live": row.state in UNFINISHED,
        "seen": f"{row.state}-{row.candidates.count()}",
    }


def _choosing(row: Attack) -> AttackProgress | None:
    """Failures scored to choose seeds from; None once they are chosen."""
    if row.state != AttackState.PENDING:
        return None
    counts = row.jobs.filter(kind=CHOOSE_SEEDS).values_list("done", "total").first()
    return AttackProgress(*counts) if counts else None


def _find(one: AttackCandidate) -> Find:
    marks = beside(one.seed.text, one.snippet.text)
    return Find(
        row=one,
        score=sigmoid(one.logit),
        seed=_side(marks.completion, "deleted", marks.apart),
        find=_side(marks.completion, "inserted", marks.apart),
        seed_prompt=_side(marks.prompt, "deleted", marks.apart),
        find_prompt=_side(marks.prompt, "inserted", marks.apart),
        same_prompt=marks.same_prompt,
        anew=marks.apart,
        label=one.snippet.consensus.choice if hasattr(one.snippet, "consensus") else "",
    )


def _side(spans: list[Span], own: str, plain: bool) -> tuple[Span, ...]:
    """The text of one side, with what hides in it shown: what both share, and its own pieces."""
    mine = [Span("same" if plain else one.kind, visible(one.text)) for one in spans if one.kind in ("same", own)]
    return tuple(mine)


def _wanted(row: Attack) -> str:
    """Which seeds were asked for, in words."""
    wanted = row.wanted
    if wanted.get("snippets"):
        return f"{len(wanted['snippets']):,} named snippets"
    if not wanted:
        return ""
    of = [f"of the {SplitName(wanted['split']).label.lower()} split"] if wanted.get("split") else ["of every split"]
    of += [f"from the source {wanted['source']}"] if wanted.get("source") else []
    of += ["of one round"] if wanted.get("round") else []
    return f"Up to {wanted.get('limit', 0):,} failures {', '.join(of)}; those nearest to the threshold first"
