"""Datasets into the rows that a classifier is trained on: duplicates left out, sizes made equal, rare data repeated.

In the order of the paper's (4.2, 5.1, A.4): duplicates, then equal sizes; positives are upsampled after that, by
`engine.classifiers.upsampling`, when the rows are trained on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from itertools import chain
from typing import Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from engine.embeddings.minhash import near_duplicates

Why = Literal["contradictory", "duplicate", "near_duplicate"]


class Row(NamedTuple):
    """One labelled snippet of a dataset: a line of a snapshot's manifest."""

    snippet_id: str
    content_hash: str
    root_hash: str
    """Of the snippet that it descends from."""
    split: str
    source: str
    choice: str
    """What people agreed on."""
    dataset: str
    times: int
    """How often it stands in the training set, before positives are upsampled."""
    prompt: str
    completion: str


class Composing(BaseModel):
    """How datasets become one training set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    equal_sizes: bool = True
    """Whether random initial rows give way to the others, so that conditions differ in kind, not in number."""
    size: int | None = Field(None, ge=1)
    """Rows aimed at; none: as many as there are initial ones."""
    oversample: int = Field(1, ge=1, le=25)
    """How often each row of the other datasets stands there (paper, A.5: 3 to 5; its effect was near zero)."""
    near_duplicates: float | None = Field(None, gt=0, le=1)
    """Of texts of one class that are so alike (Jaccard index of word triples) only the first is kept; none: all."""


class Dropped(NamedTuple):
    """A snippet that was left out, why, and which one stands for it (empty: none does)."""

    snippet: str
    why: Why
    kept: str


class Composed(NamedTuple):
    """The rows in their order, initial ones first, and what was left out as duplicates."""

    rows: list[Row]
    dropped: list[Dropped]
    size: int | None
    """Rows aimed at; None where sizes are not made equal."""


def compose(
    datasets: Mapping[str, Sequence[Row]],
    initial: Set[str],
    wanted: Composing,
    positive: Callable[[str], bool],
    *,
    seed: int,
) -> Composed:
    """The training set of these datasets, of which those named in `initial` give way. Deterministic by seed.

    A snippet is counted to the first dataset that holds it. Of equal texts the first is kept, but where their choices
    train apart none is: nobody knows which is right. Then random initial rows are left out until there are as many
    rows as wanted, the same ones first whatever is added; if the others alone are more, all of them stay. O(rows), and
    O(words) with near-duplicates.
    """
    by_snippet: dict[str, Row] = {}
    for row in chain.from_iterable(datasets.values()):
        by_snippet.setdefault(row.snippet_id, row)
    rows, dropped = _single(by_snippet.values(), positive)
    rows, alike = _unlike(rows, wanted.near_duplicates, positive, seed)
    first = [row for row in rows if row.dataset in initial]
    others = [row for row in rows if row.dataset not in initial]
    size = (wanted.size or len(first)) if wanted.equal_sizes else None
    if size is not None:
        order = np.random.default_rng([seed, len(first)]).permutation(len(first))
        first = [first[i] for i in sorted(order[: max(size - len(others), 0)])]
    repeated = [row._replace(times=wanted.oversample) for row in others]
    return Composed([*first, *repeated], dropped + alike, size)


def _single(rows: Iterable[Row], positive: Callable[[str], bool]) -> tuple[list[Row], list[Dropped]]:
    """Each text once, in the order of its first row."""
    by_text: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_text[row.content_hash].append(row)
    kept: list[Row] = []
    dropped: list[Dropped] = []
    for first, *others in by_text.values():
        if len({positive(row.choice) for row in (first, *others)}) > 1:
            dropped += [Dropped(row.snippet_id, "contradictory", "") for row in (first, *others)]
            continue
        kept.append(first)
        dropped += [Dropped(row.snippet_id, "duplicate", first.snippet_id) for row in others]
    return kept, dropped


def _unlike(
    rows: list[Row], threshold: float | None, positive: Callable[[str], bool], seed: int
) -> tuple[list[Row], list[Dropped]]:
    """Without near-duplicates of one class. A small change that turns the label is worth having."""
    if threshold is None:
        return rows, []
    dropped: dict[str, Dropped] = {}
    for label in (True, False):
        mine = [row for row in rows if positive(row.choice) is label]
        leaders = near_duplicates([f"{row.prompt} {row.completion}" for row in mine], threshold=threshold, seed=seed)
        for row, leader in zip(mine, leaders.tolist(), strict=True):
            if row is not mine[leader]:
                dropped[row.snippet_id] = Dropped(row.snippet_id, "near_duplicate", mine[leader].snippet_id)
    return [row for row in rows if row.snippet_id not in dropped], list(dropped.values())
