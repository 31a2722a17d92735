"""Dataset snapshots handed out: their files, and the labels that they rest on."""

from __future__ import annotations

import csv
import uuid
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from django.conf import settings
from django.core.signing import BadSignature, SignatureExpired, TimestampSigner
from django.http import Http404
from django.shortcuts import get_object_or_404

from engine.classifiers.composing import Row
from webapi.errors import DomainError
from webapi.models import DatasetSnapshot, Label
from workers.artifacts import verified, writing
from workers.snapshots import read_snapshot
from workers.store import NotStored

Format = Literal["parquet", "csv"]
T = TypeVar("T")
_SIGNER = TimestampSigner(salt="snapshot")


class Led(NamedTuple):
    """A row of a manifest, and the labels that were there when it was made, oldest first."""

    number: int
    row: Row
    labels: list[Label]


class LedPage(NamedTuple):
    """Some rows in order, and where the next page begins, None after the last."""

    rows: list[Led]
    next: int | None


def snapshot_file(snapshot: DatasetSnapshot, file_format: Format) -> Path:
    """The manifest as a file; as CSV it is written at the first time of asking.

    Raises DomainError `artifact_gone`, and Damaged or BadInput for a file that is not what was written.
    """
    if file_format == "parquet":
        return _stored(lambda: verified(snapshot.artifact))
    table = Path(settings.GAUNTLET_HOME) / "snapshots" / "csv" / f"{snapshot.pk}.csv"
    if not table.is_file():
        rows = _stored(lambda: read_snapshot(snapshot))
        with writing(table) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(Row._fields)
            writer.writerows(rows)
    return table


def snapshot_signature(snapshot: DatasetSnapshot) -> str:
    """What opens the manifest without a token, for `EXPORT_LINK_SECONDS`."""
    return _SIGNER.sign(str(snapshot.pk)).removeprefix(f"{snapshot.pk}:")


def snapshot_signed(*, key: uuid.UUID, signature: str) -> DatasetSnapshot:
    """The snapshot that the signature opens. Raises Http404, and DomainError `link_expired` for what was right once."""
    try:
        _SIGNER.unsign(f"{key}:{signature}", max_age=settings.EXPORT_LINK_SECONDS)
    except SignatureExpired as error:
        raise DomainError("link_expired", "The link has expired; read the snapshot again for a new one.") from error
    except BadSignature as error:
        raise Http404 from error
    return get_object_or_404(DatasetSnapshot.objects.select_related("artifact"), pk=key)


def snapshot_labels(snapshot: DatasetSnapshot, *, start: int, limit: int) -> LedPage:
    """The labels and annotators behind the rows from number `start` on. O(rows) to read the file, one query."""
    rows = _stored(lambda: read_snapshot(snapshot))
    page = rows[start : start + limit]
    given = Label.objects.filter(snippet__in=[row.snippet_id for row in page], created_at__lte=snapshot.created_at)
    by_snippet: dict[str, list[Label]] = defaultdict(list)
    for label in given.select_related("annotator").order_by("pk"):
        by_snippet[str(label.snippet_id)].append(label)
    led = [Led(start + i, row, by_snippet[row.snippet_id]) for i, row in enumerate(page)]
    return LedPage(led, start + limit if start + limit < len(rows) else None)


def _stored(read: Callable[[], T]) -> T:
    try:
        return read()
    except NotStored as error:
        raise DomainError("artifact_gone", "The manifest is no longer in the store.") from error
