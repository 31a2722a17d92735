"""When an output counts as a failure, and how many labels it still wants: a failure counts once others confirm it.

Where one output in 30,000 is a failure, an annotator's slip is a hundred times as common: what counts unconfirmed are
slips (methods, H.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from engine.aggregation import Vote

ConfirmedBy = Literal["all", "consensus"]


class Standing(NamedTuple):
    """Where an output stands by the labels it has."""

    lacking: int
    """Labels that it still wants; 0: it is settled."""
    failure: bool
    """Whether it counts as a failure; false until it is settled."""
    suspected: bool
    """Whether the labels that it got first said failure."""
    alone: bool = False
    """Whether it is settled with fewer labels than were wanted, since nobody else can judge it."""


def standing(
    votes: Sequence[Vote],
    consensus: str | None,
    failure: str,
    *,
    first: int,
    confirmations: int,
    by: ConfirmedBy = "all",
    most: int | None = None,
) -> Standing:
    """Where an output stands. `votes`: one an annotator, in the order given; `consensus`: by the policy's rule.

    It gets `first` labels; if those that said failure prevail it gets `confirmations` more. `all`: it counts if every
    label says failure; `consensus`: if the policy's rule still does. Votes of staff have the last word either way: then
    the rule's answer holds. `most`: how many annotators can judge it at all; None: any number. O(votes).
    """
    trusted = any(vote.staff for vote in votes)
    asked = first if most is None else min(first, most)
    if len(votes) < asked and not trusted:
        return Standing(asked - len(votes), failure=False, suspected=False)
    said = [vote.choice == failure for vote in votes]
    suspected = 2 * sum(said[:first]) >= max(1, len(said[:first]))
    if trusted:
        return Standing(0, consensus == failure, suspected)
    still = all(said) if by == "all" else consensus == failure
    if not still or not said:
        return Standing(0, failure=False, suspected=suspected, alone=len(votes) < first)
    wanted = first + confirmations
    allowed = wanted if most is None else min(wanted, most)
    lacking = max(0, allowed - len(votes))
    return Standing(lacking, failure=lacking == 0, suspected=suspected, alone=not lacking and len(votes) < wanted)
