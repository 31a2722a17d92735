"""Where artifacts are kept besides this machine's disk: nowhere, or in an S3-compatible bucket.

A file is one object and appears whole or not at all. Of a folder, the manifest comes last and is what makes it there:
who died in mid-upload leaves files without one, which nobody reads and the next attempt goes on with.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from engine.errors import StoreError
from workers.hashing import Digest, HashedFile

MANIFEST = ".manifest.json"
"""After a folder's key."""
ABSENT = frozenset({"404", "NoSuchKey", "NotFound"})


class NotStored(StoreError):
    """The store does not hold it (yet)."""


class S3Store:
    """A bucket, under a prefix; keys are the artifacts' paths under `GAUNTLET_HOME`.

    Address, region and keys come from the environment, as boto3 has it: `AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, ….
    """

    def __init__(self, bucket: str, prefix: str) -> None:
        self.bucket, self.prefix = bucket, prefix
        self._client: Any = None

    def keep(self, path: Path, name: str, found: Digest) -> None:
        """Uploads a file or folder as `name`, whole or not at all. What is there already is not sent again."""
        with _told(name):
            if path.is_file():
                self._send(path, name, found.sha256)
                return
            manifest = self._manifest(name)
            if manifest is not None and manifest["sha256"] == found.sha256:
                return
            if manifest is not None:  # readers see nothing rather than a mixture of two
                self._s3.delete_object(Bucket=self.bucket, Key=self._key(name) + MANIFEST)
            for one in found.files:
                self._send(path / one["name"], f"{name}/{one['name']}", one["sha256"])
            body = json.dumps({"sha256": found.sha256, "size": found.size, "files": list(found.files)})
            self._s3.put_object(Bucket=self.bucket, Key=self._key(name) + MANIFEST, Body=body.encode())

    def fetch(self, name: str, to: Path) -> None:
        """Downloads a file or folder to `to`, which is not there yet. Raises NotStored. The caller verifies it."""
        with _told(name):
            manifest = self._manifest(name)
            if manifest is None:
                self._s3.download_file(self.bucket, self._key(name), str(to))
                return
            to.mkdir(parents=True)
            files: list[HashedFile] = manifest["files"]
            for one in files:
                file = (to / one["name"]).resolve()
                if not file.is_relative_to(to.resolve()):
                    raise StoreError(f"{name}: its manifest names a file outside of it", permanent=True)
                file.parent.mkdir(parents=True, exist_ok=True)
                self._s3.download_file(self.bucket, self._key(f"{name}/{one['name']}"), str(file))

    @property
    def _s3(self) -> Any:
        if self._client is None:
            import boto3  # only where there is a bucket

            self._client = boto3.client("s3")
        return self._client

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name

    def _send(self, file: Path, name: str, sha256: str) -> None:
        if self._held(name) == sha256:
            return
        self._s3.upload_file(str(file), self.bucket, self._key(name), ExtraArgs={"Metadata": {"sha256": sha256}})

    def _held(self, name: str) -> str | None:
        """The hash of the object as whoever sent it said; None where there is none."""
        from botocore.exceptions import ClientError

        try:
            return self._s3.head_object(Bucket=self.bucket, Key=self._key(name))["Metadata"].get("sha256")
        except ClientError as error:
            if _code(error) in ABSENT:
                return None
            raise

    def _manifest(self, name: str) -> dict[str, Any] | None:
        from botocore.exceptions import ClientError

        try:
            answer = self._s3.get_object(Bucket=self.bucket, Key=self._key(name) + MANIFEST)
        except ClientError as error:
            if _code(error) in ABSENT:
                return None
            raise
        found: dict[str, Any] = json.loads(answer["Body"].read())
        return found


def store() -> S3Store | None:
    """The store that `GAUNTLET_STORE` names; None where artifacts stay on this machine's disk."""
    return _store_at(settings.GAUNTLET_STORE) if settings.GAUNTLET_STORE else None


@cache
def _store_at(address: str) -> S3Store:
    parts = urlsplit(address)
    return S3Store(parts.netloc, parts.path.strip("/"))


@contextmanager
def _told(name: str) -> Iterator[None]:
    """What went wrong at the store, in one kind of error that says whether trying again helps."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        if _code(error) in ABSENT:
            raise NotStored(f"{name} is not in the store") from error
        raise StoreError(f"{name}: {error}") from error
    except (BotoCoreError, Boto3Error) as error:
        raise StoreError(f"{name}: {error}") from error


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
