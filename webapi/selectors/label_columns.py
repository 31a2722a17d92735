"""The labels of the database as columns of numbers, kept in the process: read once, afterwards only what is new.

Every figure of agreement, over any filter, is then some arithmetic on arrays. Nothing is missed, because labels are
only ever added and only ever taken out of the count, never the reverse: how many there are, how many do not count, and
the newest key together say in which state the table is. One query asks for these each time. If they are what is held,
so are the labels. If not, the labels since a minute before the newest one held are read (a label may be committed
after a younger one), then since an hour and since a day before, until the numbers fit; withdrawn labels are looked for
when the count of those that do not count asks for it; and where the numbers still do not fit, all is read anew.

Each process holds its own columns and asks the database itself, so processes cannot disagree for longer than a query.
Within a process one thread reads, the others wait for it, and whoever computes does so on a snapshot that nobody
changes. A label takes about 70 bytes; at most `AGREEMENT_LABELS` are held, the newest.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Hashable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from django.conf import settings
from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from numpy.typing import NDArray

from webapi.models import Annotator, Batch, Label, Snippet, Source, SplitName
from webapi.models.base import first_id_at

WINDOWS = (timedelta(minutes=1), timedelta(hours=1), timedelta(days=1))
"""How far before the newest label that is held one looks for labels that were committed late."""
CHUNK = 20_000
FIELDS = (
    *("pk", "created_at", "snippet_id", "annotator_id", "task__batch_id"),
    *("choice", "revision", "counted", "task__gold_id"),
)
SPARE = 1.1
"""More labels than this many times the most are let grow before the oldest are dropped: that reads all anew."""
SOURCES = tuple(Source.values)
SPLITS = tuple(SplitName.values)
NO_CODE = -1
FEW = 5_000
"""Snippets up to this many are asked for by key."""
Keys = NDArray[np.bytes_]
Codes = NDArray[np.int32]
Small = NDArray[np.int16]
Moments = NDArray[np.int64]
Mask = NDArray[np.bool_]
Name = TypeVar("Name", bound=Hashable)


class State(NamedTuple):
    """What tells one state of the table of labels from another. Both counts only ever grow."""

    total: int
    uncounted: int
    newest: uuid.UUID | None


class Columns(NamedTuple):
    """The labels in one state of the database, gold and uncounted ones among them; `standing` says which are votes.

    Codes are places in the tuples at the end. Arrays of labels have one length, those of snippets another.
    """

    state: State
    floor: uuid.UUID | None
    """Labels up to this key are not held: there are too many. None where all are."""
    keys: Keys
    """(labels,), 16 bytes each."""
    times: Moments
    """(labels,), when each was given, in milliseconds since 1970. Not what its key says: keys made fast run ahead."""
    items: Codes
    """(labels,), codes of snippets."""
    annotators: Codes
    batches: Codes
    """`NO_CODE` for labels that came without a task."""
    choices: Small
    revisions: Small
    counted: Mask
    votes: Mask
    """Counted, and no answer to gold."""
    standing: Mask
    """Votes that no later answer of the same annotator replaced."""
    item_keys: Keys
    """(snippets,)."""
    item_policies: Small
    item_sources: Small
    """Codes in `SOURCES`."""
    item_splits: Small
    """Codes in `SPLITS`."""
    annotator_keys: tuple[uuid.UUID, ...]
    vendors: tuple[str, ...]
    """Of each annotator."""
    batch_keys: tuple[uuid.UUID, ...]
    rounds: tuple[uuid.UUID | None, ...]
    """Of each batch."""
    policy_keys: tuple[uuid.UUID, ...]
    choice_names: tuple[str, ...]

    @property
    def since(self) -> datetime | None:
        """From when on labels are held; None where all are."""
        return None if self.floor is None else _moment(self.floor)


EMPTY = Columns(
    state=State(0, 0, None),
    floor=None,
    keys=np.zeros(0, "S16"),
    times=np.zeros(0, np.int64),
    items=np.zeros(0, np.int32),
    annotators=np.zeros(0, np.int32),
    batches=np.zeros(0, np.int32),
    choices=np.zeros(0, np.int16),
    revisions=np.zeros(0, np.int16),
    counted=np.zeros(0, np.bool_),
    votes=np.zeros(0, np.bool_),
    standing=np.zeros(0, np.bool_),
    item_keys=np.zeros(0, "S16"),
    item_policies=np.zeros(0, np.int16),
    item_sources=np.zeros(0, np.int16),
    item_splits=np.zeros(0, np.int16),
    annotator_keys=(),
    vendors=(),
    batch_keys=(),
    rounds=(),
    policy_keys=(),
    choice_names=(),
)


class LabelColumns:
    """The columns that this process holds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: Columns | None = None

    def current(self) -> Columns:
        """The labels as they are now. O(new labels) besides one counting query; the first call reads them all."""
        held = self._held
        if held is not None and read_state(held.floor) == held.state:
            return held
        with self._lock:
            self._held = _load() if self._held is None else _refreshed(self._held)
            return self._held

    def forget(self) -> None:
        """Gives the memory back; the next call reads all labels."""
        with self._lock:
            self._held = None


COLUMNS = LabelColumns()


def read_state(floor: uuid.UUID | None) -> State:
    """The state of the table. One pass over it and a look into its index."""
    labels = _above(floor)
    counts = labels.aggregate(total=Count("*"), uncounted=Count("pk", filter=Q(counted=False)))
    newest = labels.order_by("-pk").values_list("pk", flat=True).first()
    return State(counts["total"], counts["uncounted"], newest)


def key_at(keys: Keys, place: int) -> uuid.UUID:
    """The key at a place. (`keys[place]` alone lacks the zeros at its end.)"""
    return uuid.UUID(bytes=bytes(keys[place]).ljust(16, b"\0"))


def packed(keys: Iterable[uuid.UUID]) -> Keys:
    """Keys as an array of 16 bytes each."""
    return np.frombuffer(b"".join([key.bytes for key in keys]), dtype="S16")


def _above(floor: uuid.UUID | None) -> QuerySet[Label]:
    labels = Label.objects.order_by()
    return labels if floor is None else labels.filter(pk__gt=floor)


def _moment(key: uuid.UUID) -> datetime:
    return datetime.fromtimestamp((key.int >> 80) / 1000, UTC)


def _heads(keys: Keys) -> NDArray[np.uint64]:
    return np.ascontiguousarray(keys).view(">u8")[::2].astype(np.uint64)


def _load() -> Columns:
    """All labels, or the newest `AGREEMENT_LABELS`."""
    floor = None
    if read_state(None).total > settings.AGREEMENT_LABELS:
        floor = Label.objects.order_by("-pk").values_list("pk", flat=True)[settings.AGREEMENT_LABELS]
    return _appended(EMPTY._replace(floor=floor), None)


def _refreshed(held: Columns) -> Columns:
    """The columns with what is new since, or all read anew where that cannot explain the table's state.

    A state is read before and one after: labels that others write meanwhile may be in the columns already, or not yet.
    """
    before = read_state(held.floor)
    if before == held.state:
        return held
    newest, most = held.state.newest, SPARE * settings.AGREEMENT_LABELS
    if newest is None or not _grew(held.state, before) or before.total > most:
        return _load()
    found = held
    for window in WINDOWS:
        found = _appended(found, first_id_at(_moment(newest) - window))
        if found.state.total >= before.total:
            break
    if found.state.uncounted < before.uncounted:
        found = _without_withdrawn(found)
    after = read_state(held.floor)
    fits = before.total <= found.state.total <= after.total
    return found if fits and before.uncounted <= found.state.uncounted <= after.uncounted else _load()


def _grew(held: State, now: State) -> bool:
    """Whether rows were only added since. Otherwise a transaction whose rows were read was rolled back."""
    counts = now.total >= held.total and now.uncounted >= held.uncounted
    return counts and Label.objects.filter(pk__in=[held.newest]).exists()


def _without_withdrawn(held: Columns) -> Columns:
    """The columns without the votes of labels that were taken out of the count since."""
    gone = _above(held.floor).filter(counted=False, withdrawn_at__isnull=False).values_list("pk", flat=True)
    places = list(_places(held.keys, packed(gone)).values())
    counted, votes = held.counted.copy(), held.votes.copy()
    counted[places] = votes[places] = False
    return _finished(held._replace(counted=counted, votes=votes))


def _appended(held: Columns, since: uuid.UUID | None) -> Columns:
    """The columns with the labels from the key `since` on that they do not hold yet. O(those labels)."""
    labels, known = _above(held.floor), set()
    if since is not None:
        labels = labels.filter(pk__gte=since)
        known = set(held.keys[_heads(held.keys) >= np.uint64(since.int >> 64)].tolist())
    annotators, batches = _Numbering(held.annotator_keys), _Numbering(held.batch_keys)
    choices = _Numbering(held.choice_names)
    parts: list[tuple[NDArray[Any], ...]] = []
    rows = labels.values_list(*FIELDS).iterator(chunk_size=CHUNK)
    while chunk := list(islice(rows, CHUNK)):
        fresh = [row for row in chunk if row[0].bytes.rstrip(b"\0") not in known] if known else chunk
        if not fresh:
            continue
        keys, times, items, who, where, said, revisions, counted, gold = zip(*fresh, strict=True)
        part = (
            packed(keys),
            np.array([time.timestamp() * 1000 for time in times]).astype(np.int64),
            packed(items),
            annotators.codes(who),
            batches.codes(where),
            choices.codes(said).astype(np.int16),
            np.array(revisions, np.int16),
            np.array(counted, np.bool_),
            np.array([one is None for one in gold], np.bool_),
        )
        parts.append(part)
    if not parts:
        return held
    new = [np.concatenate(column) for column in zip(*parts, strict=True)]
    held, codes = _with_snippets(held, new[2])
    return _finished(
        held._replace(
            keys=np.concatenate((held.keys, new[0])),
            times=np.concatenate((held.times, new[1])),
            items=np.concatenate((held.items, codes)),
            annotators=np.concatenate((held.annotators, new[3])),
            batches=np.concatenate((held.batches, new[4])),
            choices=np.concatenate((held.choices, new[5])),
            revisions=np.concatenate((held.revisions, new[6])),
            counted=np.concatenate((held.counted, new[7])),
            votes=np.concatenate((held.votes, new[7] & new[8])),
            annotator_keys=annotators.names(),
            vendors=held.vendors + _vendors(annotators.new()),
            batch_keys=batches.names(),
            rounds=held.rounds + _rounds(batches.new()),
            choice_names=choices.names(),
        )
    )


def _with_snippets(held: Columns, items: Keys) -> tuple[Columns, Codes]:
    """The columns with these snippets, and the snippets' codes."""
    distinct, inverse = np.unique(items, return_inverse=True)
    places = _places(held.item_keys, distinct)
    codes = np.array([places.get(key, NO_CODE) for key in distinct.tolist()], np.int32)
    new = np.flatnonzero(codes == NO_CODE)
    codes[new] = held.item_keys.size + np.arange(new.size)
    if new.size:
        held = _described(held, distinct[new])
    return held, codes[inverse].astype(np.int32)


def _described(held: Columns, new: Keys) -> Columns:
    """The columns with these new snippets' policy, source and split."""
    places = {key: place for place, key in enumerate(new.tolist())}
    policies = _Numbering(held.policy_keys)
    about = np.zeros((new.size, 3), np.int16)
    for key, policy, source, split in _snippets(new):
        place = places.get(key.bytes.rstrip(b"\0"))
        if place is not None:
            about[place] = policies.code(policy), SOURCES.index(source), SPLITS.index(split)
    return held._replace(
        item_keys=np.concatenate((held.item_keys, new)),
        item_policies=np.concatenate((held.item_policies, about[:, 0])),
        item_sources=np.concatenate((held.item_sources, about[:, 1])),
        item_splits=np.concatenate((held.item_splits, about[:, 2])),
        policy_keys=policies.names(),
    )


def _snippets(keys: Keys) -> Iterator[tuple[uuid.UUID, uuid.UUID, str, str]]:
    """Key, policy, source and split: of these snippets if they are few, else of all that have labels."""
    rows = Snippet.objects.order_by().values_list("pk", "policy_id", "source", "split")
    if keys.size <= FEW:
        return rows.filter(pk__in=[key_at(keys, place) for place in range(keys.size)]).iterator()
    return rows.filter(Exists(Label.objects.filter(snippet=OuterRef("pk")))).iterator(chunk_size=CHUNK)


def _vendors(keys: Sequence[uuid.UUID]) -> tuple[str, ...]:
    found = dict(Annotator.objects.filter(pk__in=keys).values_list("pk", "vendor"))
    return tuple(found[key] for key in keys)


def _rounds(keys: Sequence[uuid.UUID]) -> tuple[uuid.UUID | None, ...]:
    found = dict(Batch.objects.filter(pk__in=keys).values_list("pk", "round_id"))
    return tuple(found[key] for key in keys)


def _finished(columns: Columns) -> Columns:
    """With the state that they show, and the votes that stand."""
    heads = _heads(columns.keys)
    top = np.flatnonzero(heads == heads.max())
    newest = max(key_at(columns.keys, int(place)) for place in top)
    state = State(columns.keys.size, int((~columns.counted).sum()), newest)
    return columns._replace(state=state, standing=_standing(columns))


def _standing(columns: Columns) -> Mask:
    """Of the votes of an annotator on a snippet the latest. Most annotators change nothing: O(labels), no sort."""
    pairs = (columns.items.astype(np.int64) << 32) | columns.annotators
    changed = np.unique(pairs[columns.votes & (columns.revisions > 0)])
    standing = columns.votes.copy()
    if changed.size:
        places = np.flatnonzero(columns.votes & np.isin(pairs, changed))
        order = places[np.lexsort((columns.revisions[places], pairs[places]))]
        standing[order[:-1][pairs[order[:-1]] == pairs[order[1:]]]] = False
    return standing


def _places(keys: Keys, wanted: Keys) -> dict[bytes, int]:
    """Where each of the wanted keys that is there stands. The first halves of the keys leave few to compare."""
    if not keys.size or not wanted.size:
        return {}
    near = np.flatnonzero(np.isin(_heads(keys), _heads(wanted)))
    exact = set(wanted.tolist())
    found = zip(keys[near].tolist(), near.tolist(), strict=True)
    return {key: place for key, place in found if key in exact}


class _Numbering(Generic[Name]):
    """Codes of names in the order in which they came up; None has `NO_CODE`."""

    def __init__(self, known: Sequence[Name]) -> None:
        self._codes: dict[Name | None, int] = {name: code for code, name in enumerate(known)}
        self._known = len(known)

    def code(self, name: Name | None) -> int:
        """The name's code, a new one if need be."""
        return NO_CODE if name is None else self._codes.setdefault(name, len(self._codes))

    def codes(self, names: Sequence[Name | None]) -> Codes:
        """Of each name. O(names)."""
        table: dict[Name | None, int] = {name: self.code(name) for name in dict.fromkeys(names)}
        return np.fromiter(map(table.__getitem__, names), np.int32, count=len(names))

    def names(self) -> tuple[Any, ...]:
        """All names, in the order of their codes."""
        return tuple(self._codes)

    def new(self) -> tuple[Any, ...]:
        """Those that came up since the beginning."""
        return self.names()[self._known :]
