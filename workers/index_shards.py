"""Making a shard: its snippets' vectors by the encoder that the index was made with, and their groups."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine import embeddings
from engine.errors import BadInput, MissingModel
from engine.progress import Progress
from webapi.models import EmbeddingIndex, EmbeddingShard, ShardState
from webapi.selectors.label_rows import Keys
from workers.index_files import CorruptShard, drop_artifact, drop_files, drop_shard, drop_tries, write_shard
from workers.index_groups import group_stream
from workers.index_plan import keys_of, plan_shards, texts_of
from workers.index_reading import ids_of
from workers.jobs import JobRun

if TYPE_CHECKING:
    from engine.embeddings import SentenceEncoder

logger = logging.getLogger(__name__)


class Loaded(NamedTuple):
    """An encoder on this machine, and which version it is."""

    encoder: SentenceEncoder
    version: str


def embed_shard(run: JobRun) -> dict[str, Any]:
    """Job `embed_shard`: makes the shard `args["shard"]`, unless it is made. A shard that is no more needs nothing."""
    found = EmbeddingShard.objects.select_related("index__policy", "artifact", "groups")
    row = found.filter(pk=run.args["shard"]).first() if "shard" in run.args else None
    if row is None:
        return {"embedded": 0}
    made = make_shard(row, run.progress)
    return {"embedded": row.count if made else 0}


def make_shard(shard: EmbeddingShard, progress: Progress) -> bool:
    """Embeds the shard's snippets and finds their groups. False if they were embedded.

    Killed at any moment it has written nothing that counts, or all: run again it makes the same file. Raises
    MissingModel, or BadInput where this machine's encoder is another than the index was made with.
    """
    made = False
    if shard.state == ShardState.PLANNED:
        loaded = encoder_for(shard.index)
        keys = keys_of(shard)
        vectors = loaded.encoder.encode(texts_of(ids_of(keys)), progress=progress)
        if not np.isfinite(vectors).all():
            raise BadInput("gives vectors that are not finite", where=f"sentence encoder {shard.index.encoder!r}")
        made = _keep(shard, keys, vectors)
    group_stream(shard.index, shard.stream)
    progress(shard.count, shard.count)
    return made


def _keep(shard: EmbeddingShard, keys: Keys, vectors: NDArray[np.float32]) -> bool:
    """Writes the shard's files. False where another worker was first, or another index took this one's place."""
    try:
        artifact = write_shard(shard, keys, vectors, embeddings.codes_of(vectors))
    except FileNotFoundError:  # who was first tidied up before this try was registered
        if EmbeddingShard.objects.filter(pk=shard.pk, state=ShardState.PLANNED).exists():
            raise
        return False
    if shard.embedded(artifact):
        drop_tries(shard, artifact)
        return True
    drop_artifact(artifact)
    if not EmbeddingIndex.objects.filter(pk=shard.index_id).exists():
        drop_files(shard.index_id)
    return False


def encoder_for(index: EmbeddingIndex) -> Loaded:
    """The encoder that the index was made with; the first to ask decides its version. Raises BadInput for another."""
    loaded = _loaded(index.encoder, index.precision or embeddings.best_precision())
    if not index.version:
        encoder = loaded.encoder
        index.learn(version=loaded.version, precision=encoder.precision, dimension=encoder.dimension)
        index.refresh_from_db(fields=["version", "precision", "dimension"])
        loaded = _loaded(index.encoder, index.precision)
    if loaded.version != index.version:
        raise BadInput(
            f"on this machine is of version {loaded.version[:8]}, and the vectors of {index.policy} are of version "
            f'{index.version[:8]}: weights, settings or tokenizer differ. `manage.py index "{index.policy}" --rebuild` '
            "embeds anew with this one; or give this machine the encoder that the others have",
            where=f"sentence encoder {index.encoder!r}",
        )
    return loaded


def _loaded(name: str, precision: Any) -> Loaded:
    """Looks at the files each time: a folder may be given other weights while a worker lives."""
    try:
        version = embeddings.encoder_version(name, precision)
    except MissingModel:  # a name on the hub that was never fetched: loading fetches it, or says why not
        embeddings.SentenceEncoder(name, precision=precision)
        version = embeddings.encoder_version(name, precision)
    return _encoder(name, precision, version)


@lru_cache(maxsize=1)
def _encoder(name: str, precision: Any, version: str) -> Loaded:
    return Loaded(embeddings.SentenceEncoder(name, precision=precision), version)


def embed_missing(index: EmbeddingIndex, keys: Keys, *, stream: str, progress: Progress) -> int:
    """Plans what of the keys (in order) is in no shard, and makes it here. Returns how many snippets."""
    made = 0
    for shard in plan_shards(index, keys, stream=stream):
        shard.index = index
        made += shard.count if make_shard(shard, progress) else 0
    return made


def mend(error: CorruptShard) -> str:
    """Forgets a shard whose files cannot be read, and says which: who misses its snippets embeds them again."""
    logger.warning("to be made again: %s", error)
    drop_shard(error.shard)
    return str(error.shard)
