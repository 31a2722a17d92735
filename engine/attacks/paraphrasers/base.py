"""What a paraphraser offers, and how many snippets are reworded at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from engine.endpoints.side_by_side import side_by_side
from engine.errors import BudgetSpent
from engine.progress import Progress, silent
from engine.snippets import Snippet


class Paraphraser(Protocol):
    """Rewords snippets. One that waits on a service sets `concurrency` to the calls it takes at once (default 1)."""

    def paraphrase(self, snippet: Snippet, n: int, *, seed: int) -> list[Snippet]:
        """Up to `n` rewordings, in the order drawn, maybe invalid or alike; deterministic given `seed`.

        Raises GeneratorError when the source cannot answer, BudgetSpent where it costs more than is left.
        """
        ...


class Ask(NamedTuple):
    """One call to a paraphraser."""

    snippet: Snippet
    n: int
    seed: int


Drawn = list[Snippet] | BudgetSpent
"""What came of an ask: rewordings, or that there is no money or are no tokens left for it."""


def draw_many(paraphraser: Paraphraser, asks: Sequence[Ask], *, progress: Progress = silent) -> list[Drawn]:
    """The answers to `asks`, in order; `progress` is called at least once a second."""
    threads = int(getattr(paraphraser, "concurrency", 1))
    if threads > 1:
        return side_by_side(lambda ask: _draw(paraphraser, ask), asks, threads=threads, progress=progress)
    answers = []
    for ask in asks:
        answers.append(_draw(paraphraser, ask))
        progress(len(answers), len(asks))
    return answers


def _draw(paraphraser: Paraphraser, ask: Ask) -> Drawn:
    try:
        return paraphraser.paraphrase(ask.snippet, ask.n, seed=ask.seed)
    except BudgetSpent as spent:
        return spent
