"""Stories from a folder of text files, one at a time."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from engine.errors import BadInput

MAX_STORY_BYTES = 50_000_000
"""A larger file is refused: one story at a time is held in memory."""


READ_AT_ONCE_BYTES = 100_000_000
"""Folders up to this size are read in about a second."""


class Story(NamedTuple):
    """A story as it was found. `name` is its path below the folder, with `/` between parts."""

    name: str
    text: str


def story_files(directory: Path) -> list[Path]:
    """All `*.txt` files in `directory` and below, sorted by name; hidden ones are left out.

    Raises BadInput when it is not a folder, cannot be read or holds no such file.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise BadInput("not a folder of stories" if directory.exists() else "no such folder", where=str(directory))
    if not os.access(directory, os.R_OK | os.X_OK):
        raise BadInput("may not be read by this user", where=str(directory))
    inside = (path for path in directory.rglob("*") if path.suffix.lower() == ".txt" and path.is_file())
    files = sorted(path for path in inside if not any(p.startswith(".") for p in path.relative_to(directory).parts))
    if not files:
        raise BadInput("holds no .txt file", where=str(directory))
    return files


def corpus_bytes(directory: Path) -> int:
    """Size of all stories together, to tell progress by. Raises BadInput as `story_files` does."""
    return sum(path.stat().st_size for path in story_files(directory))


def read_stories(
    directory: Path,
    *,
    max_bytes: int = MAX_STORY_BYTES,
    on_bad: Callable[[BadInput], None] | None = None,
    shuffled: int | None = None,
) -> Iterator[Story]:
    """The stories of a folder in order of name, read one by one: memory is that of the largest.

    With `shuffled`, a seed, in an order that depends on that and the names: a beginning of it is a fair sample.

    A file that is too large, cannot be read, holds a null byte or is not UTF-8 raises BadInput naming the file and the
    byte; with `on_bad` it is reported there and skipped. The folder and all sizes are checked at once, before the
    first story is read. If no file at all can be read, BadInput is raised at the end.
    """
    directory = Path(directory)
    files = story_files(directory)
    if on_bad is None:
        for path in files:
            _check_size(path, max_bytes)
    if shuffled is not None:
        files.sort(key=lambda path: _lot(shuffled, path.relative_to(directory).as_posix()))
    return _stories(directory, files, max_bytes, on_bad)


def read_story(directory: Path, name: str, *, max_bytes: int = MAX_STORY_BYTES) -> Story:
    """The story of that name in `directory`. Raises BadInput where it is not there or cannot be read."""
    return Story(name, _read(Path(directory) / name, max_bytes))


def check_stories(directory: Path, *, max_bytes: int = MAX_STORY_BYTES) -> None:
    """Raises BadInput for what `read_stories` would refuse. Of folders larger than READ_AT_ONCE_BYTES only the names
    and sizes of files are looked at, not what stands in them.
    """
    stories = read_stories(directory, max_bytes=max_bytes)
    if corpus_bytes(directory) <= READ_AT_ONCE_BYTES:
        for _ in stories:
            pass


def _stories(
    directory: Path, files: list[Path], max_bytes: int, on_bad: Callable[[BadInput], None] | None
) -> Iterator[Story]:
    good = 0
    for path in files:
        try:
            text = _read(path, max_bytes)
        except BadInput as error:
            if on_bad is None:
                raise
            on_bad(error)
            continue
        good += 1
        yield Story(path.relative_to(directory).as_posix(), text)
    if not good:
        raise BadInput(f"none of its {len(files)} .txt files could be read", where=str(directory))


def _lot(seed: int, name: str) -> bytes:
    return hashlib.blake2b(f"{seed}\x1f{name}".encode(errors="surrogatepass"), digest_size=16).digest()


def _check_size(path: Path, max_bytes: int) -> None:
    size = path.stat().st_size
    if size > max_bytes:
        raise BadInput(
            f"{size / 1e6:,.1f} MB, a story may have at most {max_bytes / 1e6:,.1f} MB; split it into several files",
            where=str(path),
        )


def _read(path: Path, max_bytes: int) -> str:
    try:
        _check_size(path, max_bytes)
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(error.strerror or str(error), where=str(path)) from error
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadInput("is UTF-16; save it as UTF-8", where=str(path))
    null = data.find(b"\x00")
    if null >= 0:
        raise BadInput(f"not a text file: null byte at byte {null}", where=str(path))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # utf-8-sig counts from after the byte order mark.
        offset = error.start + (3 if data.startswith(b"\xef\xbb\xbf") else 0)
        raise BadInput(f"not UTF-8: byte 0x{data[offset]:02x} at byte {offset}", where=str(path)) from error
