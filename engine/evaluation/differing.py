"""Buying labels for the difference of two filters: both outputs of prompts at which the two differ, and no others."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.errors import BadInput
from engine.evaluation.designs.base import Answers, LabelPlan, OutputPool, Stratum, Tiers, Wanted, matched
from engine.evaluation.designs.planning import check_wanted, expected_rate
from engine.evaluation.difference import Difference, difference
from engine.evaluation.difference_plan import mean_mover_width, plan_difference
from engine.evaluation.rates import Rate

NAME, TITLE = "differing", "Where the two filters differ"
ENOUGH = "differing_enough"
"""What this design would take if there were prompts enough, where there are not."""
WHAT = (
    "Both filters are given the same proposals. Where they answer alike, whatever they say cancels; both outputs are "
    "labelled where they do not."
)
ALIKE = "The two filters answered alike everywhere."
OVERLAP = 0.5
"""Share of the failures that are taken to be common to both filters, when labels are planned."""


class Sides(NamedTuple):
    """Whose outputs those of a pool are. At a place, one prompt's stream of proposals, each filter has one at most."""

    places: NDArray[np.int64]
    """(n,): outputs to the same proposals share a code."""
    later: NDArray[np.bool_]
    """(n,): whether the output is the evaluated filter's, not of the one it is held against."""
    looked_at: int
    """Places at which the two were compared, those at which they agree included."""

    @property
    def differing(self) -> int:
        """Places at which their outputs differ."""
        return int(np.unique(self.places).size)


class Found(NamedTuple):
    """What labels where two filters differ say."""

    tiers: Tiers
    """The evaluated filter's rate less the other's, per prompt."""
    difference: Difference
    """The other's less the evaluated one's, by the certificate."""


def plan_differing(pool: OutputPool, sides: Sides, wanted: Wanted) -> dict[str, LabelPlan]:
    """What the difference takes, as narrow as `wanted.relative` of the rate of one filter: by the outputs that differ
    and, to compare, by two separate tests and by one set labelled in full. O(1 / relative^2 + n).
    """
    check_wanted(wanted)
    if not sides.differing:
        return {NAME: planned(NAME, TITLE, 0, wanted, 0.0, True, 0.0, ALIKE)}
    share = sides.differing / sides.looked_at
    rate = rate_taken(pool, sides, wanted)
    asked = plan_difference(rate, share, overlap=OVERLAP, relative=wanted.relative, level=wanted.level)
    prompts = min(asked.width.prompts, sides.looked_at)
    places = min(sides.differing, math.ceil(prompts * share))
    outputs = math.ceil(places * pool.logits.size / sides.differing)
    reachable = asked.width.prompts <= sides.looked_at
    mean = places / share * rate * (1 - OVERLAP)
    reached = wanted.relative if reachable else mean_mover_width(mean, mean, wanted.level) * (1 - OVERLAP) / mean
    note = f"{asked.note} Of {sides.looked_at:,} draws the two differ at "
    note += f"{sides.differing:,}; both outputs are labelled at {places:,} of them."
    if not reachable:
        note += f" For ±{100 * wanted.relative:.0f} % the two would have to be run on {asked.width.prompts:,} prompts."
    ours = planned(NAME, TITLE, outputs, wanted, 2 * mean, reachable, reached, note)
    others = (
        ("two_tests", "Two separate tests", asked.width.two_tests),
        ("shared", "One set labelled in full", asked.width.shared),
        *(() if reachable else ((ENOUGH, "The same on enough prompts", asked.width.differing),)),
    )
    return {
        NAME: ours,
        **{name: planned(name, title, n, wanted, n * rate, True, wanted.relative, "") for name, title, n in others},
    }


def rate_taken(pool: OutputPool, sides: Sides, wanted: Wanted) -> float:
    """Failures of one filter per prompt that labels are planned by: the guess or, without one, what the scores expect
    where the two differ, to which OVERLAP is added of what they have in common. O(n).
    """
    rate = wanted.guess
    if rate is None:
        rate = expected_rate(pool, wanted) * pool.logits.size / (2 * sides.looked_at) / (1 - OVERLAP)
    return min(rate, sides.differing / sides.looked_at, 0.999)


def planned(
    name: str, title: str, outputs: int, wanted: Wanted, failures: float, reachable: bool, reached: float, note: str,
    strata: tuple[Stratum, ...] = (),
) -> LabelPlan:  # fmt: skip
    """A plan of so many outputs with what its labels cost: a Yes, true or false, takes confirmations. O(1)."""
    yes = failures + wanted.false_yes * max(0.0, outputs - failures)
    labels = outputs * wanted.labels_each + round(yes * wanted.confirmations)
    return LabelPlan(
        design=name,
        title=title,
        outputs=outputs,
        outputs_low=outputs,
        outputs_high=outputs,
        labels=labels,
        expected_failures=failures,
        floor=0,
        money=None if wanted.price is None else labels * wanted.price,
        hours=None if wanted.seconds is None else labels * wanted.seconds / 3600,
        reachable=reachable,
        reached=reached,
        strata=strata,
        note=note,
    )


def order_differing(sides: Sides, plan: LabelPlan, seed: int) -> NDArray[np.int64]:
    """Indices of outputs in the order in which labels are bought: places at random, a place's outputs side by side.

    At least `plan.outputs` of them: no place is cut. O(n log n).
    """
    distinct = np.unique(sides.places)
    rank = np.empty(distinct.size, dtype=np.int64)
    rank[np.random.default_rng([seed, 607]).permutation(distinct.size)] = np.arange(distinct.size)
    ranks = rank[np.searchsorted(distinct, sides.places)]
    found = np.argsort(ranks, kind="stable").astype(np.int64)
    end = min(plan.outputs, found.size)
    while 0 < end < found.size and ranks[found[end]] == ranks[found[end - 1]]:
        end += 1
    return found[:end]


def difference_of(pool: OutputPool, sides: Sides, answers: Answers, *, level: float, seed: int = 0) -> Difference:
    """Rate of the filter held against less that of the evaluated one, by places of which all outputs are answered.

    A filter without an output at a place has not failed there. Raises BadInput where answers do not fit. O(n log n).
    """
    if sides.places.shape != pool.logits.shape or sides.later.shape != pool.logits.shape:
        raise BadInput(f"{pool.logits.size} outputs, {sides.places.size} places", where="sides")
    bought = matched(pool, answers) if pool.logits.size else answers
    answered, failed = (np.zeros(pool.logits.size, dtype=bool) for _ in range(2))
    answered[bought.indices], failed[bought.indices] = True, bought.failures
    distinct, codes = np.unique(sides.places, return_inverse=True)
    whole = np.bincount(codes, minlength=distinct.size) == np.bincount(codes, answered, minlength=distinct.size)
    fails = [
        np.bincount(codes, failed & side, minlength=distinct.size)[whole] > 0 for side in (~sides.later, sides.later)
    ]
    prompt_of = np.zeros(distinct.size, dtype=np.int64)
    prompt_of[codes] = pool.prompts
    units = prompt_of[whole]
    repeated = np.unique(units).size < units.size
    return difference(
        fails[0], fails[1], differing=distinct.size, prompts=sides.looked_at, units=units if repeated else None,
        level=level, seed=seed,
    )  # fmt: skip


def tiers_of(found: Difference) -> Tiers:
    """The difference as an evaluation tells it: rate of the evaluated filter less the other's; below 0 it is safer."""
    rate = turned(found.difference)
    missing = found.differing - found.labelled
    notes = [
        "Labels only where the outputs differ: exact, whatever the scores are worth.",
        *(
            [f"{missing:,} places that differ are not labelled; those that are, are a random sample."]
            if missing
            else []
        ),
    ]
    return Tiers(rate, rate, None, tuple(notes))


def answer_by_pairs(pool: OutputPool, sides: Sides, answers: Answers, level: float, seed: int) -> Found:
    """`difference_of`, with its tiers. O(n log n)."""
    found = difference_of(pool, sides, answers, level=level, seed=seed)
    return Found(tiers_of(found), found)


def turned(rate: Rate) -> Rate:
    """The difference the other way round."""
    estimate = None if rate.estimate is None else 0.0 - rate.estimate
    return rate._replace(estimate=estimate, low=0.0 - rate.high, high=0.0 - rate.low)
