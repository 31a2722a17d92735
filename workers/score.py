"""Stage `score`: what the baseline, and those whose second opinion is asked, make of all that selection may choose."""

from __future__ import annotations

import uuid
from typing import Any

from django.db.models import QuerySet

from webapi.models import Classifier, Pool, Round, RoundSnippet, Stage
from workers.jobs import JobRun, chunked
from workers.scoring import score_in_bulk
from workers.second_opinions import second_opinions
from workers.train import BASELINE, classifier_of

SHARD, MOST = 500, 5000
"""Snippets a job: few where there are few, so that workers share them; at ten million 2,000 jobs."""


def choosable(round_: Round) -> list[uuid.UUID]:
    """Ids of the snippets that selection chooses from, in a fixed order."""
    return list(_members(round_).order_by("snippet__content_hash").values_list("snippet_id", flat=True))


def plan(stage: Stage) -> dict[str, dict[str, Any]]:
    """Shards of snippets next to each other by key, for the baseline and for each classifier whose second opinion is
    asked. A job is told where its keys begin and end, and not each of them."""
    keys = _members(stage.round).order_by("snippet").values_list("snippet_id", flat=True)
    size = min(max(SHARD, keys.count() // 64), MOST)
    spans = [(str(chunk[0]), str(chunk[-1])) for chunk in chunked(keys.iterator(chunk_size=2000), size)]
    asked = {"": classifier_of(stage.round, BASELINE)}
    asked |= {f"{place}-": row for place, row in enumerate(second_opinions(stage.round), 1)}
    return {
        f"{prefix}{number:05d}": {"classifier": str(row.pk), "first": first, "last": last}
        for prefix, row in asked.items()
        for number, (first, last) in enumerate(spans)
    }


def score(run: JobRun) -> dict[str, Any]:
    """Scores one shard into one file; a shard that was scored before a crash is not scored again."""
    args = run.args
    rows = Classifier.objects.select_related("artifact", "policy")
    # A job planned by an earlier version names its snippets, and no classifier.
    row = rows.get(pk=args["classifier"]) if "classifier" in args else classifier_of(run.round, BASELINE)
    if "ids" in args:
        ids = [uuid.UUID(pk) for pk in args["ids"]]
    else:
        span = {"snippet__gte": uuid.UUID(args["first"]), "snippet__lte": uuid.UUID(args["last"])}
        ids = list(_members(run.round).filter(**span).values_list("snippet_id", flat=True))
    return {"scored": score_in_bulk(run.round, row, run.job.shard, ids, run.progress)}


def _members(round_: Round) -> QuerySet[RoundSnippet]:
    return round_.members.filter(pool__in=[Pool.CANDIDATE, Pool.ATTACK])
