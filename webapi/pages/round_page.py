"""One round: where it stands, live; its funnel; its controls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from webapi.errors import DomainError
from webapi.models import Artifact, Round, RoundState, StageState
from webapi.pages.access import PageRequest, is_open_to, page, require
from webapi.pages.figures import rows_of
from webapi.pages.outcomes import round_outcome
from webapi.selectors.round_progress import RoundProgress, round_funnel, round_progress
from webapi.services import rounds as services

STOP_POLLING = 286
"""The status by which htmx ends its polling."""


class Move(NamedTuple):
    """A button: what it does, in which states it is there, whether it asks first."""

    name: str
    title: str
    states: frozenset[str]
    run: Callable[..., Round]
    done: str
    main: bool = False
    confirm: bool = False


MOVES: dict[str, Move] = {
    "pause": Move(
        "pause",
        "Pause",
        frozenset({RoundState.RUNNING}),
        services.round_pause,
        "Paused. Jobs under way run to their end; none begins.",
    ),
    "resume": Move("resume", "Resume", frozenset({RoundState.PAUSED}), services.round_resume, "It goes on.", main=True),
    "retry": Move(
        "retry",
        "Retry the failed stage",
        frozenset({RoundState.FAILED}),
        services.round_retry,
        "It tries again; what had been done is not repeated.",
        main=True,
    ),
    "cancel": Move(
        "cancel",
        "Cancel…",
        frozenset({RoundState.PENDING, RoundState.RUNNING, RoundState.PAUSED, RoundState.FAILED}),
        services.round_cancel,
        "Cancelled. Its labels and scores stay.",
        confirm=True,
    ),
}


@page("rounds")
def round_(request: PageRequest, key: UUID) -> HttpResponse:
    """One round. What changes comes in fragments once it is open."""
    row = _found(key)
    progress = round_progress(row)
    context = {
        **_funnel(row),
        **_controls(request, row, progress),
        "simulated": _simulated(row),
        "outcome": round_outcome(row),
        "settings": list(rows_of(row.config)),
    }
    return render(request, "pages/round.html", context)


@page("rounds")
@require_GET
def progress_fragment(request: PageRequest, key: UUID) -> HttpResponse:
    """The stages, once a second while the round moves; the headline comes with them."""
    row = _found(key)
    progress = round_progress(row)
    response = render(request, "parts/progress.html", {"round": row, "progress": progress})
    response.status_code = 200 if progress.moving else STOP_POLLING
    return response


@page("rounds")
@require_GET
def funnel_fragment(request: PageRequest, key: UUID) -> HttpResponse:
    """The funnel's figures."""
    return render(request, "parts/funnel.html", _funnel(_found(key)))


@page("rounds")
@require_GET
def controls_fragment(request: PageRequest, key: UUID) -> HttpResponse:
    """The buttons and the notice that fit the round's state now."""
    row = _found(key)
    return render(request, "parts/controls.html", _controls(request, row, round_progress(row)))


@page("rounds")
@require_GET
def confirm_cancel(request: PageRequest, key: UUID) -> HttpResponse:
    """Asks before what cannot be undone."""
    require(request.user, "rounds", "cancel")
    return render(request, "pages/round_cancel.html", {"round": _found(key)})


@page("rounds")
@require_POST
def move(request: PageRequest, key: UUID, name: str) -> HttpResponse:
    """Pauses, resumes, retries or cancels, and goes back to the round."""
    if name not in MOVES:
        raise Http404("no such move")
    require(request.user, "rounds", name)
    try:
        MOVES[name].run(round_=_found(key))
        messages.success(request, MOVES[name].done)
    except DomainError as error:
        messages.warning(request, f"Nothing was changed: {error.message}")
    return redirect("round", key)


def _found(key: UUID) -> Round:
    return get_object_or_404(Round.objects.select_related("policy", "corpus"), pk=key)


def _funnel(row: Round) -> dict[str, Any]:
    funnel = round_funnel(row)
    snippets = reverse("snippets")
    data = {
        "axis": "snippets",
        "rows": [{"label": step.label, "count": step.count, "url": f"{snippets}?{step.query}"} for step in funnel],
        "strong": "failures",
    }
    return {"round": row, "funnel": funnel, "funnel_data": data}


def _controls(request: PageRequest, row: Round, progress: RoundProgress) -> dict[str, Any]:
    may_act = [move for move in MOVES.values() if is_open_to(request.user, "rounds", move.name)]
    return {
        "round": row,
        "progress": progress,
        "actions": [move for move in may_act if row.state in move.states],
        "failed": next((stage for stage in progress.stages if stage.state == StageState.FAILED), None),
        "waiting_for_people": any(stage.state == StageState.WAITING for stage in progress.stages),
        "may_label": is_open_to(request.user, "tasks", "lease"),
        "has_report": has_report(row),
        "has_attacks": row.attacks.exists(),
        "has_selection": Artifact.objects.filter(path=f"rounds/{row.pk}/selection.parquet").exists(),
    }


def has_report(row: Round) -> bool:
    """Whether the round's report has been written."""
    return Artifact.objects.filter(path=f"rounds/{row.pk}/report.json").exists()


def _simulated(row: Round) -> str:
    """What of the round is simulated, in a sentence; empty if nothing is."""
    annotators = row.config.get("labeling", {}).get("adapter") == "simulated"
    stories = row.corpus.simulated
    if stories and annotators:
        return "Stories and annotators are made by a program."
    if annotators:
        return "The annotators are a program that judges by a list of words; the stories are real."
    return "The stories are made by a program; the annotators are people." if stories else ""
