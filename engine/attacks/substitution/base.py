"""What proposes words for the places of a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from engine.attacks.substitution.words import Slot
from engine.snippets import Snippet


class CandidateSource(Protocol):
    """Proposes words. It knows no classifier: whether a word lowers a score is not its business."""

    def propose(self, snippet: Snippet, slots: Sequence[Slot], k: int) -> list[list[str]]:
        """Up to `k` words for each slot of the completion, in order, the likeliest first; never the word that stands
        there. Deterministic. Raises GeneratorError when the source cannot answer.
        """
        ...
