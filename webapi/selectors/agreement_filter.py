"""Which labels a figure of agreement is about, and the parts they fall into, as arithmetic on the columns of labels."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.aggregation import VoteTable
from webapi.models import Batch
from webapi.selectors.label_columns import SOURCES, SPLITS, Columns, Mask
from webapi.selectors.label_rows import EPOCH, NO_CODE, milliseconds

DAY_MS = 86_400_000
MOST_DAYS = 92
"""Longer stretches are shown by week."""
NO_VENDOR = "none"
"""The vendor of people with an account here."""
Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class AgreementFilter:
    """Which labels of a policy are meant; None leaves nothing out."""

    policy: uuid.UUID
    batch: uuid.UUID | None = None
    round: uuid.UUID | None = None
    source: str | None = None
    split: str | None = None
    vendor: str | None = None
    """Only labels by this vendor's annotators; `none`: by people with an account here."""
    annotator: uuid.UUID | None = None
    """Only snippets that this annotator judged, with everybody's labels of them."""
    since: datetime | None = None
    until: datetime | None = None
    """Labels given before this time."""


class Parts(NamedTuple):
    """A part for each label, and what the parts are called, in the order in which they are shown."""

    by: str
    codes: Codes
    names: tuple[str, ...]


def matching(columns: Columns, which: AgreementFilter, choices: Sequence[str]) -> Mask:
    """The votes that are meant, replaced ones among them, with an answer among `choices`. (labels,); O(labels)."""
    chosen = columns.votes & _of(columns.item_policies, _places(columns.policy_keys, which.policy))[columns.items]
    chosen &= _answers(columns, choices)[columns.choices] >= 0
    if which.batch is not None:
        chosen &= _of(columns.batches, _places(columns.batch_keys, which.batch))
    if which.round is not None:
        chosen &= _of(columns.batches, _places(columns.rounds, which.round))
    if which.source is not None:
        chosen &= _of(columns.item_sources, _places(SOURCES, which.source))[columns.items]
    if which.split is not None:
        chosen &= _of(columns.item_splits, _places(SPLITS, which.split))[columns.items]
    if which.vendor is not None:
        vendor = "" if which.vendor == NO_VENDOR else which.vendor
        chosen &= _of(columns.annotators, _places(columns.vendors, vendor))
    if which.since is not None:
        chosen &= columns.times >= milliseconds(which.since)
    if which.until is not None:
        chosen &= columns.times < milliseconds(which.until)
    if which.annotator is not None:
        theirs = chosen & _of(columns.annotators, _places(columns.annotator_keys, which.annotator))
        judged = np.zeros(columns.item_keys.size, np.bool_)
        judged[columns.items[theirs & columns.standing]] = True
        chosen &= judged[columns.items]
    return chosen


def table_of(columns: Columns, chosen: Mask, choices: Sequence[str]) -> VoteTable:
    """The chosen votes as the engine takes them; items are codes of snippets in `columns`. O(labels)."""
    return VoteTable(
        items=columns.items[chosen].astype(np.int64),
        annotators=columns.annotators[chosen].astype(np.int64),
        answers=_answers(columns, choices)[columns.choices[chosen]],
        staff=np.zeros(int(chosen.sum()), np.bool_),
        n_items=columns.item_keys.size,
        choices=tuple(choices),
    )


def parts_of(columns: Columns, chosen: Mask, by: str) -> Parts:
    """The parts that the chosen votes fall into, by a key of `PARTS`. Raises KeyError for another. O(labels)."""
    return PARTS[by](columns, chosen)


def _by_day(columns: Columns, chosen: Mask) -> Parts:
    """By the day (UTC) of the snippet's latest vote, so that a snippet is in one part with all its votes.

    By the week from Monday on, where the votes span more than `MOST_DAYS` days.
    """
    items, days = columns.items[chosen], columns.times[chosen] // DAY_MS
    by = "day"
    if days.size and days.max() - days.min() >= MOST_DAYS:
        by, days = "week", (days + 3) // 7 * 7 - 3  # 1970 began on a Thursday
    if not days.size:
        return Parts(by, days, ())
    first = int(days.min())
    latest = np.zeros(columns.item_keys.size, np.int64)
    np.maximum.at(latest, items, days - first)
    codes = latest[items]
    found = np.flatnonzero(np.bincount(codes))
    places = np.zeros(int(found[-1]) + 1, np.int64)
    places[found] = np.arange(found.size)
    names = (str((EPOCH + timedelta(days=first + int(day))).date()) for day in found)
    return Parts(by, places[codes], tuple(names))


def _by_batch(columns: Columns, chosen: Mask) -> Parts:
    names = dict(Batch.objects.filter(pk__in=columns.batch_keys).values_list("pk", "name"))
    return _named("batch", columns.batches[chosen], [names[key] for key in columns.batch_keys])


def _by_vendor(columns: Columns, chosen: Mask) -> Parts:
    known = sorted(set(columns.vendors))
    codes = np.array([known.index(vendor) for vendor in columns.vendors], np.int64)
    return _named("vendor", codes[columns.annotators[chosen]], [name or NO_VENDOR for name in known])


def _by_source(columns: Columns, chosen: Mask) -> Parts:
    return _named("source", columns.item_sources[columns.items[chosen]], SOURCES)


def _by_split(columns: Columns, chosen: Mask) -> Parts:
    return _named("split", columns.item_splits[columns.items[chosen]], SPLITS)


PARTS: Mapping[str, Callable[[Columns, Mask], Parts]] = {
    "day": _by_day,
    "batch": _by_batch,
    "vendor": _by_vendor,
    "source": _by_source,
    "split": _by_split,
}
"""The ways in which votes can be told apart."""


def _named(by: str, codes: NDArray[Any], names: Sequence[str]) -> Parts:
    """Only the parts that have votes."""
    found, compact = np.unique(codes, return_inverse=True)
    return Parts(by, compact, tuple("none" if code == NO_CODE else names[code] for code in found.tolist()))


def _answers(columns: Columns, choices: Sequence[str]) -> Codes:
    """The place among `choices` of each name of a choice; -1 for those of other policies."""
    return np.array([choices.index(name) if name in choices else -1 for name in columns.choice_names], np.int64)


def _places(names: Sequence[Any], wanted: object) -> NDArray[np.int64]:
    return np.array([code for code, name in enumerate(names) if name == wanted], np.int64)


def _of(codes: NDArray[Any], wanted: NDArray[np.int64]) -> Mask:
    return codes == wanted[0] if wanted.size == 1 else np.isin(codes, wanted)
