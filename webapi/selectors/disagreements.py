"""The snippets on which annotators differ, a page at a time, with what each of them said."""

from __future__ import annotations

import base64
import uuid
from collections import defaultdict
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.aggregation import VoteTable
from webapi.errors import DomainError
from webapi.models import Annotator, Label, Policy, Snippet
from webapi.selectors.agreement_filter import AgreementFilter, matching, table_of
from webapi.selectors.label_columns import COLUMNS, Columns
from webapi.selectors.label_rows import key_at


class Dispute(NamedTuple):
    """A snippet whose annotators differ, with its votes per choice in the order of the policy's choices."""

    snippet_id: str
    completion: str
    counts: tuple[int, ...]
    disagreeing: float
    """Share of its pairs of votes that differ, in (0, 1]."""
    consensus: str


class Said(NamedTuple):
    """One annotator's standing answer."""

    label: str
    annotator_id: str
    annotator: str
    simulated: bool
    staff: bool
    choice: str
    note: str
    flagged: bool
    created_at: str


class Disagreement(NamedTuple):
    """A snippet in dispute with all who judged it, the most severe answers first."""

    snippet: Snippet
    counts: dict[str, int]
    disagreeing: float
    consensus: str
    labels: tuple[Said, ...]


class Page(NamedTuple):
    """Some snippets in dispute, and where to go on."""

    total: int
    rows: tuple[Disagreement, ...]
    next: str | None
    previous: str | None


class _Ranked(NamedTuple):
    """Snippets in dispute by their codes, the most disputed first, then those with most votes, then by key."""

    items: NDArray[np.int64]
    counts: NDArray[np.int64]
    shares: NDArray[np.float64]


def disputes(columns: Columns, table: VoteTable, *, first: int) -> list[Dispute]:
    """The first few snippets in dispute, without who said what. O(votes); one query."""
    ranked = _ranked(columns, table)
    keys = [key_at(columns.item_keys, item) for item in ranked.items[:first].tolist()]
    rows = Snippet.objects.select_related("consensus").in_bulk(keys)
    return [
        Dispute(
            str(key),
            rows[key].completion,
            tuple(ranked.counts[place].tolist()),
            float(ranked.shares[place]),
            _consensus(rows[key]),
        )
        for place, key in enumerate(keys)
    ]


def disagreements(policy: Policy, which: AgreementFilter, *, cursor: str = "", size: int = 50) -> Page:
    """Snippets on which the labels that `which` leaves differ, from a page's `next` or `previous` on.

    A cursor names a place in the order, not a number: labels that come meanwhile move nobody's page. Raises DomainError
    `invalid_cursor`. O(labels); two queries.
    """
    columns, choices = COLUMNS.current(), policy.rules.choices
    chosen = matching(columns, which, choices) & columns.standing
    ranked = _ranked(columns, table_of(columns, chosen, choices))
    start = 0
    if cursor:
        backwards, place = _place(columns, ranked, cursor)
        start = max(0, place - size) if backwards else place
    page = slice(start, start + size)
    keys = [key_at(columns.item_keys, item) for item in ranked.items[page].tolist()]
    rows = Snippet.objects.select_related("consensus").in_bulk(keys)
    said = _said(columns, np.flatnonzero(chosen & np.isin(columns.items, ranked.items[page])))
    found = (
        Disagreement(
            snippet=rows[key],
            counts=dict(zip(choices, ranked.counts[start + offset].tolist(), strict=True)),
            disagreeing=float(ranked.shares[start + offset]),
            consensus=_consensus(rows[key]),
            labels=tuple(sorted(said[key], key=lambda one: (choices.index(one.choice), one.created_at, one.label))),
        )
        for offset, key in enumerate(keys)
    )
    total = ranked.items.size
    return Page(
        total,
        tuple(found),
        _cursor("f", columns, ranked, start + size) if start + size < total else None,
        _cursor("b", columns, ranked, start) if 0 < start < total else None,
    )


def _ranked(columns: Columns, table: VoteTable) -> _Ranked:
    counts = table.counts()
    votes = counts.sum(axis=1)
    items = np.flatnonzero((counts > 0).sum(axis=1) > 1)
    counts, votes = counts[items], votes[items]
    shares = (votes**2 - (counts**2).sum(axis=1)) / (votes * (votes - 1))
    order = np.lexsort((columns.item_keys[items], -votes, -shares))
    return _Ranked(items[order], counts[order], shares[order])


def _said(columns: Columns, places: NDArray[np.intp]) -> dict[uuid.UUID, list[Said]]:
    labels = Label.objects.filter(pk__in=[key_at(columns.keys, place) for place in places.tolist()])
    found: dict[uuid.UUID, list[Said]] = defaultdict(list)
    for row in labels.select_related("annotator"):
        found[row.snippet_id].append(_said_by(row, row.annotator))
    return found


def _said_by(row: Label, annotator: Annotator) -> Said:
    return Said(
        str(row.pk),
        str(annotator.pk),
        annotator.name,
        annotator.simulated,
        annotator.staff,
        row.choice,
        row.note,
        row.flagged,
        row.created_at.isoformat().replace("+00:00", "Z"),
    )


def _consensus(row: Snippet) -> str:
    return row.consensus.choice if hasattr(row, "consensus") else ""


def _cursor(direction: str, columns: Columns, ranked: _Ranked, place: int) -> str:
    """Names the snippet at `place`: pages go from it on (f), or end before it (b)."""
    key = key_at(columns.item_keys, int(ranked.items[place]))
    words = f"{direction} {float(ranked.shares[place])!r} {int(ranked.counts[place].sum())} {key}"
    return base64.urlsafe_b64encode(words.encode()).decode().rstrip("=")


def _place(columns: Columns, ranked: _Ranked, cursor: str) -> tuple[bool, int]:
    """Whether the cursor goes backwards, and how many snippets come before the one that it names."""
    try:
        words = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        direction, share, votes, key = words.split(" ")
        at = float(share), int(votes), np.bytes_(uuid.UUID(key).bytes)
    except ValueError as error:
        raise DomainError("invalid_cursor", "The cursor was not made by this API.") from error
    sizes, keys = ranked.counts.sum(axis=1), columns.item_keys[ranked.items]
    alike = ranked.shares == at[0]
    before = (ranked.shares > at[0]) | (alike & (sizes > at[1])) | (alike & (sizes == at[1]) & (keys < at[2]))
    return direction == "b", int(before.sum())
