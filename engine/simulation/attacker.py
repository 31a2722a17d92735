"""A simulated attacker: it rewrites a snippet, keeping what the classifier likes best, until it is accepted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from engine.simulation.paraphraser import StoryWorldParaphraser
from engine.simulation.reading import truth
from engine.snippets import Snippet

Score = Callable[[Sequence[Snippet]], Sequence[float]]
"""Snippets -> the classifier's logits, higher = more of a failure."""
_REWRITES_A_STEP = 6


class Edit(NamedTuple):
    """One text the attacker had scored."""

    snippet: Snippet
    logit: float


class AttackTrace(NamedTuple):
    """What a simulated attacker tried, from the starting snippet to the last improvement."""

    edits: tuple[Edit, ...]
    succeeded: bool
    """Whether the last edit is accepted and still injures."""
    scored: int


def simulated_attacker(start: Snippet, score: Score, threshold: float, *, budget: int = 60, seed: int) -> AttackTrace:
    """Climb down from `start` to an injury with a logit under `threshold`, scoring at most `budget` snippets.

    Each step scores a few re-tellings that still injure and goes on from the lowest if it is an improvement. Ends at
    once with no success when `start` is not an injury of the story world. Deterministic given `seed` and `score`.
    """
    if budget < 1 or truth(start) != "Yes":
        return AttackTrace((), False, 0)
    rewriter = StoryWorldParaphraser(keeps=1.0)
    edits = [Edit(start, float(score([start])[0]))]
    scored, step = 1, 0
    while edits[-1].logit >= threshold and scored < budget:
        room = min(_REWRITES_A_STEP, budget - scored)
        tries = rewriter.paraphrase(edits[-1].snippet, room, seed=seed + step)
        if not tries:
            break
        logits = [float(logit) for logit in score(tries)]
        scored += len(tries)
        step += 1
        best = min(range(len(tries)), key=logits.__getitem__)
        if logits[best] < edits[-1].logit:
            edits.append(Edit(tries[best], logits[best]))
    return AttackTrace(tuple(edits), edits[-1].logit < threshold, scored)
