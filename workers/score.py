"""Stage `score`: what the baseline, and those whose second opinion is asked, make of all that selection may choose."""

from __future__ import annotations

import uuid
from typing import Any

from webapi.models import Classifier, Pool, Round, Stage
from workers.jobs import JobRun
from workers.scoring import load_classifier, score_snippets
from workers.second_opinions import second_opinions
from workers.train import BASELINE, classifier_of

SHARD = 500
"""Snippets a job."""


def choosable(round_: Round) -> list[uuid.UUID]:
    """Ids of the snippets that selection chooses from, in a fixed order."""
    members = round_.members.filter(pool__in=[Pool.CANDIDATE, Pool.ATTACK])
    return list(members.order_by("snippet__content_hash").values_list("snippet_id", flat=True))


def plan(stage: Stage) -> dict[str, dict[str, Any]]:
    """Shards of up to `SHARD` snippets, for the baseline and for each classifier whose second opinion is asked."""
    ids = [str(pk) for pk in choosable(stage.round)]
    asked = {"": classifier_of(stage.round, BASELINE)}
    asked |= {f"{place}-": row for place, row in enumerate(second_opinions(stage.round), 1)}
    return {
        f"{prefix}{start // SHARD:05d}": {"classifier": str(row.pk), "ids": ids[start : start + SHARD]}
        for prefix, row in asked.items()
        for start in range(0, len(ids), SHARD)
    }


def score(run: JobRun) -> dict[str, Any]:
    """Scores one shard; snippets scored before a crash are not scored again."""
    asked = run.args.get("classifier")  # a job planned by an earlier version names none
    rows = Classifier.objects.select_related("artifact", "policy")
    row = rows.get(pk=asked) if asked else classifier_of(run.round, BASELINE)
    ids = [uuid.UUID(pk) for pk in run.args["ids"]]
    return {"scored": score_snippets(row, load_classifier(row), ids, run.progress)}
