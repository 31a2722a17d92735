"""The labels of the database as columns of numbers, kept in the process: read once, afterwards only what is new.

Every figure of agreement, over any filter, is then some arithmetic on arrays. Nothing is missed, because labels are
only ever added and only ever taken out of the count, never the reverse: how many there are, how many do not count, and
the newest key together say in which state the table is. One query asks for these each time. If they are what is held,
so are the labels. If not, the labels since a minute before the newest one held are read (a label may be committed
after a younger one), then since an hour and since a day before, until the numbers fit; withdrawn labels are looked for
when the count of those that do not count asks for it; and where the numbers still do not fit, all is read anew.

Each process holds its own columns and asks the database itself, so processes cannot disagree for longer than a query.
Within a process one thread reads, the others wait for it, and whoever computes does so on a snapshot that nobody
changes. A label takes about 80 bytes; at most `AGREEMENT_LABELS` are held, the newest.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
from django.conf import settings
from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from numpy.typing import NDArray

from webapi.models import Annotator, Batch, Label, Snippet, Source, SplitName
from webapi.models.base import first_id_at
from webapi.selectors.label_rows import CHUNK, Keys, Names, Numbering, Rows, heads, key_at, packed, read_rows

WINDOWS = (timedelta(minutes=1), timedelta(hours=1), timedelta(days=1))
"""How far before the newest label that is held one looks for labels that were committed late."""
SPARE = 1.1
"""More labels than this many times the most are let grow before the oldest are dropped: that reads all anew."""
SOURCES = tuple(Source.values)
SPLITS = tuple(SplitName.values)
FEW = 5_000
"""Snippets up to this many are asked for by key."""
Codes = NDArray[np.int32]
Small = NDArray[np.int16]
Moments = NDArray[np.int64]
Mask = NDArray[np.bool_]


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
    """(labels,), when each was given, in milliseconds since 1970. Not what its key says: that is when it was begun."""
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
    seconds: NDArray[np.float64]
    """How long each answer took; NaN where nobody said."""
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
    seconds=np.zeros(0, np.float64),
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
        state = None if held is None else read_state(held.floor)
        if held is not None and state == held.state:
            return held
        with self._lock:
            if self._held is None:
                self._held = _load()
            elif self._held is held and state is not None:
                self._held = _refreshed(held, state)
            else:  # another thread read while this one waited
                self._held = _refreshed(self._held, read_state(self._held.floor))
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


def _above(floor: uuid.UUID | None) -> QuerySet[Label]:
    labels = Label.objects.order_by()
    return labels if floor is None else labels.filter(pk__gt=floor)


def _moment(key: uuid.UUID) -> datetime:
    return datetime.fromtimestamp((key.int >> 80) / 1000, UTC)


def _load() -> Columns:
    """All labels, or the newest `AGREEMENT_LABELS`."""
    floor = None
    if read_state(None).total > settings.AGREEMENT_LABELS:
        floor = Label.objects.order_by("-pk").values_list("pk", flat=True)[settings.AGREEMENT_LABELS]
    return _appended(EMPTY._replace(floor=floor), None)


def _refreshed(held: Columns, before: State) -> Columns:
    """The columns with what is new since, or all read anew where that cannot explain the table's state.

    The state `before` was read before. Labels that others write meanwhile may be in the columns already, or not yet:
    then another is read after, and what was found must lie between the two.
    """
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
    if found.state == before:
        return found
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
    known: set[bytes] = set()
    if since is not None:
        known = set(held.keys[heads(held.keys) >= np.uint64(since.int >> 64)].tolist())
    names = Names(Numbering(held.annotator_keys), Numbering(held.batch_keys), Numbering(held.choice_names))
    parts = list(read_rows(names, above=held.floor, since=since, known=known))
    if not parts:
        return held
    new = Rows(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    held, codes = _with_snippets(held, new.snippets)
    return _finished(
        held._replace(
            keys=np.concatenate((held.keys, new.keys)),
            times=np.concatenate((held.times, new.times)),
            items=np.concatenate((held.items, codes)),
            annotators=np.concatenate((held.annotators, new.annotators)),
            batches=np.concatenate((held.batches, new.batches)),
            choices=np.concatenate((held.choices, new.choices)),
            revisions=np.concatenate((held.revisions, new.revisions)),
            counted=np.concatenate((held.counted, new.counted)),
            votes=np.concatenate((held.votes, new.counted & new.plain)),
            seconds=np.concatenate((held.seconds, new.seconds)),
            annotator_keys=names.annotators.all(),
            vendors=held.vendors + _vendors(names.annotators.new()),
            batch_keys=names.batches.all(),
            rounds=held.rounds + _rounds(names.batches.new()),
            choice_names=names.choices.all(),
        )
    )


def _with_snippets(held: Columns, items: Keys) -> tuple[Columns, Codes]:
    """The columns with these snippets, and the snippets' codes."""
    names = items.tolist()
    distinct = list(dict.fromkeys(names))
    codes = _places(held.item_keys, np.array(distinct, "S16"))
    new = [name for name in distinct if name not in codes]
    codes.update(zip(new, range(held.item_keys.size, held.item_keys.size + len(new)), strict=True))
    if new:
        held = _described(held, np.array(new, "S16"))
    return held, np.fromiter(map(codes.__getitem__, names), np.int32, count=len(names))


def _described(held: Columns, new: Keys) -> Columns:
    """The columns with these new snippets' policy, source and split."""
    places = {key: place for place, key in enumerate(new.tolist())}
    policies = Numbering(held.policy_keys)
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
        policy_keys=policies.all(),
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
    halves = heads(columns.keys)
    top = np.flatnonzero(halves == halves.max())
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
    near = np.flatnonzero(np.isin(heads(keys), heads(wanted)))
    exact = set(wanted.tolist())
    found = zip(keys[near].tolist(), near.tolist(), strict=True)
    return {key: place for key, place in found if key in exact}
