"""The difference of two filters from outputs labelled each by its own chance: three tiers, and what was too small."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.designs.base import Answers, LabelPlan, OutputPool, Tiers, Wanted, matched
from engine.evaluation.designs.forecast import forecast
from engine.evaluation.designs.strata import chance
from engine.evaluation.difference import Difference, Outputs, failing_outputs, mover
from engine.evaluation.difference_power import least_mean
from engine.evaluation.differing import Found, Sides, answer_by_pairs, turned
from engine.evaluation.differing_outputs import codes_in_plan, strata_of
from engine.evaluation.differing_strata import failures_met, gaps
from engine.evaluation.rates import Rate, clopper_pearson


def answer_by_outputs(
    pool: OutputPool, sides: Sides, plan: LabelPlan, answers: Answers, level: float, seed: int
) -> Found:
    """Certificate, estimate and forecast, and the certificate's difference. By pairs where all outputs were planned.

    Strata without an answer may fail wholly: their share is added to the limits. O(n log n).
    """
    if plan.outputs >= pool.logits.size:
        return answer_by_pairs(pool, sides, answers, level, seed)
    bought, codes = matched(pool, answers), codes_in_plan(pool, sides, plan)
    sure, trusting = (
        tuple(
            _failing(pool, sides, chosen, codes, bought, level, trust=trust) for chosen in (~sides.later, sides.later)
        )
        for trust in (False, True)
    )
    n = int(bought.indices.size)
    rates = [_less(*pair)._replace(n=n) for pair in (sure, trusting)]
    found = Difference(
        prompts=sides.looked_at,
        differing=sides.differing,
        labelled=n,
        both=0,
        only_first=sure[0],
        only_second=sure[1],
        difference=rates[0],
        p_value=None,
        paired=False,
    )
    notes = [
        "The certificate holds whatever the scores are worth.",
        "The estimate's interval trusts that strata without a failure have hardly any.",
    ]
    if n < plan.outputs:
        notes.append(f"{n:,} of the {plan.outputs:,} outputs planned are answered.")
    tiers = Tiers(turned(rates[0]), turned(rates[1]), _forecast(pool, sides, bought, level), tuple(notes))
    return Found(tiers, found)


def _failing(
    pool: OutputPool, sides: Sides, chosen: NDArray[np.bool_], codes: NDArray[np.int64], bought: Answers, level: float,
    *, trust: bool,
) -> Rate:  # fmt: skip
    """How often one filter fails where the two differ, per prompt."""
    mine = chosen[bought.indices]
    at, fails = bought.indices[mine], bought.failures[mine]
    size = int(chosen.sum())
    if size and not at.size:
        return Rate(
            None, 0.0, clopper_pearson(size, sides.looked_at, level=level).high, level, "nothing labelled", 0, 0
        )
    sizes, given = np.bincount(codes[chosen]), np.bincount(codes[at], minlength=int(codes.max()) + 1)
    unknown = float(sizes[given[: sizes.size] == 0].sum()) / sides.looked_at
    units = np.unique(pool.prompts[at], return_inverse=True)[1].astype(np.int64)
    side = Outputs(fails, sizes[codes[at]] / given[codes[at]], units)
    rate = failing_outputs(side, sides.looked_at, level, trust_strata=trust)
    top = "largest weight of strata with a failure" if trust else "largest weight of all strata"
    method = rate.method if rate.method == "Garwood" else f"{rate.method}, {top}"
    return rate._replace(high=min(1.0, rate.high + unknown), n=int(at.size), method=method)


def _less(first: Rate, second: Rate) -> Rate:
    """First less second; without an estimate where either has none."""
    if first.estimate is not None and second.estimate is not None:
        return mover(first, second)
    low, high = first.low - second.high, first.high - second.low
    return Rate(
        None, max(-1.0, low), min(1.0, high), first.level, "nothing labelled", first.failures + second.failures, 0
    )


def _forecast(pool: OutputPool, sides: Sides, bought: Answers, level: float) -> Rate | None:
    """The evaluated filter less the other by a model of each; None where one of them has too few labels."""
    rates = []
    for chosen in (sides.later, ~sides.later):
        at, mine = np.flatnonzero(chosen), chosen[bought.indices]
        second = None if pool.second is None else pool.second[at]
        chances = None if pool.chances is None else pool.chances[at]
        of = OutputPool(pool.logits[at], second, pool.prompts[at], chances)
        places = np.searchsorted(at, bought.indices[mine])
        rate = forecast(of, Answers(places, bought.failures[mine]), level) if at.size else None
        if rate is None or rate.estimate is None:
            return None
        share = at.size / sides.looked_at
        rates.append(rate._replace(estimate=rate.estimate * share, low=rate.low * share, high=rate.high * share))
    return mover(*rates)._replace(n=int(bought.indices.size))


def smallest_by_outputs(
    pool: OutputPool, sides: Sides, plan: LabelPlan, found: Difference, power: float, seed: int
) -> float | None:
    """The smallest difference per prompt that this plan's labels would have shown with a chance of `power`.

    Shown is one whose estimate leaves 0, if the better filter fails as often as here and failures come as the scores
    expect. None where even a difference as large as the outputs allow had a smaller chance. 200 runs a step.
    """
    rates = found.only_first.estimate, found.only_second.estimate
    if rates[0] is None or rates[1] is None:
        return None
    level, less = found.difference.level, min(rates[0], rates[1])
    of, _ = strata_of(pool, sides, max(rates[0], rates[1], 1 / sides.looked_at), Wanted(level=level))
    labels = np.array([one.labels for one in plan.strata], dtype=np.int64)
    mass = of.layers.sizes / sides.looked_at
    shapes = [np.where(side, of.layers.expected, 0.0) for side in (of.later, ~of.later)]
    if not all(float(shape @ mass) for shape in shapes):
        return None
    shapes = [shape / float(shape @ mass) for shape in shapes]
    uniform = chance(of.layers, np.random.default_rng([seed, 610]))

    def finds(more: float) -> bool:
        expected = np.minimum(1.0, shapes[0] * more / sides.looked_at + shapes[1] * less)
        counts = failures_met(uniform, labels, expected)
        low = gaps(of, labels, counts, level=level, interval="estimate").low
        return bool(np.mean(low > 0) >= power)

    gap = least_mean(finds, less * sides.looked_at, float(min(sides.later.sum(), (~sides.later).sum())))
    return None if gap is None else gap / sides.looked_at
