"""Classifiers at work: scoring text now."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from engine.generation.rejection import accepts
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
    found = scorer_at_hand(classifier).logits(snippets)
    logits = np.asarray(found, dtype=np.float64)
    scores = 1 / (1 + np.exp(-logits))
    rejected = None if classifier.threshold is None else ~accepts(found, classifier.threshold)
    return [
        Scored(float(score), float(logit), None if rejected is None else bool(rejected[row]))
        for row, (score, logit) in enumerate(zip(scores, logits, strict=True))
    ]


def scorer_at_hand(classifier: Classifier) -> Scorer:
    """The classifier as the engine has it, loaded once a process. Raises as `classifier_score`."""
    if classifier.artifact_id is None:
        raise DomainError("classifier_not_trained", f"{classifier.name} has no weights yet.")
    with _loading:
        return _scorer(classifier.pk, classifier.precision)


@lru_cache(maxsize=2)
def _scorer(classifier_id: uuid.UUID, precision: str) -> Scorer:
    # torch and transformers take seconds to import: only a process that scores pays for them.
    from workers.scoring import load_classifier

    return load_classifier(Classifier.objects.select_related("artifact").get(pk=classifier_id))
