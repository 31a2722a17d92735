"""Which encoder made an embedding: vectors of two versions must never be compared."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from huggingface_hub import snapshot_download

from engine.classifiers.encoders import resolve
from engine.errors import MissingModel

READ: Final = ("*.safetensors", "*.json", "vocab.txt", "merges.txt", "*.model")
"""What decides an encoder's vectors: weights, settings and tokenizer, in its folder and the folders of its parts."""


def encoder_version(name: str, precision: str) -> str:
    """A hash of the encoder's weights, settings and tokenizer, and of the precision it runs at; 64 hex digits.

    Of a name on the hub what was fetched is read; raises MissingModel where nothing was. O(bytes of it): a tenth of a
    second for MiniLM.
    """
    folder = _folder(name)
    digest = hashlib.sha256(precision.encode())
    files = {file for pattern in READ for file in folder.rglob(pattern)}
    for file in sorted(files, key=lambda file: file.relative_to(folder).as_posix()):
        digest.update(f"\0{file.relative_to(folder).as_posix()}\0".encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _folder(name: str) -> Path:
    source = resolve(name)
    if Path(source).is_dir():
        return Path(source)
    try:
        return Path(snapshot_download(source, local_files_only=True, allow_patterns=list(READ)))
    except (OSError, ValueError) as error:
        raise MissingModel(f"the files of encoder {name!r} are not on this machine: {error}") from error
