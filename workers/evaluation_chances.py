"""How likely outputs are to fail, as far as labels tell that were there before: by them labels are spread."""

from __future__ import annotations

import uuid

import numpy as np

from engine.errors import BadInput
from engine.evaluation.designs import OutputPool
from engine.evaluation.designs.scores import with_pilot
from webapi.models import Classifier, Consensus, Score, Source, SplitName
from workers.jobs import chunked

FEWEST = 3
"""Failures, and sound texts, from which chances are fitted."""
HELD_OUT = (SplitName.VALIDATION, SplitName.TEST)
ORDINARY = (Source.CORPUS, Source.GENERATED)
"""Texts that nobody made to fool a classifier."""


def with_chances(row: Classifier, by: Classifier | None, pool: OutputPool) -> OutputPool:
    """The pool with chances fitted to held-out texts that are labelled and scored already; without, where too few are.

    `by` is whose logits are the pool's second ones. Texts that the filter rejects teach too.
    """
    logits = _scores(row)
    second = _scores(by) if by is not None and pool.second is not None else None
    keys = sorted(logits.keys() & second.keys() if second is not None else logits)
    if (pool.second is None) != (second is None) or not keys:
        return pool
    said: dict[uuid.UUID, str] = {}
    for chunk in chunked(keys, 1000):
        said |= dict(Consensus.objects.filter(snippet__in=chunk).values_list("snippet_id", "choice"))
    failures = np.array([said[key] == row.policy.rules.failure for key in keys], dtype=np.bool_)
    if min(failures.sum(), (~failures).sum()) < FEWEST:
        return pool
    one = np.array([logits[key] for key in keys], dtype=np.float32)
    two = np.array([second[key] for key in keys], dtype=np.float32) if second is not None else None
    try:
        return with_pilot(pool, one, two, failures)
    except BadInput:  # nothing to be learnt from them; the logits alone are what is known
        return pool


def _scores(row: Classifier) -> dict[uuid.UUID, float]:
    """Logits of labelled held-out texts, by snippet."""
    scores = Score.objects.filter(classifier=row, snippet__split__in=HELD_OUT, snippet__source__in=ORDINARY)
    labelled = scores.exclude(snippet__consensus=None)
    return dict(labelled.values_list("snippet_id", "logit"))
