"""Finished requests on disk, so that nothing is paid for twice."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from engine.endpoints.ledger import Payment
from engine.errors import GeneratorError


class Kept(NamedTuple):
    """A finished request."""

    name: str
    """The request's hash."""
    texts: list[str]
    payment: Payment | None
    """Who paid how much; None where the file does not say."""


@dataclass(frozen=True, slots=True)
class RequestCache:
    """One small JSON file a request, named by the request's hash; and by owner, empty files that name what it paid for.

    Safe for any number of threads and processes on one file system: a file appears whole or not at all, and the first
    answer written stays. A file that cannot be read counts as not there.
    """

    directory: Path

    def check(self) -> None:
        """Raises GeneratorError, not permanent, where the folder cannot be written: before anything is paid for."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.directory):
                pass
        except OSError as error:
            raise self._refusal(error) from error

    def get(self, request: Mapping[str, object]) -> Kept | None:
        """The answer to an equal request before, or None."""
        return self._read(name_of(request))

    def put(self, request: Mapping[str, object], texts: Sequence[str], payment: Payment | None = None) -> Kept:
        """Keep the answer to a request; gives back the one kept, which is another process's when that was first.

        Raises GeneratorError, not permanent, when the disk does not take it.
        """
        name = name_of(request)
        content = {"request": request, "texts": list(texts), "paid": payment and payment._asdict()}
        try:
            if payment is not None and payment.owner:
                # Before the answer: whoever is killed between the two leaves a name without a file, which is no harm.
                mark = self._marks(payment.owner) / name
                mark.parent.mkdir(parents=True, exist_ok=True)
                mark.touch()
            self._write(self._path(name), content, readable=self._read(name) is not None)
        except OSError as error:
            raise self._refusal(error) from error
        return self._read(name) or Kept(name, list(texts), payment)

    def paid_by(self, owner: str) -> Iterator[Kept]:
        """All that `owner` paid for, in no order. O(requests paid), a file each."""
        marks = self._marks(owner)
        for name in os.listdir(marks) if marks.is_dir() else []:
            kept = self._read(name)
            if kept is not None and kept.payment is not None and kept.payment.owner == owner:
                yield kept

    def _read(self, name: str) -> Kept | None:
        try:
            found = json.loads(self._path(name).read_text(encoding="utf-8"))
            texts = found["texts"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            return None
        return Kept(name, texts, _payment(found.get("paid")))

    def _write(self, path: Path, content: Mapping[str, object], *, readable: bool) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(content, file, ensure_ascii=False)
            _publish(part, path, readable=readable)
        finally:
            Path(part).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self.directory / name[:2] / f"{name}.json"

    def _marks(self, owner: str) -> Path:
        return self.directory / "owners" / hashlib.sha256(owner.encode()).hexdigest()

    def _refusal(self, error: OSError) -> GeneratorError:
        problem = error.strerror or str(error)
        return GeneratorError(f"cannot keep an answer in {self.directory}: {problem}", permanent=False)


def name_of(request: Mapping[str, object]) -> str:
    """The request's name: SHA-256 of its canonical JSON."""
    canonical = json.dumps(request, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _payment(plain: Any) -> Payment | None:
    """A file's payment; None for files from before there were any."""
    try:
        return Payment(**plain)
    except TypeError:
        return None


def _publish(part: str, path: Path, *, readable: bool) -> None:
    """Give a finished file its name, unless a readable one has it."""
    if readable:
        return
    try:
        os.link(part, path)
    except FileExistsError:
        # Either another process was first a moment ago, or what lies there is broken; both are mended by replacing
        # it only when it does not parse.
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            os.replace(part, path)
    except OSError:
        # A file system without hard links: last one wins there.
        os.replace(part, path)
