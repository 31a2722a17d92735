"""Annotators under a policy: who works how well, and what is done about one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from engine.evaluation.rates import Rate
from webapi.errors import DomainError
from webapi.models import Annotator, Policy, Standing, StandingState
from webapi.pages.access import PageRequest, is_open_to, page, require
from webapi.pages.paging import key_in, page_of
from webapi.pages.tags import said_simulated
from webapi.selectors.annotators import AnnotatorRecord, annotator_records, annotators_under
from webapi.services.annotators import (
    annotator_pause,
    annotator_put_back,
    annotator_resume,
    annotator_start_over,
)
from workers.quality import to_put_back

MOVES = ("pause", "resume", "start_over", "put_back")


class PauseForm(forms.Form):
    """Why somebody is paused."""

    reason = forms.CharField(max_length=1000, error_messages={"required": "Say why: the annotator is told."})


@page("annotators")
@require_GET
def annotators(request: PageRequest) -> HttpResponse:
    """Those who worked under one policy, the newest first."""
    policies = list(Policy.objects.filter(standings__isnull=False).distinct().order_by("-pk")[:50])
    policies = policies or list(Policy.objects.filter(snippets__labels__isnull=False).distinct().order_by("-pk")[:50])
    wanted = key_in(request.GET.dict(), "policy")
    policy = get_object_or_404(Policy, pk=wanted) if wanted else (policies[0] if policies else None)
    context: dict[str, Any] = {"policy": policy, "policies": policies, "watches": is_open_to(request.user, "metrics")}
    if policy is None:
        return render(request, "pages/annotators.html", context)
    everybody = annotators_under(policy)
    rows, pager = page_of(everybody, request.GET.dict())
    records = annotator_records(policy, rows)
    context |= {
        "total": everybody.count(),
        "paused": Standing.objects.filter(policy=policy, state=StandingState.PAUSED).count(),
        "records": [_shown(record) for record in records],
        "pager": pager,
        "gold_data": _chart(policy, records),
        "bar": policy.rules.quality.bar,
    }
    return render(request, "pages/annotators.html", context)


@page("annotators")
@require_GET
def annotator(request: PageRequest, key: UUID) -> HttpResponse:
    """One annotator under the policy of the address."""
    return _one(request, key, PauseForm())


@page("annotators")
@require_GET
def confirm_put_back(request: PageRequest, key: UUID) -> HttpResponse:
    """Says what would be put back, and asks."""
    require(request.user, "annotators", "put_back")
    whom, policy = get_object_or_404(Annotator, pk=key), _policy(request)
    context = {"whom": whom, "policy": policy, "would": to_put_back(whom, policy)}
    return render(request, "pages/annotator_put_back.html", context)


@page("annotators")
@require_POST
def move(request: PageRequest, key: UUID, name: str) -> HttpResponse:
    """Pauses, resumes, tests again, or puts answers back; then shows the annotator."""
    if name not in MOVES:
        raise Http404("no such action")
    require(request.user, "annotators", name)
    whom, policy = get_object_or_404(Annotator, pk=key), _policy(request)
    form = PauseForm(request.POST if name == "pause" else None)
    if name == "pause" and not form.is_valid():
        return _one(request, key, form, status=400)
    try:
        messages.success(request, _move(whom, policy, name, form))
    except DomainError as error:
        messages.warning(request, error.message)
    return redirect(f"{reverse('annotator', args=[key])}?policy={policy.pk}")


def _move(whom: Annotator, policy: Policy, name: str, form: PauseForm) -> str:
    if name == "pause":
        annotator_pause(annotator=whom, policy=policy, reason=form.cleaned_data["reason"])
        return f"{whom} is given no further task under {policy.name}."
    if name == "resume":
        annotator_resume(annotator=whom, policy=policy)
        return f"{whom} goes on, with a clean slate."
    if name == "start_over":
        annotator_start_over(annotator=whom, policy=policy)
        return f"{whom} takes the entrance test again."
    done = annotator_put_back(annotator=whom, policy=policy)
    return f"{done.withdrawn:,} answers count no more; {done.reopened:,} tasks wait for another answer."


def _one(request: PageRequest, key: UUID, form: PauseForm, *, status: int = 200) -> HttpResponse:
    whom, policy = get_object_or_404(Annotator, pk=key), _policy(request)
    (record,) = annotator_records(policy, [whom])
    choices = policy.rules.choices
    context = {
        "policy": policy,
        "record": _shown(record),
        "choices": choices,
        "confusion": [
            (name, [(n, place == at) for place, n in enumerate(row)])
            for at, (name, row) in enumerate(zip(choices, record.confusion, strict=True))
        ],
        "compared": int(record.others.n),
        "form": form,
        "may_move": is_open_to(request.user, "annotators", "pause"),
    }
    return render(request, "pages/annotator.html", context, status=status)


def _policy(request: PageRequest) -> Policy:
    return get_object_or_404(Policy, pk=key_in(request.GET.dict(), "policy"))


def _shown(record: AnnotatorRecord) -> dict[str, Any]:
    rates = {name: getattr(record, name).as_dict() for name in ("gold", "others", "staff", "unsure")}
    return {"row": record, "rates": rates}


def _chart(policy: Policy, records: Sequence[AnnotatorRecord]) -> dict[str, Any]:
    """Accuracy on gold with the bar, the lowest first; where nobody met gold, agreement with the others."""
    gold = any(record.gold.n for record in records)
    chosen: list[tuple[AnnotatorRecord, Rate]] = [(one, one.gold if gold else one.others) for one in records]
    rows = [
        {
            "label": said_simulated(one.annotator),
            "estimate": rate.estimate,
            "low": rate.low,
            "high": rate.high,
            "n": int(rate.n),
            "url": f"{reverse('annotator', args=[one.annotator.pk])}?policy={policy.pk}",
        }
        for one, rate in sorted(chosen, key=lambda pair: (pair[1].estimate or 0.0, pair[0].annotator.name))
        if rate.estimate is not None
    ]
    return {
        "rows": rows,
        "axis": "share of gold answered rightly" if gold else "share answered as most of the others",
        "counted": "gold answers" if gold else "snippets",
        **({"mark": policy.rules.quality.bar} if gold else {}),
    }
