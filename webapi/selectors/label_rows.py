"""Labels read from the database as arrays, some ten thousand at a time.

PostgreSQL hands them over in its binary COPY format, of which numpy makes arrays without an object for each value: a
million in seconds. Other databases, and the few that are new, come as rows.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from django.db import connection
from numpy.typing import NDArray

from webapi.models import Label

CHUNK = 20_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NO_CODE = -1
NOBODY = uuid.UUID(int=0)
FIELDS = (
    *("pk", "created_at", "snippet_id", "annotator_id", "task__batch_id"),
    *("choice", "revision", "counted", "task__gold_id", "seconds"),
)
COPY = """
COPY (
    SELECT l.id, floor(extract(epoch FROM l.created_at) * 1000)::bigint, l.snippet_id, l.annotator_id,
        coalesce(t.batch_id, uuid '00000000-0000-0000-0000-000000000000'), md5(l.choice)::uuid, l.revision::int2,
        l.counted, t.gold_id IS NULL, coalesce(l.seconds, 'NaN')
    FROM webapi_label l LEFT JOIN webapi_task t ON t.id = l.task_id
    WHERE l.id > %s
) TO STDOUT (FORMAT BINARY)
"""
COPIED = (
    *(("keys", "S16"), ("times", ">i8"), ("snippets", "S16"), ("annotators", "S16"), ("batches", "S16")),
    *(("choices", "S16"), ("revisions", ">i2"), ("counted", "?"), ("plain", "?")),
    ("seconds", ">f8"),
)
"""The columns of `COPY`. None is ever null, so that all rows are of one width."""
HEADER = 19
TRAILER = 2
Keys = NDArray[np.bytes_]
Name = TypeVar("Name", bound=Hashable)


class Rows(NamedTuple):
    """Some labels, each array (labels,)."""

    keys: Keys
    times: NDArray[np.int64]
    """Milliseconds since 1970."""
    snippets: Keys
    annotators: NDArray[np.int32]
    batches: NDArray[np.int32]
    choices: NDArray[np.int16]
    revisions: NDArray[np.int16]
    counted: NDArray[np.bool_]
    plain: NDArray[np.bool_]
    """No answer to gold."""
    seconds: NDArray[np.float64]
    """How long the answer took; NaN where nobody said."""


class Numbering(Generic[Name]):
    """Codes of names in the order in which they came up; None has `NO_CODE`."""

    def __init__(self, known: Sequence[Name]) -> None:
        self._codes: dict[Name, int] = {name: code for code, name in enumerate(known)}
        self._known = len(known)

    def code(self, name: Name | None) -> int:
        """The name's code, a new one if need be."""
        return NO_CODE if name is None else self._codes.setdefault(name, len(self._codes))

    def codes(self, names: Sequence[Name | None]) -> NDArray[np.int32]:
        """Of each name. O(names)."""
        return mapped(names, {name: self.code(name) for name in dict.fromkeys(names)})

    def all(self) -> tuple[Name, ...]:
        """All names, in the order of their codes."""
        return tuple(self._codes)

    def new(self) -> tuple[Name, ...]:
        """Those that came up since the beginning."""
        return self.all()[self._known :]


class Names(NamedTuple):
    """What the codes of `Rows` stand for; reading adds to them."""

    annotators: Numbering[uuid.UUID]
    batches: Numbering[uuid.UUID]
    choices: Numbering[str]


def read_rows(
    names: Names, *, above: uuid.UUID | None, since: uuid.UUID | None, known: Collection[bytes]
) -> Iterator[Rows]:
    """The labels above one key and from another on (or all), without those whose keys are known. One query."""
    if since is None and connection.vendor == "postgresql":
        return _copied(names, above or NOBODY)
    return _selected(names, above, since, known)


def key_at(keys: Keys, place: int) -> uuid.UUID:
    """The key at a place. (`keys[place]` alone lacks the zeros at its end.)"""
    return key_of(bytes(keys[place]))


def key_of(name: bytes) -> uuid.UUID:
    """The key that an array gave as bytes."""
    return uuid.UUID(bytes=name.ljust(16, b"\0"))


def packed(keys: Iterable[uuid.UUID]) -> Keys:
    """Keys as an array of 16 bytes each."""
    return np.frombuffer(b"".join([key.bytes for key in keys]), dtype="S16")


def heads(keys: Keys) -> NDArray[np.uint64]:
    """The first half of each key as a number: quick to compare, and nearly always enough."""
    return np.ascontiguousarray(keys).view(">u8")[::2].astype(np.uint64)


def milliseconds(when: datetime) -> int:
    """Whole milliseconds since 1970. Exact: a moment before midnight stays on its day."""
    return (when - EPOCH) // timedelta(milliseconds=1)


def mapped(names: Sequence[Any], table: dict[Any, int]) -> NDArray[np.int32]:
    """The number of each name in the table."""
    return np.fromiter(map(table.__getitem__, names), np.int32, count=len(names))


def _selected(
    names: Names, above: uuid.UUID | None, since: uuid.UUID | None, known: Collection[bytes]
) -> Iterator[Rows]:
    labels = Label.objects.order_by()
    labels = labels if above is None else labels.filter(pk__gt=above)
    labels = labels if since is None else labels.filter(pk__gte=since)
    rows = labels.values_list(*FIELDS).iterator(chunk_size=CHUNK)
    while chunk := list(islice(rows, CHUNK)):
        fresh = [row for row in chunk if row[0].bytes.rstrip(b"\0") not in known] if known else chunk
        if not fresh:
            continue
        keys, times, snippets, who, where, said, revisions, counted, gold, took = zip(*fresh, strict=True)
        yield Rows(
            keys=packed(keys),
            times=np.array([milliseconds(time) for time in times], np.int64),
            snippets=packed(snippets),
            annotators=names.annotators.codes(who),
            batches=names.batches.codes(where),
            choices=names.choices.codes(said).astype(np.int16),
            revisions=np.array(revisions, np.int16),
            counted=np.array(counted, np.bool_),
            plain=np.array([one is None for one in gold], np.bool_),
            seconds=np.array(took, np.float64),
        )


def _copied(names: Names, above: uuid.UUID) -> Iterator[Rows]:
    found = list(_parsed(above))
    # Asked for after the labels, so that every choice of theirs is among them.
    choices = Label.objects.order_by().values_list("choice", flat=True).distinct()
    by_digest = {hashlib.md5(choice.encode(), usedforsecurity=False).digest(): choice for choice in choices}
    for rows in found:
        said = rows["choices"].tolist()
        yield Rows(
            keys=rows["keys"].copy(),
            times=rows["times"].astype(np.int64),
            snippets=rows["snippets"].copy(),
            annotators=_numbered(names.annotators, rows["annotators"]),
            batches=_numbered(names.batches, rows["batches"]),
            choices=mapped(
                said, {name: names.choices.code(by_digest[key_of(name).bytes]) for name in dict.fromkeys(said)}
            ).astype(np.int16),
            revisions=rows["revisions"].astype(np.int16),
            counted=rows["counted"].copy(),
            plain=rows["plain"].copy(),
            seconds=rows["seconds"].astype(np.float64),
        )


def _parsed(above: uuid.UUID) -> Iterator[NDArray[np.void]]:
    """The rows of `COPY`: each is two bytes, then for each field four bytes with its length before it."""
    formats = [np.dtype(kind) for _, kind in COPIED]
    offsets = np.cumsum([2 + 4, *(one.itemsize + 4 for one in formats[:-1])]).tolist()
    width = offsets[-1] + formats[-1].itemsize
    layout = np.dtype(
        {"names": [name for name, _ in COPIED], "formats": formats, "offsets": offsets, "itemsize": width}
    )
    waiting, skipped = bytearray(), False
    with connection.cursor() as cursor, cursor.copy(COPY, [above]) as copy:
        for block in copy:
            waiting += block
            if not skipped and len(waiting) >= HEADER:
                del waiting[:HEADER]
                skipped = True
            whole = (len(waiting) - TRAILER) // width
            if whole >= CHUNK:
                yield np.frombuffer(bytes(waiting[: whole * width]), dtype=layout)
                del waiting[: whole * width]
    whole = (len(waiting) - TRAILER) // width
    if whole > 0:
        yield np.frombuffer(bytes(waiting[: whole * width]), dtype=layout)


def _numbered(numbering: Numbering[uuid.UUID], keys: Keys) -> NDArray[np.int32]:
    found = keys.tolist()
    table = {name: numbering.code(key_of(name) if name else None) for name in dict.fromkeys(found)}
    return mapped(found, table)
