"""A form that sends an attack's unlabelled finds out for labels."""

from __future__ import annotations

import uuid
from typing import Any

from django import forms
from django.contrib import messages
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from engine.errors import BadInput
from webapi.models import Attack, AttackCandidate, BatchKind, Label, Task, TaskState
from webapi.pages.access import PageRequest, page, require
from webapi.selectors.attacks import attack_title, attacks_listed
from webapi.services.batches import MAX_NAMED, BatchOrder, batch_create


class BatchForm(forms.Form):
    """What the batch is called, how many finds it holds and how many annotators each gets."""

    name = forms.CharField(
        label="Name of the batch", max_length=100, error_messages={"required": "Say what the batch is called."}
    )
    limit = forms.IntegerField(
        label="Candidates, at most",
        min_value=1,
        max_value=MAX_NAMED,
        error_messages={
            "required": "Say how many candidates are sent.",
            "min_value": "must be at least 1",
            "max_value": f"must be at most {MAX_NAMED}",
            "invalid": "must be a whole number",
        },
    )
    overlap = forms.IntegerField(
        label="Annotators for each",
        min_value=1,
        max_value=25,
        error_messages={
            "required": "Say how many annotators each gets.",
            "min_value": "must be at least 1",
            "max_value": "must be at most 25",
            "invalid": "must be a whole number",
        },
    )


@page("attacks")
def label(request: PageRequest, key: uuid.UUID) -> HttpResponse:
    """The form; sent, it makes a batch of the strongest finds that nobody has labelled or been asked about."""
    require(request.user, "batches", "create")
    row = get_object_or_404(attacks_listed(), pk=key)
    waiting = unasked(row).count()
    first = {
        "name": f"{attack_title(row)} on {row.classifier.name}"[:100],
        "limit": min(waiting, MAX_NAMED),
        "overlap": row.policy.rules.depth.first,
    }
    form = BatchForm(request.POST if request.method == "POST" else None, initial=first)
    if form.is_valid() and _sent(request, row, form):
        return redirect("attack", key)
    context: dict[str, Any] = {
        "attack": row,
        "title": attack_title(row),
        "form": form,
        "waiting": waiting,
        "most": MAX_NAMED,
    }
    return render(request, "pages/attack_label.html", context, status=400 if form.errors else 200)


def unasked(row: Attack) -> QuerySet[AttackCandidate]:
    """Finds without a counted label and not in an open task, strongest first."""
    labelled = Label.objects.filter(counted=True, snippet=OuterRef("snippet"))
    asked = Task.objects.filter(
        state=TaskState.OPEN, gold=None, batch__kind=BatchKind.LABEL, snippet=OuterRef("snippet")
    )
    found = row.candidates.filter(~Exists(labelled), ~Exists(asked))
    return found.order_by("-strength", "pk")


def _sent(request: PageRequest, row: Attack, form: BatchForm) -> bool:
    wanted = form.cleaned_data
    chosen = list(unasked(row).values_list("snippet_id", flat=True)[: wanted["limit"]])
    order = BatchOrder(policy=row.policy, name=wanted["name"], snippets=chosen, overlap=wanted["overlap"])
    try:
        batch_create(order=order)
    except BadInput as error:
        form.add_error("limit", str(error))
        return False
    many = f"{len(chosen):,} candidate{'' if len(chosen) == 1 else 's'}"
    messages.success(request, f"{many} wait for labels in the queue, as “{wanted['name']}”.")
    return True
