"""Classifiers at work: scoring text now."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from engine.snippets import Snippet as SnippetText
from webapi.errors import DomainError
from webapi.models import Classifier

if TYPE_CHECKING:
    from engine.classifiers import Classifier as Scorer

MAX_SCORED = 256
"""Snippets in one request: a few seconds on two cores."""
_loading = Lock()


class Scored(NamedTuple):
    """A snippet's score in [0, 1], its logit, and whether it is rejected (None while there is no threshold)."""

    score: float
    logit: float
    rejected: bool | None


def classifier_score(*, classifier: Classifier, snippets: Sequence[SnippetText]) -> list[Scored]:
    """Scores of the snippets, in order. Raises DomainError `classifier_not_trained`, or MissingModel."""
    if classifier.artifact_id is None:
        raise DomainError("classifier_not_trained", f"{classifier.name} has no weights yet.")
    with _loading:
        scorer = _scorer(classifier.pk, classifier.precision)
    logits = np.asarray(scorer.logits(snippets), dtype=np.float64)
    scores = 1 / (1 + np.exp(-logits))
    limit = _logit(classifier.threshold)
    return [
        Scored(float(score), float(logit), None if limit is None else bool(logit >= limit))
        for score, logit in zip(scores, logits, strict=True)
    ]


@lru_cache(maxsize=2)
def _scorer(classifier_id: uuid.UUID, precision: str) -> Scorer:
    # torch and transformers take seconds to import: only a process that scores pays for them.
    from workers.scoring import load_classifier

    return load_classifier(Classifier.objects.select_related("artifact").get(pk=classifier_id))


def _logit(threshold: float | None) -> float | None:
    """The threshold as a logit in fp32, as the engine compares it; ends of the unit interval are infinite."""
    if threshold is None:
        return None
    if threshold <= 0 or threshold >= 1:
        return float("-inf") if threshold <= 0 else float("inf")
    return float(np.float32(np.log(threshold / (1 - threshold))))
