"""Sweeps: the list, and one of them: its curves, its runs by what they miss, the one that was picked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from webapi.errors import DomainError
from webapi.models import RunState, Sweep, SweepState, TrainingRun
from webapi.models.sweeps import STOPPED, UNFINISHED
from webapi.pages.access import PageRequest, is_open_to, page, require
from webapi.pages.figures import rate_words
from webapi.pages.paging import page_of
from webapi.selectors.sweeps import SweepProgress, runs_ranked, sweep_progress, sweeps_listed
from webapi.services.sweeps import sweep_cancel, sweep_retry
from workers.round_settings import round_settings
from workers.validation_labels import batches_of
from workers.validation_mix import sweep_path

SIMULATED = "The labels that choose were given by simulated annotators."
MOST_CURVES = 50
"""Curves in one plot: the best runs', beyond which nobody can tell lines apart."""


class RunRow(NamedTuple):
    """A run as the table has it."""

    run: TrainingRun
    rate: str
    """The learning rate as people write it."""
    choosing: Mapping[str, Any] | None
    confirming: Mapping[str, Any] | None
    picked: bool


@page("sweeps")
@require_GET
def sweeps(request: PageRequest) -> HttpResponse:
    """Sweeps, newest first."""
    found = page_of(sweeps_listed(), request.GET.dict())
    rows = [(row, sweep_progress(row)) for row in found.rows]
    context = {"sweeps": rows, "pager": found.pager, "headline": _list_headline(found.rows)}
    return render(request, "pages/sweeps.html", context)


@page("sweeps")
@require_GET
def sweep(request: PageRequest, key: UUID) -> HttpResponse:
    """One sweep; while it runs the page asks for itself every few seconds."""
    row = get_object_or_404(sweeps_listed(), pk=key)
    progress, runs = sweep_progress(row), list(runs_ranked(row))
    measured = [run for run in runs if run.state == RunState.SUCCEEDED]
    context = {
        "sweep": row,
        "progress": progress,
        "live": row.state in UNFINISHED,
        "headline": headline(row, progress),
        "rows": [_row(run) for run in runs],
        "rates": _rates_data(measured),
        "curves": _curves_data(measured[:MOST_CURVES]),
        "waiting": list(batches_of(row).filter(state="open")) if row.state == SweepState.PENDING else [],
        "simulated": SIMULATED if round_settings(row.round.config).labeling.adapter == "simulated" else "",
        "logs": sweep_path(row, "logs"),
        "may_cancel": row.state in UNFINISHED and is_open_to(request.user, "sweeps", "cancel"),
        "may_retry": row.state in STOPPED and is_open_to(request.user, "sweeps", "retry"),
    }
    return render(request, "pages/sweep.html", context)


@page("sweeps")
def cancel(request: PageRequest, key: UUID) -> HttpResponse:
    """Asks (GET), then cancels (POST) and goes back to the sweep."""
    require(request.user, "sweeps", "cancel")
    row = get_object_or_404(sweeps_listed(), pk=key)
    if request.method != "POST":
        return render(request, "pages/sweep_cancel.html", {"sweep": row})
    try:
        sweep_cancel(sweep=row)
        messages.success(request, "Cancelled. Runs that had finished stay.")
    except DomainError as error:
        messages.warning(request, f"Nothing was changed: {error.message}")
    return redirect("sweep", key)


@page("sweeps")
@require_POST
def retry(request: PageRequest, key: UUID) -> HttpResponse:
    """Sets it going again, and goes back to it."""
    require(request.user, "sweeps", "retry")
    try:
        sweep_retry(sweep=get_object_or_404(Sweep, pk=key))
        messages.success(request, "It goes on; runs that had finished are not repeated.")
    except DomainError as error:
        messages.warning(request, f"Nothing was changed: {error.message}")
    return redirect("sweep", key)


def headline(row: Sweep, progress: SweepProgress) -> str:
    """Where it stands, in a sentence."""
    total, name = progress.total, row.name
    failed = f", {progress.failed} of them failed" if progress.failed else ""
    match row.state:
        case SweepState.PENDING:
            return f"{name} waits for the labels that its {total} runs are to be compared on."
        case SweepState.RUNNING:
            return f"{name} is training: {progress.done} of {total} runs have ended{failed}."
        case SweepState.SUCCEEDED:
            found = row.result
            picked = f"a learning rate of {found['learning_rate']:g} and seed {found['seed']}"
            return f"Of {total} runs, the one with {picked} misses least."
        case SweepState.CANCELLED:
            return f"{name} was cancelled after {progress.done} of {total} runs."
        case _:
            return f"{name} failed after {progress.done} of {total} runs."


def _list_headline(rows: list[Sweep]) -> str:
    if not rows:
        return "No sweep has run yet."
    moving = sum(row.state in UNFINISHED for row in rows)
    return f"{moving} sweep{' is' if moving == 1 else 's are'} under way." if moving else "No sweep is under way."


def _row(run: TrainingRun) -> RunRow:
    halves = {name: run.metrics.get(name) or {} for name in ("choosing", "confirming")}
    choosing, confirming = halves["choosing"].get("fnr"), halves["confirming"].get("fnr")
    return RunRow(run, f"{run.learning_rate:.3g}", choosing, confirming, run.classifier_id is not None)


def _label(run: TrainingRun) -> str:
    return f"{run.learning_rate:.3g}, seed {run.seed}{' · picked' if run.classifier_id else ''}"


def _rates_data(runs: list[TrainingRun]) -> dict[str, Any]:
    """What each run misses on the half that chooses, for a plot of intervals."""
    rows = []
    for run in runs:
        rate = run.metrics["choosing"]["fnr"]
        said = rate_words(rate)
        words = " ".join(filter(None, (said.estimate, said.interval and f"({said.interval})", said.counted)))
        limit = {"limit": True} if rate["failures"] == 0 else {"limit": False}
        shown = {name: rate[name] for name in ("estimate", "low", "high", "n")}
        url = reverse("classifier", args=[run.classifier_id]) if run.classifier_id else ""
        rows.append({"label": _label(run), "words": words, "url": url, **shown, **limit})
    return {"rows": rows, "axis": "failures missed, mean over sources, 95 % interval", "percent": True}


def _curves_data(runs: list[TrainingRun]) -> dict[str, Any]:
    """Losses by examples seen: validation where it was asked, else training."""
    curves = []
    validated = any(point.get("validation_loss") is not None for run in runs for point in run.curve)
    field = "validation_loss" if validated else "training_loss"
    for run in runs:
        points = [(one["examples"], one[field]) for one in run.curve if one.get(field) is not None]
        if points:
            x, y = zip(*points, strict=True)
            curves.append({"label": _label(run), "x": x, "y": y, "picked": run.classifier_id is not None})
    axis = f"{'validation' if validated else 'training'} loss"
    return {"curves": curves, "x": "examples seen", "y": axis}
