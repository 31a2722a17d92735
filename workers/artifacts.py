"""The artifact store: files and folders under `GAUNTLET_HOME`, written whole or not at all, known by their hash."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings

from webapi.models import Artifact, Round


def round_path(round_: Round, name: str) -> Path:
    """Where a round's artifact of that name lies."""
    return Path(settings.GAUNTLET_HOME) / "rounds" / str(round_.pk) / name


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; what is written there takes its place at the end, or vanishes on an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays: some writers choose their format by it.
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)


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
