"""In which order rewritings are tried. One function a search; the registry is at the end.

Constraints are asked late, of the few that would be followed: they cost as much as the classifier, and most proposals
are never followed.
"""

from __future__ import annotations

import heapq
from collections.abc import Generator, Iterator, Sequence
from itertools import count
from typing import Any

from engine.attacks.rewrite.base import Ask, Found, Plan, Search, State
from engine.snippets import Snippet

Steps = Generator[Ask | Found, Any, None]
_CHECKED = 4
"""Proposals whose constraints are asked at a time."""


def beam(start: State, plan: Plan) -> Steps:
    """The `width` best states of each step go on to the next; `width` 1 is the greedy search."""
    seen = {start.snippet.content_hash}
    states, found = [start], 0
    while states:
        yield Ask("gradients", [state.snippet for state in states])
        scored = yield from _scored(start.snippet, states, plan, seen)
        states = []
        for few in _few(scored):
            for state in (yield from _allowed(start.snippet, few, plan)):
                if plan.goal.reached(state):
                    yield Found(state)
                    found += 1
                elif len(state.edits) < plan.max_edits:
                    states.append(state)
                if found == plan.goal.wanted:
                    return
            if len(states) >= plan.width:
                states = states[: plan.width]
                break


def best_first(start: State, plan: Plan) -> Steps:
    """Always the state with the lowest margin, however many edits it has (Ivgi and Berant, 2104.05062).

    Of each state that is looked at, the `width` best that follow are kept.
    """
    seen, order, found = {start.snippet.content_hash}, count(), 0
    heap = [(start.logit, next(order), start)]
    while heap:
        *_, best = heapq.heappop(heap)
        yield Ask("gradients", [best.snippet])
        scored = yield from _scored(start.snippet, [best], plan, seen)
        followed = 0
        for few in _few(scored):
            for state in (yield from _allowed(start.snippet, few, plan)):
                if plan.goal.reached(state):
                    yield Found(state)
                    found += 1
                elif len(state.edits) < plan.max_edits:
                    heapq.heappush(heap, (state.logit, next(order), state))
                followed += 1
                if found == plan.goal.wanted:
                    return
            if followed >= plan.width:
                break


def _scored(seed: Snippet, states: Sequence[State], plan: Plan, seen: set[str]) -> Generator[Ask, Any, list[State]]:
    """What the moves make of the states, the most promising of it scored exactly, the lowest margin first."""
    made = [one for state in states for move in plan.moves for one in move(plan.engine, state, plan.candidates)]
    made.sort(key=lambda proposal: proposal.logit)
    best: dict[str, State] = {}
    for proposal in made:
        key = proposal.snippet.content_hash
        if key not in seen and all(check(seed, proposal) for check in plan.checks):
            best[key] = proposal
            seen.add(key)
        if len(best) == plan.scored:
            break
    if not best:
        return []
    logits = yield Ask("logits", [proposal.snippet for proposal in best.values()])
    scored = [proposal._replace(logit=logit) for proposal, logit in zip(best.values(), logits, strict=True)]
    return sorted(scored, key=lambda state: state.logit)


def _few(states: Sequence[State]) -> Iterator[Sequence[State]]:
    return (states[at : at + _CHECKED] for at in range(0, len(states), _CHECKED))


def _allowed(seed: Snippet, states: Sequence[State], plan: Plan) -> Generator[Ask, Any, list[State]]:
    """Those that every constraint allows."""
    left = list(states)
    for constraint in plan.constraints:
        if left:
            answers = yield from constraint(seed, left)
            left = [state for state, allowed in zip(left, answers, strict=True) if allowed]
    return left


SEARCHES: dict[str, Search] = {"beam": beam, "best_first": best_first}
"""Name -> search."""
