"""Finished requests on disk, so that nothing is paid for twice."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import GeneratorError


@dataclass(frozen=True, slots=True)
class RequestCache:
    """One small JSON file a request, named by the request's hash.

    Safe for any number of threads and processes on one file system: a file appears whole or not at all, and the first
    answer written stays. A file that cannot be read counts as not there.
    """

    directory: Path

    def get(self, request: Mapping[str, object]) -> list[str] | None:
        """The texts answered to an equal request before, or None."""
        try:
            found = json.loads(self._path(request).read_text(encoding="utf-8"))
            texts = found["texts"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return texts if isinstance(texts, list) and all(isinstance(t, str) for t in texts) else None

    def put(self, request: Mapping[str, object], texts: Sequence[str]) -> list[str]:
        """Keep the answer to a request; gives back the one kept, which is another process's when that was first.

        Raises GeneratorError, not permanent, when the disk does not take it.
        """
        path = self._path(request)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    json.dump({"request": request, "texts": list(texts)}, file, ensure_ascii=False)
                _publish(name, path, readable=self.get(request) is not None)
            finally:
                Path(name).unlink(missing_ok=True)
        except OSError as error:
            problem = error.strerror or str(error)
            raise GeneratorError(f"cannot keep an answer in {self.directory}: {problem}", permanent=False) from error
        kept = self.get(request)
        return list(texts) if kept is None else kept

    def _path(self, request: Mapping[str, object]) -> Path:
        canonical = json.dumps(request, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        name = hashlib.sha256(canonical.encode()).hexdigest()
        return self.directory / name[:2] / f"{name}.json"


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
