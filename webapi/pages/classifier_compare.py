"""Two classifiers side by side: which is stricter, where they differ, and what each misses on the same data."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_GET

from engine.errors import EngineError
from webapi.errors import DomainError
from webapi.models import Classifier
from webapi.pages.access import PageRequest, page
from webapi.pages.figures import percent, thousands
from webapi.pages.paging import key_in
from webapi.services.classifier_compare import Compared, classifiers_compare

RECENT = 100
NAMES = {"fnr": "False negatives, in distribution", "fpr": "False positives", "accepted": "Accepted of all"}


@page("classifiers")
@require_GET
def classifier_compare(request: PageRequest) -> HttpResponse:
    """The two that the address names, or a form to name them."""
    a, b = (_named(key_in(request.GET.dict(), name)) for name in ("a", "b"))
    context: dict[str, Any] = {"a": a, "b": b, "choices": _choices(a), "compared": None, "error": "", "headline": ""}
    if a is not None and b is not None:
        try:
            found = classifiers_compare(a=a, b=b)
            context |= {"compared": found, "headline": headline(found), "rates": _rates(found)}
        except (DomainError, EngineError) as error:
            context |= {"error": str(error)}
    return render(request, "pages/classifier_compare.html", context)


def headline(found: Compared) -> str:
    """How often the two decide alike, in a sentence."""
    a, b, said = found.a.name, found.b.name, found.decisions
    if found.a.pk == found.b.pk:
        return f"{a} beside itself."
    if said is None:
        return f"{a} and {b}: no snippet was scored by both yet."
    same = f"{percent(said.equal['estimate'])} of {thousands(said.equal['n'])} snippets"
    return f"{a} and {b} decide alike on {same} that both scored."


def _rates(found: Compared) -> list[tuple[str, Any, Any]]:
    return [(f"{NAMES.get(one.name, one.name)}", one.a, one.b) for one in found.rates if one.name != "failure_rate"]


def _named(key: UUID | None) -> Classifier | None:
    if key is None:
        return None
    return get_object_or_404(Classifier.objects.select_related("policy", "round", "snapshot__artifact"), pk=key)


def _choices(a: Classifier | None) -> list[Classifier]:
    rows = Classifier.objects.select_related("policy")
    return list((rows.filter(policy=a.policy_id) if a else rows).order_by("-pk")[:RECENT])
