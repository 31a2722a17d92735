"""The list of classifiers, and one of them: threshold, metrics with intervals, lineage."""

from __future__ import annotations

from uuid import UUID

from django.db.models import Count, QuerySet
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render

from webapi.models import Attack, Classifier, Promotion
from webapi.pages.access import PageRequest, is_open_to, page
from webapi.pages.figures import rows_of
from webapi.pages.outcomes import calibration_lines, evaluation_lines, headline_rates
from webapi.pages.paging import page_of
from webapi.selectors.attacks import attack_title

RELATED = ("policy", "round", "parent", "snapshot__artifact", "artifact")
ATTACKS_SHOWN = 20


@page("classifiers")
def classifiers(request: PageRequest) -> HttpResponse:
    """Classifiers, newest first."""
    listed = Classifier.objects.select_related(*RELATED).prefetch_related("evaluations")
    found = page_of(listed, request.GET.dict())
    serving = Promotion.objects.filter(serving=True).select_related("classifier__policy").order_by("policy")
    context = {
        "classifiers": [(row, headline_rates(row)) for row in found.rows],
        "pager": found.pager,
        "serving": [row.classifier for row in serving],
    }
    return render(request, "pages/classifiers.html", context)


@page("classifiers")
def classifier(request: PageRequest, key: UUID) -> HttpResponse:
    """One classifier."""
    row = get_object_or_404(Classifier.objects.select_related(*RELATED), pk=key)
    evaluations = [(found, evaluation_lines(found.results)) for found in row.evaluations.order_by("name")]
    context = {
        "classifier": row,
        "metrics": calibration_lines(row),
        "recipe": list(rows_of(row.recipe)),
        "evaluations": evaluations,
        "children": row.children.order_by("-id")[:20],
        "attacks": [(one, attack_title(one)) for one in _attacks(row)],
        "may_attack": row.threshold is not None and is_open_to(request.user, "attacks", "create"),
    }
    return render(request, "pages/classifier.html", context)


def _attacks(row: Classifier) -> QuerySet[Attack]:
    """The newest attacks on it, with how many candidates each has."""
    found = row.attacks.select_related("round").annotate(candidate_count=Count("candidates"))
    return found.order_by("-pk")[:ATTACKS_SHOWN]
