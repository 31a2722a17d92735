"""Evaluations that buy labels: the list, one with its plan and its answer, and two reports beside one another."""

from __future__ import annotations

import uuid
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import FileResponse, Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

from engine.errors import BadInput
from engine.evaluation.bought_report import changes, headline, parts, plan_text
from webapi.errors import DomainError
from webapi.models import BatchState, Evaluation, EvaluationState
from webapi.models.evaluations import BUYING, STOPPED, UNFINISHED
from webapi.pages.access import PageRequest, is_open_to, page, require
from webapi.pages.figures import thousands
from webapi.pages.outcomes import quality_words
from webapi.pages.paging import page_of
from webapi.pages.report import ALONE
from webapi.selectors.evaluations import EvaluationProgress, evaluation_progress, evaluations_bought
from webapi.services.evaluations import (
    evaluation_begin,
    evaluation_cancel,
    evaluation_file,
    evaluation_report,
    evaluation_retry,
)

MOST_OTHERS = 50
MOVES = {"begin": evaluation_begin, "retry": evaluation_retry}
SAID = {"begin": "Labels are being bought.", "retry": "It goes on; nothing is bought twice."}


@page("evaluations")
@require_GET
def evaluations(request: PageRequest) -> HttpResponse:
    """Evaluations, newest first."""
    found = page_of(evaluations_bought(), request.GET.dict())
    rows = [(row, _title(row), quality_words(row.results.get("check", {}).get("quality"))) for row in found.rows]
    context = {"evaluations": rows, "pager": found.pager, "headline": _list_headline(found.rows)}
    return render(request, "pages/evaluations.html", context)


@page("evaluations")
@require_GET
def evaluation(request: PageRequest, key: UUID) -> HttpResponse:
    """One evaluation; while something is to be done the page asks for itself every few seconds."""
    row = get_object_or_404(evaluations_bought(), pk=key)
    progress = evaluation_progress(row)
    ended = row.state == EvaluationState.SUCCEEDED
    context = {
        "evaluation": row,
        "progress": progress,
        "live": row.state in (EvaluationState.PLANNING, EvaluationState.LABELLING),
        "headline": _headline(row, progress),
        "plans": (designs := list(row.plan.get("designs", {}).values())),
        "has_floor": any(one.get("floor") for one in designs),
        "quality_plan": plan_text(row.plan) if "quality" in row.plan else "",
        "others": _others(row) if ended else [],
        "parts": parts(evaluation_report(row)) if ended else [],
        "waiting": list(row.batches.filter(state=BatchState.OPEN)),
        "may_begin": row.state == EvaluationState.PLANNED and is_open_to(request.user, "evaluations", "begin"),
        "may_cancel": row.state in UNFINISHED and is_open_to(request.user, "evaluations", "cancel"),
        "may_retry": row.state in STOPPED and is_open_to(request.user, "evaluations", "retry"),
    }
    return render(request, "pages/evaluation.html", context)


@page("evaluations")
@require_GET
def standalone(request: PageRequest, key: UUID) -> FileResponse:
    """The report as its file."""
    row = get_object_or_404(evaluations_bought(), pk=key)
    try:
        file = evaluation_file(row, "report.html").open("rb")
    except DomainError as error:
        raise Http404(error.message) from error
    headers = {"Content-Security-Policy": ALONE}
    return FileResponse(file, content_type="text/html; charset=utf-8", filename=f"{row.name}.html", headers=headers)


@page("evaluations")
@require_GET
def diff(request: PageRequest) -> HttpResponse:
    """Where the reports of two evaluations, `a` and `b`, differ."""
    rows = [_named(request.GET.get(name, "")) for name in ("a", "b")]
    try:
        found, problem = changes(*(evaluation_report(row) for row in rows)), ""
    except (BadInput, DomainError) as error:
        found, problem = [], str(error)
    context = {"a": rows[0], "b": rows[1], "changes": found, "problem": problem}
    return render(request, "pages/evaluation_diff.html", context)


@page("evaluations")
def cancel(request: PageRequest, key: UUID) -> HttpResponse:
    """Asks (GET), then cancels (POST) and goes back to the evaluation."""
    require(request.user, "evaluations", "cancel")
    row = get_object_or_404(evaluations_bought(), pk=key)
    if request.method != "POST":
        context = {"evaluation": row, "may_cancel": row.state in UNFINISHED}
        return render(request, "pages/evaluation_cancel.html", context)
    try:
        evaluation_cancel(evaluation=row)
        messages.success(request, "Cancelled. Labels that were bought stay.")
    except DomainError as error:
        messages.warning(request, f"Nothing was changed: {error.message}")
    return redirect("evaluation", key)


@page("evaluations")
@require_POST
def move(request: PageRequest, key: UUID, name: str) -> HttpResponse:
    """Begins to buy, or sets it going again, and goes back to it."""
    if name not in MOVES:
        raise Http404("no such move")
    require(request.user, "evaluations", name)
    try:
        MOVES[name](evaluation=get_object_or_404(evaluations_bought(), pk=key))
        messages.success(request, SAID[name])
    except DomainError as error:
        messages.warning(request, f"Nothing was changed: {error.message}")
    return redirect("evaluation", key)


def _named(key: str) -> Evaluation:
    try:
        return get_object_or_404(evaluations_bought(), pk=uuid.UUID(key))
    except ValueError:
        raise Http404("no such evaluation") from None


def _others(row: Evaluation) -> list[Evaluation]:
    """Those whose reports this one's may be laid beside, newest first."""
    alike = evaluations_bought().filter(state=EvaluationState.SUCCEEDED, kind=row.kind).exclude(pk=row.pk)
    return list(alike.order_by("-pk")[:MOST_OTHERS])


def _headline(row: Evaluation, progress: EvaluationProgress) -> str:
    """Where it stands, in a sentence; the answer, once there is one."""
    chosen: dict[str, Any] = row.plan.get("chosen", {})
    match row.state:
        case EvaluationState.PLANNING:
            return f"“{row.name}”: outputs are drawn, and labels planned."
        case EvaluationState.PLANNED:
            return f"“{row.name}” waits: {_labels(chosen['labels'])} planned, and none is bought."
        case EvaluationState.LABELLING:
            done = progress.tasks - progress.open
            return f"“{row.name}”: {thousands(done)} of {thousands(progress.tasks)} tasks are done."
        case EvaluationState.SUCCEEDED:
            return headline(evaluation_report(row))
        case _:
            return f"“{row.name}” {'was cancelled' if row.state == EvaluationState.CANCELLED else 'failed'}."


def _labels(count: int) -> str:
    return "1 label is" if count == 1 else f"{thousands(count)} labels are"


def _title(row: Evaluation) -> str:
    """Of the design by which labels are bought, in a list; empty where there is none."""
    asked: dict[str, Any] = row.results.get("asked") or row.plan.get("chosen") or {}
    return str(asked.get("title", ""))


def _list_headline(rows: list[Evaluation]) -> str:
    if not rows:
        return "No failure rate was measured by bought labels yet."
    moving = sum(row.state in BUYING for row in rows)
    idle = sum(row.state == EvaluationState.PLANNED for row in rows)
    said = f"{moving or 'No'} evaluation{'s are' if moving > 1 else ' is'} under way"
    return f"{said}; {idle} {'waits' if idle == 1 else 'wait'}, planned." if idle else f"{said}."
