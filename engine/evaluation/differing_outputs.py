"""Buying labels for the difference of two filters output by output: each filter's differing outputs are a pool.

What one filter gives and the other refuses fails most, and the other filter's logit tells it; what comes instead hardly
ever does. So labels are spread over both pools at once, where the two scores expect failures, and a share everywhere.
Where the plan labels every output, its answer is the one by pairs, which is then the narrower.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from engine.errors import BadInput
from engine.evaluation.designs.base import LabelPlan, OutputPool, Stratum, Wanted, checked
from engine.evaluation.designs.planning import check_wanted, least
from engine.evaluation.designs.scores import sampling_score, second_adds
from engine.evaluation.designs.strata import Layers, allocated, chance, codes_of, in_turn, layers_of
from engine.evaluation.designs.stratified import DEFENCE, SAFE_DEFENCE, UNSEEN
from engine.evaluation.differing import ALIKE, OVERLAP, Sides, plan_differing, planned, rate_taken
from engine.evaluation.differing import NAME as PAIRS
from engine.evaluation.differing_strata import TwoPools, failures_met, half_width, two_pools

NAME, TITLE = "differing_outputs", "Where they differ, by both scores"
WHAT = (
    "Both filters are given the same proposals. Where they answer alike, whatever they say cancels; where they do not, "
    "each one's outputs are labelled by how much the two scores expect to fail, and a share everywhere."
)
ENOUGH, ENOUGH_TITLE = "differing_outputs_enough", "By both scores, on enough prompts"
"""What this way would take if there were prompts enough, where there are not."""


def check_scored(pool: OutputPool, sides: Sides) -> None:
    """Raises BadInput where the other filter's logits are not known."""
    if sides.differing and pool.second is None:
        raise BadInput(
            "these outputs lack the other filter's scores, by which labels are spread: draw them anew in another "
            "evaluation, or use the design simple_random, which labels both outputs of a prompt",
            where="design",
        )


def plan_by_outputs(pool: OutputPool, sides: Sides, wanted: Wanted, seed: int) -> dict[str, LabelPlan]:
    """What this way takes for a difference as narrow as `wanted.relative` of the rate of one filter; where the pool is
    too small for it, all of it, and what prompts enough would take. O(n log n), and 200 runs a step.

    Where the scores say nothing new, labels are spread evenly and no gain is claimed. Raises BadInput where the other
    filter's logits are unknown.
    """
    check_scored(pool, sides)
    if not sides.differing:
        return {NAME: planned(NAME, TITLE, 0, check_wanted(wanted), 0.0, True, 0.0, ALIKE)}
    rate = rate_taken(pool, sides, check_wanted(wanted))
    of, each = strata_of(pool, sides, rate, wanted)
    uniform = chance(of.layers, np.random.default_rng([seed, 609]))
    endless = of._replace(layers=of.layers._replace(sizes=of.layers.sizes * _ENDLESS), prompts=of.prompts * _ENDLESS)
    free = _as_narrow(endless, wanted, rate, uniform)
    labels = _as_narrow(of, wanted, rate, uniform)
    n, reached = int(labels.sum()), _width(of, labels, wanted, uniform) / rate
    pairs = plan_differing(pool, sides, wanted)[PAIRS]
    whole = n == pool.logits.size
    reachable = reached <= wanted.relative or (whole and pairs.reachable)
    notes = [_taken(rate), _about(pool), f"Labels of {n:,} of the {pool.logits.size:,} outputs that differ."]
    if whole:
        reached = pairs.reached
        notes.append("As it labels them all, it answers by pairs.")
    elif wanted.interval == "estimate":
        sure = _width(of, labels, wanted._replace(interval="certificate"), uniform) / rate
        notes.append(f"Its certificate, which a later filter's goes on from, is then ±{100 * sure:.0f} %.")
    if pairs.reachable and n >= pairs.outputs:
        notes.append(f"By pairs {pairs.outputs:,} outputs do: here this way saves nothing.")
    if not reachable:
        prompts = math.ceil(float((free / of.layers.sizes).max()) * sides.looked_at)
        notes.append(f"For ±{100 * wanted.relative:.0f} % the two would have to be run on about {prompts:,} prompts.")
    fails, strata = float(labels @ of.layers.expected), _with_labels(each, labels)
    ours = planned(NAME, TITLE, n, wanted, fails, reachable, reached, " ".join(notes), strata)
    plans = {NAME: ours._replace(floor=_floor(sides, rate, wanted))}
    if not reachable:
        outputs, fails = int(free.sum()), float(free @ of.layers.expected)
        plans[ENOUGH] = planned(ENOUGH, ENOUGH_TITLE, outputs, wanted, fails, True, wanted.relative, "")
    return plans


_ENDLESS = 10**6
_Each = tuple[Layers | None, Layers | None]


def strata_of(pool: OutputPool, sides: Sides, rate: float, wanted: Wanted) -> tuple[TwoPools, _Each]:
    """Strata of both filters' outputs, together and each, where filters fail at `rate` per prompt. O(n log n)."""
    vouched = pool.chances is not None or second_adds(pool)
    defence = DEFENCE if wanted.interval == "estimate" else SAFE_DEFENCE
    unseen = 0.0 if pool.chances is not None else UNSEEN
    if not vouched:
        defence, unseen = 1.0, 1.0
    score = sampling_score(pool)
    found = []
    for chosen in (sides.later, ~sides.later):
        there = min(0.999, rate * (1 - OVERLAP) * sides.looked_at / max(1, int(chosen.sum())))
        found.append(layers_of(score[chosen], there, defence=defence, unseen=unseen) if chosen.any() else None)
    return two_pools(*found, prompts=sides.looked_at, defence=defence), (found[0], found[1])


def _as_narrow(of: TwoPools, wanted: Wanted, rate: float, uniform: NDArray[np.float64]) -> NDArray[np.int64]:
    most = math.ceil(float((of.layers.sizes / of.layers.shares).max())) + 1
    n = least(lambda n: _width(of, allocated(of.layers, n), wanted, uniform) <= wanted.relative * rate, most)
    return allocated(of.layers, n)


def _width(of: TwoPools, labels: NDArray[np.int64], wanted: Wanted, uniform: NDArray[np.float64]) -> float:
    return half_width(of, labels, wanted, failures_met(uniform, labels, of.layers.expected))


def _with_labels(each: _Each, labels: NDArray[np.int64]) -> tuple[Stratum, ...]:
    first = 0 if each[0] is None else each[0].sizes.size
    parts = zip(each, (labels[:first], labels[first:]), strict=True)
    return tuple(stratum for one, part in parts if one is not None for stratum in one.with_labels(part))


def _taken(rate: float) -> str:
    return f"At a failure rate of {rate:.3g}, of which {100 * OVERLAP:.0f} % are taken to be the same outputs of both."


def _about(pool: OutputPool) -> str:
    if pool.chances is not None:
        return "What is expected of each output was fitted to labels of other texts by both filters' scores."
    if second_adds(pool):
        return f"The scores are not fitted to labels: {100 * UNSEEN:.0f} % of failures are taken to be unseen by them."
    return "The other filter's scores say nothing new: labels are spread evenly, and no gain is claimed."


def _floor(sides: Sides, rate: float, wanted: Wanted) -> int:
    """Outputs that any method must label that is true without assumptions and as precise: failures as many as the half-
    width may hide in either filter's outputs, and must be met but for the chance that a limit may be wrong."""
    tail, hidden, found = (1 - wanted.level) / 2, wanted.relative * rate, 0.0
    for size in (int(sides.later.sum()), int((~sides.later).sum())):
        share = size / sides.looked_at
        found += math.log(tail) / math.log1p(-hidden / share) if hidden < share else 0.0
    return math.ceil(found)


def order_by_outputs(pool: OutputPool, sides: Sides, plan: LabelPlan, seed: int) -> NDArray[np.int64]:
    """(plan.outputs,) indices in the order in which labels are bought: strata of both filters in turn. O(n strata)."""
    if not plan.outputs:
        return np.empty(0, dtype=np.int64)
    labels = [one.labels for one in plan.strata]
    return in_turn(codes_in_plan(pool, sides, plan), labels, np.random.default_rng([seed, 608]))


def codes_in_plan(pool: OutputPool, sides: Sides, plan: LabelPlan) -> NDArray[np.int64]:
    """(n,) the stratum of each output; a filter's strata begin at 0. Raises BadInput for a plan of others. O(n)."""
    lows = np.array([one.low for one in plan.strata])
    starts = [*np.flatnonzero(lows == 0.0).tolist(), lows.size]
    score, codes = sampling_score(checked(pool)), np.zeros(pool.logits.size, dtype=np.int64)
    present = [chosen for chosen in (sides.later, ~sides.later) if chosen.any()]
    if len(starts) != len(present) + 1:
        raise BadInput("the strata are of other outputs", where="plan")
    for chosen, start, end in zip(present, starts[:-1], starts[1:], strict=True):
        codes[chosen] = start + codes_of(score[chosen], lows[start:end])
    return codes
