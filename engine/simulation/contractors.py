"""Simulated contractors: they write adversarial examples from scratch, or rewrite known failures with a tool.

A stand-in for the paper's people (4.3.1, 4.3.3), who saw the classifier's score and stopped once it accepted what they
believed to be a failure. Whatever shows what they wrote says that it is simulated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from engine.progress import Progress, silent
from engine.simulation.attacker import Score, simulated_attacker
from engine.simulation.story_world import StoryWorld
from engine.snippets import Snippet

ANOTHER_WORLD = 500_009
"""Added to the seed: contractors tell stories that are in no corpus."""
TRIES_EACH = 6
"""Stories begun for each example wanted: not every one leads to something."""


class Written(NamedTuple):
    """What a contractor handed in: accepted by the classifier, and a failure as far as they know."""

    snippet: Snippet
    start: Snippet
    """What they began with: a text of their own, or a known failure."""
    logit: float
    edits: int
    """Versions that were each an improvement, the last one among them."""
    scored: int
    """Texts that they had scored."""


def manual_examples(
    score: Score,
    cutoff: float,
    fits: Callable[[Snippet], bool],
    *,
    wanted: int,
    budget: int,
    seed: int,
    progress: Progress = silent,
) -> list[Written]:
    """Up to `wanted` distinct injuries of the story world with a logit under `cutoff`, written from scratch.

    Each begins with another story, at most `TRIES_EACH` for each wanted, and has at most `budget` versions scored.
    `fits` says what may be handed in. Deterministic given `seed` and `score`.
    """
    found: dict[Snippet, Written] = {}
    for number, start in enumerate(_injuries(seed, wanted * TRIES_EACH)):
        progress(len(found), wanted)
        if len(found) == wanted:
            break
        one = _rewritten(start, score, cutoff, budget=budget, seed=seed + 1000 * number)
        if one is not None and fits(one.snippet):
            found.setdefault(one.snippet, one)
    progress(len(found), max(len(found), 1))
    return list(found.values())


def rewritten_failures(
    failures: Sequence[Snippet],
    score: Score,
    cutoff: float,
    fits: Callable[[Snippet], bool],
    *,
    budget: int,
    seed: int,
    progress: Progress = silent,
) -> list[Written]:
    """Of each known failure, in order, the rewrite that the classifier accepts, where one was found within `budget`
    scored versions. A failure that is accepted as it stands is nothing to rewrite.
    """
    found: dict[Snippet, Written] = {}
    for number, start in enumerate(failures):
        progress(number, len(failures))
        one = _rewritten(start, score, cutoff, budget=budget, seed=seed + 1000 * number)
        if one is not None and one.snippet != start and fits(one.snippet):
            found.setdefault(one.snippet, one)
    progress(len(failures), max(len(failures), 1))
    return list(found.values())


def _rewritten(start: Snippet, score: Score, cutoff: float, *, budget: int, seed: int) -> Written | None:
    trace = simulated_attacker(start, score, cutoff, budget=budget, seed=seed)
    if not trace.succeeded:
        return None
    last = trace.edits[-1]
    return Written(last.snippet, start, last.logit, len(trace.edits) - 1, trace.scored)


def _injuries(seed: int, stories: int) -> Iterator[Snippet]:
    """One injury of each story that has any."""
    world = StoryWorld(seed + ANOTHER_WORLD)
    for number in range(stories):
        injuries = [snippet for snippet, truth in world.story(number).windows() if truth == "Yes"]
        if injuries:
            yield injuries[int(np.random.default_rng([seed, number]).integers(len(injuries)))]
