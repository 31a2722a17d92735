"""A round's report: inside the site, and as the one file that needs nothing else."""

from __future__ import annotations

from typing import cast
from uuid import UUID

from django.contrib import messages
from django.core.cache import cache
from django.http import FileResponse, Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from engine.evaluation.report import PARTS, Report, render_fragments
from webapi.errors import DomainError
from webapi.models import Round
from webapi.pages.access import PageRequest, page
from webapi.services.reports import REPORT_HTML, REPORT_JSON, report_data, report_file

CACHE_SECONDS = 3600
ALONE = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
    "sandbox allow-scripts allow-downloads"
)
"""The file brings its own scripts; they run apart from this site."""


@page("rounds")
def report(request: PageRequest, key: UUID) -> HttpResponse:
    """The report inside the site."""
    row = get_object_or_404(Round, pk=key)
    try:
        parts = _parts(row)
    except DomainError:
        messages.warning(request, "There is no report yet: it is the round's last stage.")
        return redirect("round", key)
    return render(request, "pages/report.html", {"round": row, "parts": parts})


@page("rounds")
def standalone(request: PageRequest, key: UUID) -> FileResponse:
    """The report as its file."""
    row = get_object_or_404(Round, pk=key)
    try:
        file = report_file(row, REPORT_HTML).open("rb")
    except DomainError as error:
        raise Http404(error.message) from error
    headers = {"Content-Security-Policy": ALONE}
    return FileResponse(file, content_type="text/html; charset=utf-8", filename=f"{row.name}.html", headers=headers)


def _parts(row: Round) -> list[str]:
    """The report's parts as HTML, drawn once for each state of its file."""
    written = report_file(row, REPORT_JSON).stat().st_mtime_ns
    key = f"report:{row.pk}:{written}"
    parts: list[str] | None = cache.get(key)
    if parts is None:
        fragments = render_fragments(cast(Report, report_data(row)))
        parts = [fragments[name] for name in PARTS]
        cache.set(key, parts, CACHE_SECONDS)
    return parts
