"""What a selection works on: the snippets to choose from with their scores and vectors, and what to keep apart from."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.acquisition import Opinions, acquisition
from engine.progress import Progress
from webapi.models import Classifier, EmbeddingIndex, Round, ShardState
from webapi.selectors.label_rows import Keys
from workers.embed import needed_vectors
from workers.index_files import CorruptShard
from workers.index_plan import index_of, ordered, shards_holding
from workers.index_reading import Vectors, vectors_of
from workers.index_shards import embed_missing, make_shard, mend
from workers.kept_apart import kept_apart
from workers.round_settings import round_settings
from workers.score import choosable
from workers.scoring import logits_of, threshold_of
from workers.second_opinions import second_opinions
from workers.train import BASELINE, classifier_of


class Gathered(NamedTuple):
    """Vectors of what may be chosen and of what is kept apart from, and what had to be done for them."""

    choosable: Vectors
    apart: Vectors
    embedded: int
    """Snippets that the index lacked."""
    mended: list[str]
    """Shards whose files could not be read and were made again."""


class Candidates(NamedTuple):
    """The snippets of one pool, row by row in a fixed order."""

    ids: list[uuid.UUID]
    logits: NDArray[np.float32]
    values: NDArray[np.float64]
    vectors: NDArray[np.float32]
    groups: Keys


def gather(round_: Round, progress: Progress) -> Gathered:
    """The vectors, from the index. What it lacks of them is embedded here: it may be older than the pool."""
    mended, embedded = list[str](), 0
    wanted = choosable(round_)
    while True:
        index = index_of(round_.policy)  # a rebuilt one may have taken its place
        try:
            embedded += embed_missing(index, needed_vectors(round_), stream=str(round_.pk), progress=progress)
            _finish(index, ordered(wanted), progress)
            found, apart = vectors_of(index, wanted), vectors_of(index, kept_apart(round_))
        except CorruptShard as error:
            mended.append(mend(error))
            continue
        if found.keys.size == len(wanted):
            return Gathered(found, apart, embedded, mended)


def _finish(index: EmbeddingIndex, wanted: Keys, progress: Progress) -> None:
    """What another worker has planned and not made yet is made here: waiting for it could take hours."""
    planned = [shard for shard, _, _ in shards_holding(index, wanted) if shard.state == ShardState.PLANNED]
    for shard in planned:
        shard.index = index
        make_shard(shard, progress)


def candidates(round_: Round, ids: Sequence[uuid.UUID], vectors: Vectors) -> Candidates:
    """These snippets with the baseline's logits, what they are worth by the round's acquisition function, vectors."""
    settings, classifier = round_settings(round_.config).selection, classifier_of(round_, BASELINE)
    others = second_opinions(round_)
    logits = _logits(classifier, ids)
    opinions = Opinions(
        logits,
        threshold_of(classifier),
        [_logits(other, ids) for other in others],
        [threshold_of(other) for other in others],
    )
    values = acquisition(settings.acquisition)(opinions, seed=round_.seed)
    keys = np.frombuffer(b"".join(pk.bytes for pk in ids), dtype="S16")
    places = vectors.places(keys)
    return Candidates(list(ids), logits, values, vectors.rows[places], vectors.groups[places])


def _logits(classifier: Classifier, ids: Sequence[uuid.UUID]) -> NDArray[np.float32]:
    known = logits_of(classifier, ids)
    return np.array([known[pk] for pk in ids], dtype=np.float32)


def numbered(*groups: Keys) -> list[NDArray[np.int64]]:
    """Groups as numbers, equal where their keys are."""
    _, codes = np.unique(np.concatenate(groups), return_inverse=True)
    return [part.astype(np.int64) for part in np.split(codes, np.cumsum([one.size for one in groups])[:-1])]
