"""The labeling page: one text after another, blind to where it comes from. The work is done over the REST API."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.conf import settings
from django.db.models import Exists, F, OuterRef
from django.http import Http404, HttpResponse
from django.shortcuts import render

from webapi.models import Annotator, Batch, Label, Policy, Task, TaskState
from webapi.pages.access import PageRequest, page
from webapi.pages.paging import key_in
from webapi.permissions import Actor, role_of, visible
from webapi.selectors.tasks import leases_held, open_batches

ACTION_KEYS = frozenset("szgr")
"""Skip, undo (z), guidelines, remark: no choice takes these letters."""


class ChoiceKey(NamedTuple):
    """A choice, its number key, and its letter where that is its alone."""

    choice: str
    digit: str
    letter: str


@page("tasks", "lease")
def label(request: PageRequest) -> HttpResponse:
    """Question, answers and guidelines of one policy; `label/main.js` leases, shows and answers its tasks."""
    policies = _policies(request)
    wanted = key_in(request.GET.dict(), "policy")
    chosen = next((policy for policy in policies if policy.pk == wanted), policies[0] if policies else None)
    if wanted is not None and (chosen is None or chosen.pk != wanted):
        chosen = Policy.objects.filter(pk=wanted).first()
        if chosen is None:
            raise Http404("no such policy")
    context = {"policies": policies, "policy": chosen}
    if chosen is not None:
        context |= _of_policy(request, chosen)
    return render(request, "pages/label.html", context)


def choice_keys(choices: tuple[str, ...]) -> list[ChoiceKey]:
    """The keys of each choice: its number, and its first letter unless another choice or an action has it."""
    letters = [choice[0].lower() for choice in choices]
    return [
        ChoiceKey(choice, str(number), "" if letter in ACTION_KEYS or letters.count(letter) > 1 else letter)
        for number, (choice, letter) in enumerate(zip(choices, letters, strict=True), 1)
    ]


def _policies(request: PageRequest) -> list[Policy]:
    """Policies with a task that the reader holds already, then those with one to be had, the longest open first."""
    held = [lease.task.batch.policy for lease in leases_held(request.user)]
    free = Task.objects.filter(batch=OuterRef("pk"), state=TaskState.OPEN, taken__lt=F("wanted"))
    seen = visible(Batch.objects.all(), "batches", Actor(request.user, role_of(request.user)))
    batches = open_batches(seen).filter(Exists(free), vendor_user=None).select_related("policy")
    return list({policy.pk: policy for policy in [*held, *(batch.policy for batch in batches)]}.values())


def _of_policy(request: PageRequest, policy: Policy) -> dict[str, Any]:
    rules = policy.rules
    keys = choice_keys(rules.choices)
    mine = Label.objects.filter(annotator__in=Annotator.objects.filter(user=request.user), revision=0)
    return {
        "question": rules.question,
        "guidelines": rules.guidelines.strip(),
        "keys": keys,
        "config": {
            "user": str(request.user.pk),
            "policy": str(policy.pk),
            "keys": [key._asdict() for key in keys],
            "allTime": mine.count(),
            "leaseSeconds": settings.TASK_LEASE_SECONDS,
        },
    }
