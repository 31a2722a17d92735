"""The artifact store: files and folders under `GAUNTLET_HOME`, written whole or not at all, known by their hash."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from django.conf import settings

from webapi.models import Artifact, Round

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
    """The row of a finished artifact; registering the same path again renews its hash."""
    relative = str(path.relative_to(settings.GAUNTLET_HOME))
    digest, size = _digest(path)
    artifact, _ = Artifact.objects.update_or_create(
        path=relative, defaults={"kind": kind, "sha256": digest, "size": size}
    )
    return artifact


def _digest(path: Path) -> tuple[str, int]:
    """SHA-256 and bytes of a file, or of a folder's files with their names in order."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    digest, size = hashlib.sha256(), 0
    for file in files:
        if path.is_dir():
            digest.update(f"{file.relative_to(path)}\0".encode())
        with file.open("rb") as stream:
            for chunk in iter(lambda: stream.read(1 << 20), b""):
                digest.update(chunk)
                size += len(chunk)
    return digest.hexdigest(), size
