"""The design by which an evaluation buys: one of the registry or, of a difference of two filters, one of its own."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.designs import DESIGNS, Answers, Design, LabelPlan, OutputPool, Tiers, Wanted
from engine.evaluation.differing import NAME, TITLE, WHAT, difference_of, order_differing, plan_differing, tiers_of
from webapi.models import Evaluation, EvaluationKind
from workers.evaluation_pool import Outputs


def design_of(evaluation: Evaluation, outputs: Outputs) -> Design:
    """The design by which it buys."""
    if evaluation.kind == EvaluationKind.DIFFERENCE:
        return _differing(evaluation, outputs)
    return DESIGNS[evaluation.design]


def other_plans(evaluation: Evaluation, outputs: Outputs, wanted: Wanted) -> Mapping[str, LabelPlan] | None:
    """Of a difference: what other ways to it would take, to compare; None of a failure rate, which has DESIGNS."""
    if evaluation.kind != EvaluationKind.DIFFERENCE:
        return None
    return plan_differing(outputs.pool, outputs.sides, with_guess(evaluation, wanted))


def with_guess(evaluation: Evaluation, wanted: Wanted) -> Wanted:
    """What is wanted of a difference, with the rate that the evaluation found which it goes on from."""
    if wanted.guess is not None or evaluation.parent is None:
        return wanted
    found = evaluation.parent.results["tiers"]["estimate"]
    rate = found["estimate"] or found["high"] / 2
    return wanted._replace(guess=rate if 0 < rate < 1 else None)


def _differing(evaluation: Evaluation, outputs: Outputs) -> Design:
    """Whose outputs those of the pool are is known here: the functions hold it."""

    def plan(pool: OutputPool, wanted: Wanted, seed: int) -> LabelPlan:
        return plan_differing(pool, outputs.sides, with_guess(evaluation, wanted))[NAME]

    def order(pool: OutputPool, plan: LabelPlan, seed: int) -> NDArray[np.int64]:
        return order_differing(outputs.sides, plan, seed)

    def enough(pool: OutputPool, plan: LabelPlan, wanted: Wanted, answers: Answers) -> bool:
        return bool(answers.indices.size >= plan.outputs)

    def estimate(pool: OutputPool, plan: LabelPlan, answers: Answers, level: float) -> Tiers:
        return tiers_of(difference_of(pool, outputs.sides, answers, level=level))

    return Design(NAME, TITLE, WHAT, plan, order, enough, estimate)
