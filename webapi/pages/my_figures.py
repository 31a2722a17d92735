"""What annotators may see: their own figures, how they stand, and gold that they may learn from."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db.models import F
from django.http import HttpResponse
from django.shortcuts import render

from webapi.models import Annotator
from webapi.pages.access import PageRequest, page
from webapi.selectors.dashboard import LabelFilter, annotator_figures, given_labels, labels_per_day
from webapi.selectors.feedback import told_gold
from webapi.selectors.standings import standings_of

LEARN_FROM = 50
"""Wrong answers on the page; the API lists all."""


@page("tasks", "lease")
def my_figures(request: PageRequest) -> HttpResponse:
    """Counts, median time and answers of the one who reads; how they stand, and told gold."""
    annotator = Annotator.objects.filter(user=request.user).first()
    figures = annotator_figures(annotator) if annotator else None
    context: dict[str, Any] = {"figures": None}
    if annotator is None or figures is None or not figures.total:
        return render(request, "pages/my_figures.html", context)
    per_day = labels_per_day(given_labels(LabelFilter(annotator=str(annotator.pk))))
    days = list(dict.fromkeys(count.day for count in per_day))
    totals = [sum(count.count for count in per_day if count.day == day) for day in days]
    wrong = told_gold(annotator).exclude(choice=F("task__gold__choice")).select_related("task__gold", "snippet__policy")
    context = {
        "figures": figures,
        "days_data": {"days": days, "series": [{"name": "labels", "values": totals}], "axis": "labels a day"},
        "standings": [{"row": row, "gold": row.gold.as_dict()} for row in standings_of(annotator)],
        "contact": settings.LABELING_CONTACT,
        "wrong": wrong.order_by("-pk")[:LEARN_FROM],
    }
    return render(request, "pages/my_figures.html", context)
