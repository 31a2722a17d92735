"""Reads of snippets: lists, and one snippet's way from its seed story to its consensus."""

from __future__ import annotations

from django.db.models import QuerySet

from webapi.models import Attack, Label, RoundSnippet, Snippet

MAX_ANCESTORS = 50
MAX_CHILDREN = 100


def snippets_listed() -> QuerySet[Snippet]:
    """Snippets with what a list shows of them, in one query."""
    return Snippet.objects.select_related("consensus", "story")


def ancestors(snippet: Snippet) -> list[Snippet]:
    """From the parent to the first ancestor; one query each, as deep as attacks were chained."""
    found: list[Snippet] = []
    at = snippet
    while at.parent_id and len(found) < MAX_ANCESTORS:
        at = Snippet.objects.get(pk=at.parent_id)
        found.append(at)
    return found


def children(snippet: Snippet) -> list[Snippet]:
    """What was made from it, the oldest first, up to `MAX_CHILDREN`."""
    return list(snippet.children.order_by("pk")[:MAX_CHILDREN])


def labels_of(snippet: Snippet) -> QuerySet[Label]:
    """All answers about it, revisions among them."""
    return snippet.labels.select_related("annotator").order_by("pk")


def places_of(snippet: Snippet) -> QuerySet[RoundSnippet]:
    """Its places in rounds."""
    return snippet.memberships.select_related("round").order_by("pk")


def finders(snippet: Snippet) -> list[Attack]:
    """The attacks that found it, the oldest first, up to `MAX_CHILDREN`."""
    found = Attack.objects.filter(candidates__snippet=snippet).select_related("classifier")
    return list(found.order_by("pk")[:MAX_CHILDREN])
