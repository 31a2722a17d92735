"""Stage `select`: which finds of the attack and which ordinary snippets are worth a label."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.acquisition import Opinions, acquisition
from engine.query_strategies import query_strategy
from webapi.models import Pool, Round
from workers.embed import load_embeddings
from workers.jobs import JobRun
from workers.round_settings import round_settings
from workers.scoring import logits_of
from workers.train import BASELINE, classifier_of


def select(run: JobRun) -> dict[str, Any]:
    """Marks the chosen members, the attack's finds first. Run again it chooses the same."""
    round_ = run.round
    wanted = round_settings(round_.config).selection
    chosen = {
        Pool.ATTACK: _choose(round_, Pool.ATTACK, wanted.attack),
        Pool.CANDIDATE: _choose(round_, Pool.CANDIDATE, wanted.candidates),
    }
    round_.members.filter(selected=True).update(selected=False)
    for ids in chosen.values():
        round_.members.filter(snippet__in=ids).update(selected=True)
    run.progress(1, 1)
    return {f"selected_{pool.value}": len(ids) for pool, ids in chosen.items()}


def _choose(round_: Round, pool: Pool, k: int) -> Sequence[uuid.UUID]:
    """The `k` snippets of a pool that the acquisition function and the query strategy choose together."""
    settings = round_settings(round_.config).selection
    classifier = classifier_of(round_, BASELINE)
    if classifier.threshold is None:
        raise ValueError(f"classifier {classifier} has no threshold")
    members = set(round_.members.filter(pool=pool).values_list("snippet_id", flat=True))
    embedded = load_embeddings(round_, "choosable")
    rows = [i for i, pk in enumerate(embedded.ids) if pk in members]
    ids = [embedded.ids[i] for i in rows]
    k = min(k, len(ids))
    if not k:
        return []
    known = logits_of(classifier, ids)
    logits = np.array([known[pk] for pk in ids], dtype=np.float32)
    values = acquisition(settings.acquisition)(Opinions(logits, classifier.threshold), seed=round_.seed)
    labelled = load_embeddings(round_, "labelled").vectors
    strategy = query_strategy(settings.query_strategy)
    picked = strategy(embedded.vectors[rows], values, labelled, k, seed=round_.seed)
    return [ids[int(i)] for i in picked]
