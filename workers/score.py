"""Stage `score`: the baseline's score of everything selection may choose from."""

from __future__ import annotations

import uuid
from typing import Any

from webapi.models import Pool, Round, Stage
from workers.jobs import JobRun
from workers.scoring import load_classifier, score_snippets
from workers.train import BASELINE, classifier_of

SHARD = 500
"""Snippets a job."""


def choosable(round_: Round) -> list[uuid.UUID]:
    """Ids of the snippets that selection chooses from, in a fixed order."""
    members = round_.members.filter(pool__in=[Pool.CANDIDATE, Pool.ATTACK])
    return list(members.order_by("snippet__content_hash").values_list("snippet_id", flat=True))


def plan(stage: Stage) -> dict[str, dict[str, Any]]:
    """Shards of up to `SHARD` snippets."""
    ids = [str(pk) for pk in choosable(stage.round)]
    return {f"{start // SHARD:05d}": {"ids": ids[start : start + SHARD]} for start in range(0, len(ids), SHARD)}


def score(run: JobRun) -> dict[str, Any]:
    """Scores one shard; snippets scored before a crash are not scored again."""
    row = classifier_of(run.round, BASELINE)
    ids = [uuid.UUID(pk) for pk in run.args["ids"]]
    return {"scored": score_snippets(row, load_classifier(row), ids, run.progress)}
