"""Snippets by hand: checked under their policy and written once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from engine.snippets import Refusal
from webapi.models import Annotator, Policy, Snippet, Source
from workers.snippet_rows import SnippetInput, prepare, write

MAX_SNIPPETS = 1000
"""Snippets in one request; a file to `/imports` may hold any number."""


class SnippetOutcome(NamedTuple):
    """What became of one input: a row, new or there before, or the reasons why it was refused."""

    outcome: Literal["created", "duplicate", "refused"]
    snippet: Snippet | None
    reasons: tuple[Refusal, ...] = ()


def snippets_create(
    *, policy: Policy, inputs: Sequence[SnippetInput], author: Annotator | None = None
) -> list[SnippetOutcome]:
    """Writes the valid ones of `inputs`, in order. `author` is who wrote those of source `manual`: they will never be
    given their own snippet to judge."""
    found = prepare(policy, inputs, source=Source.MANUAL)
    rows = [one.row for one in found if one.row]
    for row in rows:
        row.author = author if row.source == Source.MANUAL else None
    written = iter(write(policy, rows)) if rows else iter(())
    outcomes = []
    for one in found:
        if one.row is None:
            outcomes.append(SnippetOutcome("refused", None, one.reasons))
            continue
        done = next(written)
        outcomes.append(SnippetOutcome("created" if done.created else "duplicate", done.row))
    return outcomes
