"""What a rewrite search is put together from. Goal, constraints, moves and search know each other through this only.

A search is a generator: it yields a question and is sent the answer. So thousands run side by side, and their texts
share the classifier's batches whatever each of them does.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from engine.attacks.base import Edit, Kind
from engine.attacks.substitution.words import Slot
from engine.snippets import Snippet

if TYPE_CHECKING:
    from engine.attacks.substitution.suggest import SubstitutionEngine


class Ask(NamedTuple):
    """A question to the attack.

    `logits`: the answer is a list of margins. `gradients`: none, but the engine has them at hand. `vectors`: an array
    (n, d) of unit rows, of the completions. `likelihoods`: a list of what the language model `model` says.
    """

    what: Literal["logits", "gradients", "vectors", "likelihoods"]
    snippets: Sequence[Snippet]
    model: str = ""


class State(NamedTuple):
    """A rewriting on its way."""

    snippet: Snippet
    logit: float
    """Exact; of a proposal that is not scored yet the margin it is thought to have."""
    edits: tuple[Edit, ...] = ()
    closed: tuple[Slot, ...] = ()
    """Spans of the completion that no move touches: what is protected, and what was changed before."""

    def is_open(self, slot: Slot) -> bool:
        """Whether a move may touch this place."""
        return not any(span.start < slot.end and slot.start < span.end for span in self.closed)


Move = Callable[["SubstitutionEngine", State, int], list[State]]
"""Engine (with the state's gradient at hand), state, words a place -> proposals."""
Check = Callable[[Snippet, State], bool]
"""Seed, proposal -> whether it is allowed; costs nothing."""
Constraint = Callable[[Snippet, Sequence[State]], Generator[Ask, Any, list[float]]]
"""Seed, proposals -> how much room the limit leaves each, below 0 where it is not allowed; asks a model."""


class Goal(NamedTuple):
    """What is looked for: rewritings that the classifier accepts."""

    cutoff: np.float32
    """Accepted below, strictly."""
    wanted: int
    """Rewritings of one seed."""

    def reached(self, state: State) -> bool:
        """Whether the classifier accepts it."""
        return bool(np.float32(state.logit) < self.cutoff)


class Plan(NamedTuple):
    """What a search is given."""

    goal: Goal
    moves: Sequence[Move]
    checks: Sequence[Check]
    constraints: Sequence[Constraint]
    engine: SubstitutionEngine
    candidates: int
    """Words a place."""
    tried: int
    """Proposals of a step that are tried, the most promising: those that the constraints allow are scored."""
    width: int
    """States that are followed at a time."""
    max_edits: int
    give_up: float
    """As the recipe says."""


class Found(NamedTuple):
    """A rewriting that the classifier accepts and all constraints allow. Yielded; nothing is sent back."""

    state: State


Search = Callable[[State, Plan], Generator[Ask | Found, Any, None]]
"""Start, plan -> questions, and what is found between them."""


def after_edit(state: State, kind: Kind, completion: str, estimate: float) -> State:
    """The state once the completion reads so; the changed span is closed from then on. O(characters)."""
    old = state.snippet.completion
    changed = _changed(old, completion)
    shift = len(completion) - len(old)
    edit = Edit(kind, changed.start, old[changed.start : changed.end], completion[changed.start : changed.end + shift])
    moved = [span if span.end <= changed.start else Slot(span.start + shift, span.end + shift) for span in state.closed]
    closed = (*moved, Slot(changed.start, changed.end + shift))
    return State(Snippet(state.snippet.prompt, completion), state.logit + estimate, (*state.edits, edit), closed)


def _changed(old: str, new: str) -> Slot:
    """The span of `old` that differs from `new`, whole words."""
    most = min(len(old), len(new))
    start = next((i for i in range(most) if old[i] != new[i]), most)
    tail = next((i for i in range(most - start) if old[-1 - i] != new[-1 - i]), most - start)
    end = len(old) - tail
    if start == end and not (old[:start][-1:].isalnum() and old[start:][:1].isalnum()):
        return Slot(start, end)
    while start > 0 and old[start - 1].isalnum():
        start -= 1
    while end < len(old) and old[end].isalnum():
        end += 1
    return Slot(start, end)
