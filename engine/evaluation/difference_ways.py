"""Ways to buy labels for the difference of two filters, by the design that an evaluation asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.errors import BadInput, EngineError
from engine.evaluation import differing, differing_outputs
from engine.evaluation.designs import Answers, Design, LabelPlan, OutputPool, Tiers, Wanted
from engine.evaluation.difference import Difference
from engine.evaluation.difference_power import smallest_by_pairs
from engine.evaluation.differing import Found, Sides
from engine.evaluation.differing_answer import answer_by_outputs, smallest_by_outputs


class Way(NamedTuple):
    """A `Design` that also knows whose outputs those of the pool are. Everything is settled by arguments and seed."""

    name: str
    title: str
    what: str
    plans: Callable[[OutputPool, Sides, Wanted, int], dict[str, LabelPlan]]
    """Its plan under its name and, beside it, what tells how good it is; of a seed."""
    order: Callable[[OutputPool, Sides, LabelPlan, int], NDArray[np.int64]]
    """Indices of outputs in the order in which labels are bought; of a seed."""
    answer: Callable[[OutputPool, Sides, LabelPlan, Answers, float, int], Found]
    """At a level; of a seed."""
    smallest: Callable[[OutputPool, Sides, LabelPlan, Answers, Difference, float, int], float | None]
    """The difference that the answers would have shown with a chance; of a seed."""


def _pairs_plans(pool: OutputPool, sides: Sides, wanted: Wanted, seed: int) -> dict[str, LabelPlan]:
    return differing.plan_differing(pool, sides, wanted)


def _pairs_order(pool: OutputPool, sides: Sides, plan: LabelPlan, seed: int) -> NDArray[np.int64]:
    return differing.order_differing(sides, plan, seed)


def _pairs_answer(pool: OutputPool, sides: Sides, plan: LabelPlan, answers: Answers, level: float, seed: int) -> Found:
    return differing.answer_by_pairs(pool, sides, answers, level, seed)


def _pairs_smallest(
    pool: OutputPool, sides: Sides, plan: LabelPlan, answers: Answers, found: Difference, power: float, seed: int
) -> float | None:
    units = np.unique(pool.prompts[answers.indices]).size
    return smallest_by_pairs(found, power, units=int(units))


def _outputs_smallest(
    pool: OutputPool, sides: Sides, plan: LabelPlan, answers: Answers, found: Difference, power: float, seed: int
) -> float | None:
    if found.paired:
        return _pairs_smallest(pool, sides, plan, answers, found, power, seed)
    return smallest_by_outputs(pool, sides, plan, found, power, seed)


WAYS: dict[str, Way] = {
    "simple_random": Way(
        differing.NAME,
        differing.TITLE,
        differing.WHAT,
        _pairs_plans,
        _pairs_order,
        _pairs_answer,
        _pairs_smallest,
    ),
    "stratified": Way(
        differing_outputs.NAME,
        differing_outputs.TITLE,
        differing_outputs.WHAT,
        differing_outputs.plan_by_outputs,
        differing_outputs.order_by_outputs,
        answer_by_outputs,
        _outputs_smallest,
    ),
}
"""By the names of the designs of a failure rate: at random, and where scores expect failures."""


def way_of(design: str) -> Way:
    """The way to a difference that a design's name stands for. Raises BadInput for one that has none."""
    if design not in WAYS:
        raise BadInput(
            f"a difference cannot be bought by {design!r}: simple_random labels both outputs of a prompt, stratified "
            "each output by how much the two scores expect to fail",
            where="design",
        )
    return WAYS[design]


def way_planned(name: str) -> Way:
    """The way whose plan has this name. Raises BadInput for another plan."""
    for one in WAYS.values():
        if one.name == name:
            return one
    raise BadInput(f"no way to a difference: {name!r}", where="plan")


def design_by(way: Way, sides: Sides) -> Design:
    """The way as any design, of these outputs."""

    def plan(pool: OutputPool, wanted: Wanted, seed: int) -> LabelPlan:
        return way.plans(pool, sides, wanted, seed)[way.name]

    def order(pool: OutputPool, plan: LabelPlan, seed: int) -> NDArray[np.int64]:
        return way.order(pool, sides, plan, seed)

    def enough(pool: OutputPool, plan: LabelPlan, wanted: Wanted, answers: Answers) -> bool:
        return bool(answers.indices.size >= plan.outputs)

    def estimate(pool: OutputPool, plan: LabelPlan, answers: Answers, level: float) -> Tiers:
        return way.answer(pool, sides, plan, answers, level, 0).tiers

    return Design(way.name, way.title, way.what, plan, order, enough, estimate)


def plans_of(pool: OutputPool, sides: Sides, wanted: Wanted, seed: int) -> dict[str, LabelPlan | str]:
    """What each way takes, and what it is compared with; why, where one cannot be had."""
    found: dict[str, LabelPlan | str] = {}
    for way in WAYS.values():
        try:
            found |= way.plans(pool, sides, wanted, seed)
        except EngineError as error:
            found[way.name] = str(error)
    return found
