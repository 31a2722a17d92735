"""Stage `select`: which finds of the attack and which ordinary snippets are worth a label, and why."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from django.db import transaction
from numpy.typing import NDArray

from engine.embeddings import Projection
from engine.query_strategies import choose, query_strategy
from engine.selection import Why, among, explain, first_of_groups
from webapi.models import Pool, Round
from webapi.selectors.label_rows import Keys
from workers.artifacts import at_hand, register
from workers.index_reading import ids_of
from workers.jobs import JobRun, chunked
from workers.round_settings import round_settings
from workers.score import choosable
from workers.scoring import keep_rows
from workers.second_opinions import second_opinions
from workers.selection_pool import Candidates, Gathered, candidates, gather, numbered
from workers.selection_table import CHOSEN, KIND, rows_apart, rows_of, selection_path, write_selection
from workers.train import BASELINE, classifier_of

MAP_APART = 1000
"""Labelled or in flight, on the map: the newest, enough to show where they lie."""


class Apart(NamedTuple):
    """What the next pool's snippets are kept apart from: labelled, in flight, or chosen before them."""

    ids: list[uuid.UUID]
    vectors: NDArray[np.float32]
    groups: Keys


class Plane(NamedTuple):
    """Points of a map, and which share of the vectors' variance it shows."""

    points: NDArray[np.float32]
    """(n, 2)"""
    shown: float


class Picked(NamedTuple):
    """One pool and what came of it."""

    pool: Pool
    candidates: Candidates
    why: Why


def select(run: JobRun) -> dict[str, Any]:
    """Decides once, then marks the chosen members. Killed at any moment and run again it chooses the same."""
    round_, path = run.round, at_hand(selection_path(run.round))
    if not path.exists():
        _decide(run)
    register(path, KIND)
    table = pq.read_table(path, columns=["snippet", "pool", "status"])
    chosen = table.filter(pa.compute.equal(table["status"], CHOSEN))
    ids = [uuid.UUID(pk) for pk in chosen["snippet"].to_pylist()]
    _mark(round_, ids)
    for row in (classifier_of(round_, BASELINE), *second_opinions(round_)):
        keep_rows(row, ids)
    run.progress(1, 1)
    counts = Counter(chosen["pool"].to_pylist())
    return {f"selected_{pool.value}": counts[pool.value] for pool in (Pool.ATTACK, Pool.CANDIDATE)}


def _mark(round_: Round, chosen: Sequence[uuid.UUID]) -> None:
    with transaction.atomic():
        round_.members.filter(selected=True).update(selected=False)
        for ids in chunked(chosen, 1000):
            round_.members.filter(snippet__in=ids).update(selected=True)


def _decide(run: JobRun) -> None:
    """Chooses from each pool, the attack's finds first, and writes down why."""
    round_, settings = run.round, round_settings(run.round.config).selection
    found = gather(round_, run.progress)
    apart = Apart(ids_of(found.apart.keys), found.apart.rows, found.apart.groups)
    told, picked = apart, list[Picked]()
    for pool, k, share in ((Pool.ATTACK, settings.attack, 0.0), (Pool.CANDIDATE, settings.candidates, settings.random)):
        pooled = candidates(round_, _members(round_, pool), found.choosable)
        if pooled.ids:
            why = _pick(round_, pooled, apart, k, share, run)
            picked.append(Picked(pool, pooled, why))
            apart = _with_chosen(apart, pooled, why)
    _write(round_, found, told, apart, picked)


def _members(round_: Round, pool: Pool) -> list[uuid.UUID]:
    members = set(round_.members.filter(pool=pool).values_list("snippet_id", flat=True))
    return [pk for pk in choosable(round_) if pk in members]


def _pick(round_: Round, pooled: Candidates, apart: Apart, k: int, share: float, run: JobRun) -> Why:
    """Drops near-duplicates, asks the query strategy, draws the random share from all, and explains."""
    groups, kept = numbered(pooled.groups, apart.groups)
    distinct = first_of_groups(pooled.values, groups, kept)
    strategy = among(query_strategy(round_settings(round_.config).selection.query_strategy), distinct)
    choice = choose(
        strategy,
        pooled.vectors,
        pooled.values,
        apart.vectors,
        min(k, len(pooled.ids)),
        random_share=share,
        seed=round_.seed,
        progress=run.progress,
    )
    return explain(choice, pooled.values, distinct, pooled.vectors, apart.vectors)


def _with_chosen(apart: Apart, pooled: Candidates, why: Why) -> Apart:
    rows = np.flatnonzero(why.chosen)
    return Apart(
        [*apart.ids, *(pooled.ids[row] for row in rows)],
        np.concatenate([apart.vectors, pooled.vectors[rows]]),
        np.concatenate([apart.groups, pooled.groups[rows]]),
    )


def _write(round_: Round, found: Gathered, told: Apart, apart: Apart, picked: Sequence[Picked]) -> None:
    """`told` is what was labelled or in flight before, on the map; `apart` also has what was chosen."""
    newest = slice(max(len(told.ids) - MAP_APART, 0), None)
    plane = _plane(np.concatenate([*(one.candidates.vectors for one in picked), told.vectors[newest]]))
    ends = np.cumsum([len(one.candidates.ids) for one in picked])
    *points, rest = np.split(plane.points, ends)
    tables = [
        rows_of(one.pool.value, one.candidates, one.why, apart.ids, at) for one, at in zip(picked, points, strict=True)
    ]
    settings = round_settings(round_.config).selection
    about = {
        **settings.model_dump(mode="json"),
        "seed": round_.seed,
        "kept_apart": len(told.ids),
        "embedded": found.embedded,
        "mended": found.mended,
        "map_shows": plane.shown,
    }
    write_selection(round_, [*tables, rows_apart(told.ids[newest], rest)], about)


def _plane(vectors: NDArray[np.float32]) -> Plane:
    """The vectors along the two directions in which they differ most."""
    if len(vectors) < 2:
        return Plane(np.zeros((len(vectors), 2), dtype=np.float32), 0.0)
    projection = Projection.fit(vectors, 2)
    return Plane(projection(vectors), projection.kept)
