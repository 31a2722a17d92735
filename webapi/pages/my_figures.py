"""What annotators may see: their own figures."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import render

from webapi.models import Annotator
from webapi.pages.access import PageRequest, page
from webapi.selectors.dashboard import LabelFilter, annotator_figures, labels_per_day


@page("tasks", "lease")
def my_figures(request: PageRequest) -> HttpResponse:
    """Counts, median time and answers of the one who reads."""
    annotator = Annotator.objects.filter(user=request.user).first()
    figures = annotator_figures(annotator) if annotator else None
    if annotator is None or figures is None or not figures.total:
        return render(request, "pages/my_figures.html", {"figures": None})
    per_day = labels_per_day(LabelFilter(annotator=str(annotator.pk)))
    days = list(dict.fromkeys(count.day for count in per_day))
    totals = [sum(count.count for count in per_day if count.day == day) for day in days]
    data = {"days": days, "series": [{"name": "labels", "values": totals}], "axis": "labels a day"}
    return render(request, "pages/my_figures.html", {"figures": figures, "days_data": data})
