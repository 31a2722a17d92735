"""Artifacts: files and folders under `GAUNTLET_HOME`, written whole or not at all, known by their hash.

Where there is a store (`GAUNTLET_STORE`), `GAUNTLET_HOME` is this machine's copy of what it worked with: `register`
uploads, and whoever reads what a job wrote asks `verified` or `at_hand` for it.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from django.conf import settings

from engine.errors import Damaged
from webapi.models import Artifact, Round
from workers.hashing import digest_of, is_known, moved
from workers.store import NotStored, S3Store, store

LEFT_AFTER_SECONDS = 86_400
"""A writer that writes nothing for so long is dead."""
_TEMPORARY = re.compile(r"\.(?P<stem>.+)\.[0-9a-f]{8}(?P<suffix>(\.[^.]*)?)")


def round_path(round_: Round, name: str) -> Path:
    """Where a round's artifact of that name lies."""
    return Path(settings.GAUNTLET_HOME) / "rounds" / str(round_.pk) / name


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; what is written there takes its place at the end, or vanishes on an error.

    What killed writers left goes first: of `path` all, of its neighbours what is a day old.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear_leftovers(path)
    # The suffix stays: some writers choose their format by it.
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        _remove(temporary)


def _clear_leftovers(path: Path) -> None:
    for entry in path.parent.iterdir():
        found = _TEMPORARY.fullmatch(entry.name)
        if found is None:
            continue
        with suppress(FileNotFoundError):  # another writer clears too
            same = f"{found['stem']}{found['suffix']}" == path.name
            if same or time.time() - entry.stat().st_mtime > LEFT_AFTER_SECONDS:
                _remove(entry)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def register(path: Path, kind: str) -> Artifact:
    """The row of a finished artifact, once the store has it; registering the same path again renews its hash."""
    relative, found = _relative(path), digest_of(path)
    if (kept := store()) is not None:
        kept.keep(path, relative, found)
    artifact, _ = Artifact.objects.update_or_create(
        path=relative,
        defaults={"kind": kind, "sha256": found.sha256, "size": found.size, "files": list(found.files)},
    )
    return artifact


def shared(path: Path, kind: str) -> None:
    """Registers a file that another machine may have to read, where there is a store by which it could."""
    if store() is not None:
        register(path, kind)


def verified(artifact: Artifact) -> Path:
    """Where the artifact lies on this machine, with the hash that its row has. Fetches it if need be.

    A hash that was found before is not computed again while the disk says that nothing was written. Raises NotStored
    where neither this machine nor a store has it, and Damaged naming the file and both hashes.
    """
    path, kept = artifact.file, store()
    if path.exists() and _matches(path, artifact):
        return path
    if kept is None:
        if path.exists():
            raise _damaged(path, artifact)
        raise NotStored(f"{artifact.path} is not in the store", permanent=True)
    with _alone(path):
        if not (path.exists() and _matches(path, artifact)):  # another process may have fetched it meanwhile
            _fetch(kept, artifact)
    return path


def at_hand(path: Path) -> Path:
    """`path`, under `GAUNTLET_HOME`, as it was registered: fetched where another machine wrote it.

    What nobody registered is given back as it is, there or not. Raises as `verified`.
    """
    if store() is None:
        return path
    row = Artifact.objects.filter(path=_relative(path)).first()
    return path if row is None else verified(row)


def _fetch(kept: S3Store, artifact: Artifact) -> None:
    """Downloads beside the place, verifies, and only then puts it there."""
    path = artifact.file
    with writing(path) as temporary:
        kept.fetch(artifact.path, temporary)
        if not _matches(temporary, artifact):
            raise _damaged(temporary, artifact)
        if path.is_dir():
            _remove(path)  # a folder takes no other's place
    moved(temporary, path)


def _matches(path: Path, artifact: Artifact) -> bool:
    return is_known(path, artifact.sha256) or digest_of(path).sha256 == artifact.sha256


def _damaged(path: Path, artifact: Artifact) -> Damaged:
    """Names the file of a folder whose hash differs, where the row knows them."""
    found = digest_of(path)
    wanted = {one["name"]: one["sha256"] for one in artifact.files}
    there = {one["name"]: one["sha256"] for one in found.files}
    for name in [*wanted, *there] if wanted and there else []:
        if wanted.get(name) != there.get(name):
            return Damaged(
                f"{artifact.path}/{name}", wanted=wanted.get(name, "nothing"), found=there.get(name, "missing")
            )
    return Damaged(artifact.path, wanted=artifact.sha256, found=found.sha256)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Of this machine's processes and threads, one at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _relative(path: Path) -> str:
    return path.relative_to(settings.GAUNTLET_HOME).as_posix()
