"""Hashes of artifacts, and a memory of those checked, so that a job does not read gigabytes again and again."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple, TypedDict

BLOCK = 1 << 20


class HashedFile(TypedDict):
    """A file of a folder. `name` is its path in it."""

    name: str
    size: int
    sha256: str


class Digest(NamedTuple):
    """What an artifact is known by."""

    sha256: str
    """Of a file its own; of a folder over its files with their names, in order."""
    size: int
    """Bytes, of all files."""
    files: tuple[HashedFile, ...]
    """Of a folder; none for a file."""


class Stamp(NamedTuple):
    """A file as the disk tells of it: whoever writes to it changes this."""

    name: str
    size: int
    modified: int
    changed: int
    inode: int


_checked: dict[Path, tuple[str, tuple[Stamp, ...]]] = {}
"""By path: the hash that was found, and what the disk said then."""


def digest_of(path: Path) -> Digest:
    """Reads all of a file or folder, and remembers its hash. O(bytes)."""
    before = _stamps(path)
    found = _folder(path) if path.is_dir() else _file(path)
    _checked[path] = (found.sha256, before)
    return found


def is_known(path: Path, sha256: str) -> bool:
    """Whether this process found that hash before and nothing was written since. O(files)."""
    return _checked.get(path) == (sha256, _stamps(path))


def moved(before: Path, path: Path) -> None:
    """What was checked at `before` lies at `path` now."""
    known = _checked.pop(before, None)
    if known is not None:
        _checked[path] = (known[0], _stamps(path))


def _file(path: Path) -> Digest:
    with path.open("rb") as stream:
        return Digest(hashlib.file_digest(stream, "sha256").hexdigest(), path.stat().st_size, ())


def _folder(path: Path) -> Digest:
    whole, files = hashlib.sha256(), list[HashedFile]()
    for file in _files(path):
        name, size, own = file.relative_to(path).as_posix(), 0, hashlib.sha256()
        whole.update(f"{name}\0".encode())
        with file.open("rb") as stream:
            while block := stream.read(BLOCK):
                whole.update(block)
                own.update(block)
                size += len(block)
        files.append(HashedFile(name=name, size=size, sha256=own.hexdigest()))
    return Digest(whole.hexdigest(), sum(one["size"] for one in files), tuple(files))


def _files(path: Path) -> list[Path]:
    return sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]


def _stamps(path: Path) -> tuple[Stamp, ...]:
    told = [(str(one.relative_to(path)), one.stat()) for one in _files(path)]
    return tuple(Stamp(name, at.st_size, at.st_mtime_ns, at.st_ctime_ns, at.st_ino) for name, at in told)
