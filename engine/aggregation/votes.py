"""Votes: one annotator's answer about one item, and many of them as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.errors import BadInput

NO_ANSWER = -1
"""Code of an item that nobody judged."""


class Vote(NamedTuple):
    """One annotator's answer to one item."""

    annotator: str
    choice: str
    staff: bool = False


class VoteTable(NamedTuple):
    """Many votes as codes. `choices` are those of the policy, the most severe first; code 0 is the most severe."""

    items: NDArray[np.int64]
    """(votes,), in [0, n_items)."""
    annotators: NDArray[np.int64]
    """(votes,), any codes."""
    answers: NDArray[np.int64]
    """(votes,), in [0, len(choices))."""
    staff: NDArray[np.bool_]
    """(votes,)."""
    n_items: int
    choices: tuple[str, ...]

    def counts(self, only: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """How many votes each item has for each choice, (n_items, choices). O(votes)."""
        cells = self.items * len(self.choices) + self.answers
        cells = cells if only is None else cells[only]
        size = self.n_items * len(self.choices)
        return np.bincount(cells, minlength=size).reshape(self.n_items, len(self.choices)).astype(np.int64)

    def check(self) -> None:
        """Raises BadInput for codes outside of `choices` or of the items. O(votes)."""
        _within("answers", self.answers, len(self.choices))
        _within("items", self.items, self.n_items)


def _within(name: str, codes: NDArray[np.int64], bound: int) -> None:
    outside = codes[(codes < 0) | (codes >= bound)]
    if outside.size:
        raise BadInput(f"code {outside[0]} is outside of [0, {bound})", where=name)


def codes_of(choices: Sequence[str], known: Sequence[str]) -> NDArray[np.int64]:
    """The code of each choice in `known`. Raises BadInput naming the first that is not there. O(n)."""
    table = {choice: code for code, choice in enumerate(known)}
    try:
        return np.fromiter((table[choice] for choice in choices), dtype=np.int64, count=len(choices))
    except KeyError as error:
        raise BadInput(f"{error.args[0]!r} is not one of {', '.join(known)}", where="choice") from error


def vote_table(
    votes: Mapping[str, Sequence[Vote]] | Sequence[Sequence[Vote]],
    choices: Sequence[str],
    *,
    annotators: Sequence[str] = (),
) -> VoteTable:
    """Votes grouped by item as one table, items in the order given. Raises BadInput for an unknown choice. O(votes).

    An annotator's code is their place in `annotators`; those not in it come after, in the order of their first votes.
    """
    groups = list(votes.values()) if isinstance(votes, Mapping) else list(votes)
    flat = [vote for group in groups for vote in group]
    names = {name: code for code, name in enumerate(dict.fromkeys((*annotators, *(vote.annotator for vote in flat))))}
    return VoteTable(
        items=np.repeat(np.arange(len(groups)), [len(group) for group in groups]).astype(np.int64),
        annotators=np.fromiter((names[vote.annotator] for vote in flat), dtype=np.int64, count=len(flat)),
        answers=codes_of([vote.choice for vote in flat], choices),
        staff=np.fromiter((vote.staff for vote in flat), dtype=np.bool_, count=len(flat)),
        n_items=len(groups),
        choices=tuple(choices),
    )
