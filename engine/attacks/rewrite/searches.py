"""In which order rewritings are tried. One function a search; the registry is at the end.

What a step proposes is tried in parts, the most promising first, and the step ends where enough is found. Constraints
are asked before the classifier: they read the completion only, the classifier reads the prompt as well.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Generator, Iterator, Sequence
from itertools import count
from typing import Any, NamedTuple

from engine.attacks.rewrite.base import Ask, Found, Plan, Search, State
from engine.snippets import Snippet

Steps = Generator[Ask | Found, Any, None]
_PART = 8
"""Proposals whose constraints are asked at a time."""


class _Tried(NamedTuple):
    """What a step came to."""

    found: int
    others: list[State]
    """Allowed and not accepted, with edits left; the lowest margin first."""


def beam(start: State, plan: Plan) -> Steps:
    """The `width` best states of each step go on to the next; `width` 1 is the greedy search."""
    seen, wanted = {start.snippet.content_hash}, plan.goal.wanted
    states = [start]
    while states and wanted:
        tried = yield from _step(start.snippet, states, plan, seen, wanted)
        wanted -= tried.found
        states = tried.others[: plan.width]


def promising_first(start: State, plan: Plan) -> Steps:
    """A beam search with the first eight proposals of each step, then again with the others as well.

    Most of what can be solved is solved by few tries, and a second edit is often nearer than the twentieth first one.
    Where the first pass found nothing and came no nearer than `give_up` says, the seed is given up.
    """
    seen, wanted = {start.snippet.content_hash}, plan.goal.wanted
    known: dict[int, list[State]] = defaultdict(list)
    for tries in (min(_PART, plan.tried), plan.tried - _PART):
        states, depth = [start], 0
        while states and wanted and tries > 0:
            tried = yield from _step(start.snippet, states, plan._replace(tried=tries), seen, wanted)
            wanted -= tried.found
            known[depth] = sorted([*known[depth], *tried.others], key=lambda state: state.logit)
            states, depth = known[depth][: plan.width], depth + 1
        if wanted == plan.goal.wanted and _hopeless(start, [state for step in known.values() for state in step], plan):
            return


def best_first(start: State, plan: Plan) -> Steps:
    """Always the state with the lowest margin, however many edits it has (Ivgi and Berant, 2104.05062).

    Of each state that is looked at, the `width` best that follow are kept.
    """
    seen, wanted, order = {start.snippet.content_hash}, plan.goal.wanted, count()
    heap = [(start.logit, next(order), start)]
    while heap and wanted:
        *_, best = heapq.heappop(heap)
        tried = yield from _step(start.snippet, [best], plan, seen, wanted)
        wanted -= tried.found
        for state in tried.others[: plan.width]:
            heapq.heappush(heap, (state.logit, next(order), state))


def _hopeless(start: State, tried: Sequence[State], plan: Plan) -> bool:
    """Whether the nearest of what was tried is farther from the threshold than `give_up` of the start's distance."""
    nearest = min((state.logit for state in tried), default=start.logit)
    return nearest - float(plan.goal.cutoff) > plan.give_up * (start.logit - float(plan.goal.cutoff))


def _step(
    seed: Snippet, states: Sequence[State], plan: Plan, seen: set[str], wanted: int
) -> Generator[Ask | Found, Any, _Tried]:
    """Tries what the moves make of the states until `wanted` rewritings are found; of a part first what the constraints
    leave the most room.
    """
    yield Ask("gradients", [state.snippet for state in states])
    proposals = _proposals(seed, states, plan, seen)
    found, others = 0, list[State]()
    for part in _parts(proposals, _PART):
        for few in _doubling((yield from _roomy(seed, part, plan))):
            logits = yield Ask("logits", [state.snippet for state in few])
            for state, logit in zip(few, logits, strict=True):
                scored = state._replace(logit=logit)
                if not plan.goal.reached(scored):
                    others.append(scored)
                    continue
                yield Found(scored)
                found += 1
                if found == wanted:
                    return _Tried(found, [])
    others.sort(key=lambda state: state.logit)
    return _Tried(found, [state for state in others if len(state.edits) < plan.max_edits])


def _proposals(seed: Snippet, states: Sequence[State], plan: Plan, seen: set[str]) -> list[State]:
    """The most promising of what the moves make of the states and no check forbids, none of it seen before."""
    made = [one for state in states for move in plan.moves for one in move(plan.engine, state, plan.candidates)]
    made.sort(key=lambda proposal: proposal.logit)
    best: list[State] = []
    for proposal in made:
        key = proposal.snippet.content_hash
        if key not in seen and all(check(seed, proposal) for check in plan.checks):
            best.append(proposal)
            seen.add(key)
        if len(best) == plan.tried:
            break
    return best


def _roomy(seed: Snippet, states: Sequence[State], plan: Plan) -> Generator[Ask | Found, Any, list[State]]:
    """Those that every constraint allows, first where the tightest of them leaves the most room."""
    left = [(math.inf, state) for state in states]
    for constraint in plan.constraints:
        if left:
            rooms = yield from constraint(seed, [state for _, state in left])
            left = [(min(least, room), state) for (least, state), room in zip(left, rooms, strict=True) if room >= 0]
    return [state for _, state in sorted(left, key=lambda one: -one[0])]


def _doubling(states: Sequence[State]) -> Iterator[Sequence[State]]:
    """One, then two, then four: what is found early costs few queries, what is found late few turns."""
    at = 0
    while at < len(states):
        yield states[at : 2 * at + 1]
        at = 2 * at + 1


def _parts(states: Sequence[State], size: int) -> Iterator[Sequence[State]]:
    return (states[at : at + size] for at in range(0, len(states), size))


SEARCHES: dict[str, Search] = {"beam": beam, "best_first": best_first, "promising_first": promising_first}
"""Name -> search."""
