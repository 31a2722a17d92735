"""One snippet: its text, what was said of it, how classifiers score it, where it comes from."""

from __future__ import annotations

import math
from typing import NamedTuple
from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render

from webapi.models import Classifier, Snippet
from webapi.pages.access import PageRequest, page
from webapi.selectors.attacks import attack_title
from webapi.selectors.snippets import ancestors, children, finders, labels_of, places_of
from workers.score_reading import scores_of

SHOWN = 50


class ScoreRow(NamedTuple):
    """A classifier's score of the snippet, as a probability and as a logit."""

    classifier: Classifier
    score: float
    logit: float


@page("snippets")
def snippet(request: PageRequest, key: UUID) -> HttpResponse:
    """One snippet with its labels, scores and lineage."""
    rows = Snippet.objects.select_related("policy", "story__corpus", "consensus", "author")
    row = get_object_or_404(rows, pk=key)
    lineage = ancestors(row)
    context = {
        "snippet": row,
        "labels": labels_of(row)[:SHOWN],
        "scores": [ScoreRow(one.classifier, sigmoid(one.logit), one.logit) for one in scores_of(row)[:SHOWN]],
        "places": places_of(row)[:SHOWN],
        "ancestors": lineage,
        "root": lineage[-1] if lineage else row,
        "children": children(row),
        "finders": [(one, attack_title(one)) for one in finders(row)],
    }
    return render(request, "pages/snippet.html", context)


def sigmoid(logit: float) -> float:
    """The probability of a logit, without overflow."""
    if logit >= 0:
        return 1 / (1 + math.exp(-logit))
    return math.exp(logit) / (1 + math.exp(logit))
