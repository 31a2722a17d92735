"""The list of classifiers, and one of them: threshold, metrics with intervals, promotions, lineage."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.db.models import Count, QuerySet
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET

from engine.errors import EngineError
from webapi.errors import DomainError
from webapi.models import Attack, Classifier, EvaluationKind, Promotion
from webapi.pages.access import PageRequest, is_open_to, page, require
from webapi.pages.figures import rows_of
from webapi.pages.outcomes import bought_headline, calibration_lines, evaluation_lines, headline_rates
from webapi.pages.paging import page_of
from webapi.selectors.attacks import attack_title
from webapi.selectors.classifiers import promotions_listed, serving_promotion
from webapi.selectors.evaluations import evaluations_bought
from webapi.services.classifier_lineage import labels_behind
from webapi.services.promotions import classifier_promote, policy_roll_back

RELATED = ("policy", "round", "parent", "snapshot__artifact", "artifact", "training_run__sweep")
SHOWN = 20
COMPARABLE = 50
"""Classifiers that one can choose from to compare with."""


@page("classifiers")
def classifiers(request: PageRequest) -> HttpResponse:
    """Classifiers, newest first."""
    listed = Classifier.objects.select_related(*RELATED).prefetch_related("evaluations")
    found = page_of(listed, request.GET.dict())
    serving = Promotion.objects.filter(serving=True).select_related("classifier__policy").order_by("policy")
    serve = {row.classifier_id for row in serving}
    context = {
        "classifiers": [(row, headline_rates(row), row.pk in serve) for row in found.rows],
        "pager": found.pager,
        "serving": [row.classifier for row in serving],
        "sees_sweeps": is_open_to(request.user, "sweeps"),
    }
    return render(request, "pages/classifiers.html", context)


@page("classifiers")
def classifier(request: PageRequest, key: UUID) -> HttpResponse:
    """One classifier."""
    row = get_object_or_404(Classifier.objects.select_related(*RELATED), pk=key)
    held_out = row.evaluations.filter(kind=EvaluationKind.HELD_OUT).order_by("name")
    evaluations = [(found, evaluation_lines(found.results)) for found in held_out]
    bought = evaluations_bought().filter(classifier=row).order_by("-pk")
    serving = serving_promotion(row.policy_id)
    serves = serving is not None and serving.classifier_id == row.pk
    others = Classifier.objects.filter(policy=row.policy_id).exclude(pk=row.pk).order_by("-pk")[:COMPARABLE]
    context = {
        "classifier": row,
        "metrics": calibration_lines(row),
        "recipe": list(rows_of(row.recipe)),
        "environment": list(rows_of(row.environment)),
        "evaluations": evaluations,
        "bought": [(found, bought_headline(found)) for found in bought],
        "children": row.children.order_by("-id")[:SHOWN],
        "attacks": [(one, attack_title(one)) for one in _attacks(row)],
        "promotions": promotions_listed().filter(classifier=row).order_by("-pk")[:SHOWN],
        "serving": serving,
        "serves": serves,
        "others": others,
        "sweep": row.training_run.sweep if hasattr(row, "training_run") else None,
        "may_attack": row.threshold is not None and is_open_to(request.user, "attacks", "create"),
        "may_promote": row.threshold is not None and not serves and is_open_to(request.user, "classifiers", "promote"),
        "may_roll_back": serves and is_open_to(request.user, "policies", "rollback"),
    }
    return render(request, "pages/classifier.html", context)


@page("classifiers")
@require_GET
def lineage_fragment(request: PageRequest, key: UUID) -> HttpResponse:
    """Labels and annotators behind its snapshot: counted after the page is there, for it may take seconds."""
    row = get_object_or_404(Classifier.objects.select_related("snapshot__artifact"), pk=key)
    try:
        context = {"behind": labels_behind(row), "error": ""}
    except EngineError as error:
        context = {"behind": None, "error": str(error)}
    return render(request, "parts/labels_behind.html", context)


@page("classifiers")
def promote(request: PageRequest, key: UUID) -> HttpResponse:
    """Asks why (GET), then promotes (POST) and goes back to the classifier."""
    require(request.user, "classifiers", "promote")
    row = get_object_or_404(Classifier.objects.select_related("policy"), pk=key)
    if request.method != "POST":
        context = {"classifier": row, "serving": serving_promotion(row.policy_id)}
        return render(request, "pages/classifier_promote.html", context)
    try:
        classifier_promote(classifier=row, by=request.user, note=request.POST.get("note", "").strip()[:500])
        messages.success(request, f"{row.name} serves {row.policy} now.")
    except DomainError as error:
        messages.warning(request, f"Nothing was changed: {error.message}")
    return redirect("classifier", key)


@page("classifiers")
def roll_back(request: PageRequest, key: UUID) -> HttpResponse:
    """Asks (GET), then has the one promoted before serve again (POST) and goes to it."""
    require(request.user, "policies", "rollback")
    row = get_object_or_404(Classifier.objects.select_related("policy"), pk=key)
    if request.method != "POST":
        return render(request, "pages/classifier_rollback.html", {"classifier": row})
    try:
        before = policy_roll_back(policy=row.policy, by=request.user, wanted=row)
    except DomainError as error:
        messages.warning(request, f"Nothing was changed: {error.message}")
        return redirect("classifier", key)
    messages.success(request, f"{before.classifier.name} serves {row.policy} again.")
    return redirect("classifier", before.classifier_id)


def _attacks(row: Classifier) -> QuerySet[Attack]:
    """The newest attacks on it, with how many candidates each has."""
    found = row.attacks.select_related("round").annotate(candidate_count=Count("candidates"))
    return found.order_by("-pk")[:SHOWN]
