"""The comparing page: two completions of one prompt, which is the better? Left and right come shuffled."""

from __future__ import annotations

from django.http import HttpResponse

from webapi.pages.access import PageRequest, page
from webapi.pages.judging import judging_page


@page("tasks", "lease")
def compare(request: PageRequest) -> HttpResponse:
    """A prompt and two completions, and the policy's question about them."""
    return judging_page(request, kind="compare", title="Compare")
