"""Stage `embed`: sentence embeddings of what selection chooses from and of what is labelled already."""

from __future__ import annotations

import uuid
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine import embeddings  # its encoder loads torch when named: only the job names it
from webapi.models import Pool, Round, Snippet
from workers.artifacts import register, round_path, writing
from workers.jobs import JobRun
from workers.score import choosable

MOST_LABELLED = 1000
"""Labelled snippets that new ones are kept apart from: enough to mark where the labels are."""


class Embedded(NamedTuple):
    """Ids and unit vectors, row by row."""

    ids: list[uuid.UUID]
    vectors: NDArray[np.float32]
    """(n, d)"""


def embed(run: JobRun) -> dict[str, Any]:
    """Embeds both sets and keeps them in one file."""
    path = round_path(run.round, "embeddings.npz")
    if path.exists():
        return {"embedded": len(load_embeddings(run.round, "choosable").ids)}
    labelled = run.round.members.filter(pool=Pool.INITIAL, snippet__consensus__isnull=False)
    labelled_ids = list(labelled.order_by("snippet__content_hash").values_list("snippet_id", flat=True))
    sets = {"choosable": choosable(run.round), "labelled": labelled_ids[:MOST_LABELLED]}
    encoder, arrays, done = embeddings.SentenceEncoder(), dict[str, NDArray[Any]](), 0
    total = sum(map(len, sets.values()))
    for name, ids in sets.items():
        arrays[f"{name}_ids"] = np.array([str(pk) for pk in ids], dtype="U36")
        arrays[name] = _encode(encoder, ids, run, done, total)
        done += len(ids)
    with writing(path) as temporary:
        np.savez(temporary, allow_pickle=False, **arrays)
    register(path, "embeddings")
    return {"embedded": len(sets["choosable"])}


def _encode(
    encoder: embeddings.SentenceEncoder, ids: list[uuid.UUID], run: JobRun, before: int, total: int
) -> NDArray[Any]:
    def progress(done: int, _total: int) -> None:
        run.progress(before + done, total)

    rows = Snippet.objects.in_bulk(ids)
    return encoder.encode([rows[pk].text.text for pk in ids], progress=progress)


def load_embeddings(round_: Round, name: str) -> Embedded:
    """The set `choosable` or `labelled`."""
    with np.load(round_path(round_, "embeddings.npz"), allow_pickle=False) as arrays:
        return Embedded([uuid.UUID(pk) for pk in arrays[f"{name}_ids"]], arrays[name])
