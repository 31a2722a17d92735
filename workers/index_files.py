"""The files of the index: a shard's keys, vectors and codes in one folder, its groups beside it; all memory-mappable.

A shard's artifact holds `keys.npy` (n,) 16 bytes each in order, `vectors.npy` (n, d) float16 unit rows (cosines within
0.001 of float32's, in half the space) and `codes.npy` (n, 48), by which near-duplicates are found.
"""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from engine.errors import Damaged, EngineError
from webapi.models import Artifact, EmbeddingShard, ShardState
from webapi.selectors.label_rows import Keys
from workers.artifacts import register, verified, writing
from workers.hashing import digest_of
from workers.store import NotStored

KIND, GROUPS_KIND = "embeddings", "embedding_groups"


class CorruptShard(EngineError):
    """A shard's files are not what was written. Its snippets can be embedded again."""

    code = "corrupt_shard"

    def __init__(self, shard: EmbeddingShard, what: str) -> None:
        self.shard = shard
        super().__init__(
            f"{shard} ({shard.count:,} snippets) cannot be read: {what}; "
            f'`manage.py index "{shard.index.policy}" --verify` makes it again'
        )


class ShardFile(NamedTuple):
    """What a shard holds, row by row, mapped from its files."""

    keys: Keys
    vectors: NDArray[np.float16]
    codes: NDArray[np.uint32]
    groups: Keys | None
    """The key of the first snippet of each row's group; None until they are found."""


def index_folder(index_id: uuid.UUID) -> Path:
    """Where an index lies."""
    return Path(settings.GAUNTLET_HOME) / "index" / str(index_id)


def write_shard(shard: EmbeddingShard, keys: Keys, vectors: NDArray[np.float32], codes: NDArray[np.uint32]) -> Artifact:
    """Writes an artifact for the shard, whole or not at all, under a name of its own: of two workers that make the same
    shard neither touches what the other wrote."""
    path = index_folder(shard.index_id) / f"{shard.number:06d}-{uuid.uuid4().hex[:8]}"
    with writing(path) as temporary:
        temporary.mkdir()
        np.save(temporary / "keys.npy", keys)
        np.save(temporary / "vectors.npy", vectors.astype(np.float16))
        np.save(temporary / "codes.npy", codes)
    return register(path, KIND)


def drop_artifact(artifact: Artifact) -> None:
    """Forgets an artifact with its files."""
    artifact.delete()
    _remove(artifact.file)


def drop_tries(shard: EmbeddingShard, kept: Artifact) -> None:
    """Removes what workers left that were killed between writing the shard and saying so."""
    for path in index_folder(shard.index_id).glob(f"{shard.number:06d}-*"):
        if path != kept.file:
            Artifact.objects.filter(path=path.relative_to(settings.GAUNTLET_HOME).as_posix()).delete()
            _remove(path)


def write_groups(shard: EmbeddingShard, groups: Keys) -> Artifact:
    """Writes the keys of the rows' groups."""
    path = index_folder(shard.index_id) / f"{shard.number:06d}.groups.npy"
    with writing(path) as temporary:
        np.save(temporary, groups)
    return register(path, GROUPS_KIND)


def open_shard(shard: EmbeddingShard, *, verify: bool = False) -> ShardFile:
    """The files of a shard that was embedded. Raises CorruptShard.

    Their hash is looked at where a process meets them first (half a second a gigabyte) and when the disk says that they
    were written to, or now with `verify`.
    """
    if shard.artifact is None:
        raise CorruptShard(shard, "it has no files yet")
    groups = None
    if shard.state == ShardState.GROUPED and shard.groups is not None:
        groups = _mapped(shard, _checked(shard, shard.groups, verify=verify))
    folder = _checked(shard, shard.artifact, verify=verify)
    keys, vectors, codes = (_mapped(shard, folder / f"{name}.npy") for name in ("keys", "vectors", "codes"))
    return ShardFile(keys, vectors, codes, groups)


def _checked(shard: EmbeddingShard, artifact: Artifact, *, verify: bool) -> Path:
    """Where the artifact lies, as it was written."""
    try:
        path = verified(artifact)
    except (Damaged, NotStored) as error:
        raise CorruptShard(shard, str(error)) from error
    if verify and digest_of(path).sha256 != artifact.sha256:
        raise CorruptShard(shard, f"{artifact.path} is not what was written")
    return path


def _mapped(shard: EmbeddingShard, path: Path) -> Any:
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise CorruptShard(shard, f"{path.name}: {error}") from error
    if len(rows) != shard.count:
        raise CorruptShard(shard, f"{path.name} has {len(rows):,} rows")
    return rows


def drop_shard(shard: EmbeddingShard) -> None:
    """Forgets a shard with its files: its snippets are in no shard then, and are embedded again by who needs them."""
    artifacts = [one for one in (shard.artifact, shard.groups) if one is not None]
    shard.delete()
    for artifact in artifacts:
        drop_artifact(artifact)


def drop_files(index_id: uuid.UUID) -> None:
    """Removes what is left of an index that is no more."""
    folder = index_folder(index_id)
    Artifact.objects.filter(path__startswith=f"{folder.relative_to(settings.GAUNTLET_HOME)}/").delete()
    shutil.rmtree(folder, ignore_errors=True)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
