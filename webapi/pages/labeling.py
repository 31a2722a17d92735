"""Watching the labeling: the queue of batches, and how far annotators agree."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import Sum
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_GET

from webapi.models import BatchState, Policy, Task, TaskState
from webapi.pages.access import PageRequest, is_open_to, page
from webapi.pages.paging import key_in
from webapi.selectors import dashboard
from webapi.selectors.agreement import (
    MIN_OVERLAP,
    AgreementFigures,
    Pair,
    agreement_figures,
    has_labels,
    policies_with_labels,
)


@page("metrics")
def queue(request: PageRequest) -> HttpResponse:
    """The batches with their progress; the first line says how much is open."""
    batches = dashboard.queue(limit=100)
    still = Task.objects.filter(state=TaskState.OPEN, batch__state=BatchState.OPEN)
    sums = still.aggregate(wanted=Sum("wanted", default=0), given=Sum("labelled", default=0))
    context = {
        "batches": batches,
        "left": sums["wanted"] - sums["given"],
        "open_batches": sum(batch.state == BatchState.OPEN for batch in batches),
        "may_label": is_open_to(request.user, "tasks", "lease"),
    }
    return render(request, "pages/queue.html", context)


@page("metrics")
def agreement(request: PageRequest) -> HttpResponse:
    """The frame of the agreement page; the figures come in when they are counted."""
    policies = policies_with_labels()
    wanted = key_in(request.GET.dict(), "policy")
    chosen = next((policy for policy in policies if policy.pk == wanted), policies[0] if policies else None)
    if wanted is not None and (chosen is None or chosen.pk != wanted):
        raise Http404("no labels under this policy")
    return render(request, "pages/agreement.html", {"policies": policies, "policy": chosen})


@page("metrics")
@require_GET
def agreement_fragment(request: PageRequest, key: UUID) -> HttpResponse:
    """The figures of one policy."""
    policy = get_object_or_404(Policy, pk=key)
    if not has_labels(policy):
        raise Http404("no labels under this policy")
    figures = agreement_figures(policy)
    return render(request, "parts/agreement.html", {"policy": policy, "figures": figures, **_charts(figures)})


def _charts(figures: AgreementFigures) -> dict[str, Any]:
    days = list(dict.fromkeys(count.day for count in figures.per_day))
    by_cell = {(count.day, count.choice): count.count for count in figures.per_day}
    series = [{"name": choice, "values": [by_cell.get((day, choice), 0) for day in days]} for choice in figures.choices]
    pairs = [_pair_row(pair) for pair in figures.pairs if pair.kappa is not None]
    return {
        "min_overlap": MIN_OVERLAP,
        "days_data": {"days": days, "series": series, "axis": "labels a day"},
        "pairs_data": {"rows": pairs, "axis": "Cohen's kappa", "counted": "shared snippets"},
        "choice_rows": [
            (choice, figures.overall.votes_by_choice[choice], figures.overall.per_choice[choice])
            for choice in figures.choices
        ],
    }


def _pair_row(pair: Pair) -> dict[str, Any]:
    """A pair in which one gave a single answer has the same kappa in every resample: that is no interval."""
    constant = pair.low == pair.high
    low, high = (None, None) if constant else (pair.low, pair.high)
    return {"label": f"{pair.a} · {pair.b}", "estimate": pair.kappa, "low": low, "high": high, "n": pair.items}
