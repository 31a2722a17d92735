"""What the labeling and comparing pages share: which policies have work, the keys of the answers, how one stands."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.conf import settings
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.http import Http404, HttpResponse
from django.shortcuts import render

from webapi.models import (
    Annotator,
    Batch,
    BatchKind,
    Label,
    Lease,
    Policy,
    Preference,
    StandingState,
    Task,
    TaskState,
    User,
)
from webapi.pages.access import PageRequest
from webapi.pages.paging import key_in
from webapi.permissions import STAFF, Actor, role_of, visible
from webapi.selectors.standings import standing_under
from webapi.selectors.tasks import leases_held, open_batches

ACTION_KEYS = frozenset("szgf")
"""Skip, undo (z), guidelines, flag: no choice takes these letters."""


class ChoiceKey(NamedTuple):
    """A choice as its button says it, with the keys that press it."""

    choice: str
    title: str
    keys: tuple[str, ...]
    """As the browser names them, in lower case."""
    shown: tuple[str, ...]
    """As the button shows them."""
    narrow: str = ""
    """The title where completions stand one below the other."""


def judging_page(request: PageRequest, *, kind: str, title: str) -> HttpResponse:
    """Question, answers and guidelines of one policy; `label/main.js` leases, shows and answers its tasks."""
    policies = policies_with_work(request.user, kind=kind)
    wanted = key_in(request.GET.dict(), "policy")
    chosen = next((policy for policy in policies if policy.pk == wanted), policies[0] if policies else None)
    if wanted is not None and (chosen is None or chosen.pk != wanted):
        chosen = Policy.objects.filter(pk=wanted).first()
        if chosen is None:
            raise Http404("no such policy")
    context = {"title": title, "policies": policies, "policy": chosen}
    if chosen is not None:
        context |= _of_policy(request, chosen, kind)
    return render(request, f"pages/{kind}.html", context)


def choice_keys(choices: tuple[str, ...]) -> list[ChoiceKey]:
    """The keys of each choice: its number, and its first letter unless another choice or an action has it."""
    letters = [choice[0].lower() for choice in choices]
    own = ["" if one in ACTION_KEYS or letters.count(one) > 1 else one for one in letters]
    return [
        ChoiceKey(choice, choice, (str(n), *letter), (str(n), *letter.upper()))
        for n, (choice, letter) in enumerate(zip(choices, own, strict=True), 1)
    ]


COMPARE_KEYS = (
    ChoiceKey("left", "Left", ("1", "arrowleft"), ("1", "←"), "Upper"),
    ChoiceKey("right", "Right", ("2", "arrowright"), ("2", "→"), "Lower"),
    ChoiceKey("equally_good", "Equally good", ("3",), ("3",)),
    ChoiceKey("equally_bad", "Equally bad", ("4",), ("4",)),
)


def policies_with_work(user: User, *, kind: str) -> list[Policy]:
    """Policies with a task that the reader holds already, then those with one to be had, the longest open first."""
    rows = [*(lease.task.batch.policy for lease in _held(user, kind)), *(batch.policy for batch in _open(user, kind))]
    return list({policy.pk: policy for policy in rows}.values())


def may_compare(user: User) -> bool:
    """Whether there is a comparison for the reader. One query: the navigation of every page asks."""
    held = Exists(leases_held(user).filter(task__batch=OuterRef("pk")))
    open_to = Q(pk__in=_open(user, "compare").order_by().values("pk"))
    return Batch.objects.filter(open_to | Q(held), kind=BatchKind.COMPARE).exists()


def _held(user: User, kind: str) -> QuerySet[Lease]:
    return leases_held(user).filter(task__rival__isnull=kind != "compare")


def _open(user: User, kind: str) -> QuerySet[Batch]:
    free = Task.objects.filter(batch=OuterRef("pk"), state=TaskState.OPEN, gold=None, taken__lt=F("wanted"))
    seen = visible(Batch.objects.all(), "batches", Actor(user, role_of(user)))
    compare = kind == "compare"
    trusted = not compare and _is_trusted(user, Annotator.objects.filter(user=user).first())
    return open_batches(seen, compare=compare, trusted=trusted).filter(Exists(free), vendor_user=None)


def _is_trusted(user: User, annotator: Annotator | None) -> bool:
    """Whether the reader audits and need not qualify, before their first task too."""
    return annotator.staff if annotator else role_of(user) in STAFF


def _of_policy(request: PageRequest, policy: Policy, kind: str) -> dict[str, Any]:
    rules, compare = policy.rules, kind == "compare"
    keys = COMPARE_KEYS if compare else choice_keys(rules.choices)
    mine = Annotator.objects.filter(user=request.user).first()
    given = Preference.objects if compare else Label.objects
    standing = standing_under(mine, policy, trusted=_is_trusted(request.user, mine))
    return {
        "question": rules.comparison.question if compare else rules.question,
        "guidelines": (rules.comparison.guidelines if compare else rules.guidelines).strip(),
        "keys": keys,
        "config": {
            "user": str(request.user.pk),
            "policy": str(policy.pk),
            "kind": kind,
            "keys": [key._asdict() for key in keys],
            "allTime": given.filter(annotator=mine, revision=0).count() if mine else 0,
            "leaseSeconds": settings.TASK_LEASE_SECONDS,
            "paused": standing.state == StandingState.PAUSED,
            "test": standing.qualification._asdict() if standing.qualification and not compare else None,
            "contact": settings.LABELING_CONTACT,
        },
    }
