"""The labeling page: one text after another, blind to where it comes from. The work is done over the REST API."""

from __future__ import annotations

from django.http import HttpResponse

from webapi.pages.access import PageRequest, page
from webapi.pages.judging import judging_page


@page("tasks", "lease")
def label(request: PageRequest) -> HttpResponse:
    """A prompt and its completion, and the policy's question."""
    return judging_page(request, kind="label", title="Label")
