"""Export of a classifier's scores: those that have rows, then those that lie in shards, each snippet once."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from django.db.models import Exists, OuterRef, Sum

from webapi.models import RoundSnippet, Score, ScoreShard, Snippet
from webapi.selectors.label_rows import key_at
from workers.export_reading import CHUNK, REAL, TEXT, Export, From, Reading, key, of_table
from workers.score_reading import Logits, shard_rows


def _sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1 + math.exp(logit))


_TEXTS = ("prompt", "completion", "content_hash")
_ROWS = of_table(
    Score.objects.all,
    columns={
        "snippet": key("snippet_id"),
        **{name: From(f"snippet__{name}", TEXT) for name in _TEXTS},
        "classifier": key("classifier_id"),
        "logit": From("logit", REAL),
        "score": From("logit", REAL, _sigmoid),
    },
    filters={"classifier": "classifier", "round": "snippet__memberships__round"},
    required=("classifier",),
)


def _read(given: Mapping[str, Any]) -> Reading:
    """The total counts twice what has both a row and a place in a shard."""
    rows = _ROWS.read(given)
    shards = ScoreShard.objects.filter(classifier=given["classifier"])
    held = shards.aggregate(n=Sum("count"))["n"] or 0
    return Reading(rows.total + held, chain(rows.rows, _from_shards(list(shards.select_related("artifact")), given)))


def _from_shards(shards: Sequence[ScoreShard], given: Mapping[str, Any]) -> Iterator[Sequence[Any]]:
    for place, shard in enumerate(shards):
        rows = shard_rows(shard)
        fresh = np.ones(rows.keys.size, dtype=bool)
        for before in shards[:place]:
            if before.first <= shard.last and before.last >= shard.first:
                fresh &= ~np.isin(rows.keys, shard_rows(before).keys)
        yield from _shard(Logits(rows.keys[fresh], rows.logits[fresh]), given)


def _shard(rows: Logits, given: Mapping[str, Any]) -> Iterator[Sequence[Any]]:
    """The values of a shard's rows, in the order of their keys."""
    has_row = Score.objects.filter(classifier=given["classifier"], snippet=OuterRef("pk"))
    for start in range(0, rows.keys.size, CHUNK):
        stop = min(start + CHUNK, rows.keys.size)
        logits = {key_at(rows.keys, place): float(rows.logits[place]) for place in range(start, stop)}
        found = Snippet.objects.filter(~Exists(has_row), pk__in=list(logits))
        if "round" in given:
            found = found.filter(Exists(RoundSnippet.objects.filter(round=given["round"], snippet=OuterRef("pk"))))
        for pk, *texts in found.order_by("pk").values_list("pk", *_TEXTS):
            logit = logits[pk]
            yield [str(pk), *texts, str(uuid.UUID(str(given["classifier"]))), logit, _sigmoid(logit)]


SCORES = Export(_ROWS.columns, _ROWS.filters, _read, _ROWS.required)
