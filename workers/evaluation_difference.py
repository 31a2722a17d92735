"""The design by which an evaluation buys: one of the registry or, of a difference of two filters, a way of its own."""

from __future__ import annotations

from typing import Any, NamedTuple

from engine.evaluation.chained import chained, split_level
from engine.evaluation.designs import DESIGNS, Answers, Design, LabelPlan, Tiers, Wanted
from engine.evaluation.difference_power import power_planned
from engine.evaluation.difference_ways import WAYS, Way, design_by, plans_of, way_of, way_planned
from engine.evaluation.purchase_data import SIGNS, DifferenceFound
from webapi.models import Evaluation, EvaluationKind
from workers.evaluation_pool import Outputs
from workers.evaluation_settings import EvaluationSettings


class Certificate(NamedTuple):
    """What the evaluation that a difference goes on from has: how to estimate anew at another level."""

    outputs: Outputs
    design: Design
    plan: LabelPlan
    answers: Answers


def design_of(evaluation: Evaluation, outputs: Outputs) -> Design:
    """The design by which it buys."""
    if evaluation.kind == EvaluationKind.DIFFERENCE:
        return design_by(_way(evaluation), outputs.sides)
    return DESIGNS[evaluation.design]


def _way(evaluation: Evaluation) -> Way:
    """By what is planned: evaluations of before bought by pairs, whatever design they named."""
    chosen = evaluation.plan.get("chosen")
    return way_planned(chosen["design"]) if chosen else way_of(evaluation.design)


def other_plans(evaluation: Evaluation, outputs: Outputs, wanted: Wanted, seed: int) -> dict[str, Any] | None:
    """Of a difference: what each way to it would take, and others to compare; None of a failure rate."""
    if evaluation.kind != EvaluationKind.DIFFERENCE:
        return None
    plans = plans_of(outputs.pool, outputs.sides, with_guess(evaluation, wanted), seed)
    titles = {way.name: way.title for way in WAYS.values()}
    return {
        name: {"design": name, "title": titles[name], "error": one} if isinstance(one, str) else dict(one.as_dict())
        for name, one in plans.items()
    }


def power_of(evaluation: Evaluation, outputs: Outputs, wanted: EvaluationSettings) -> dict[str, Any] | None:
    """Of a difference: what it takes to notice an improvement; None where outputs never differ, and else."""
    if evaluation.kind != EvaluationKind.DIFFERENCE:
        return None
    asked = with_guess(evaluation, wanted.wanted())
    found = power_planned(
        outputs.pool, outputs.sides, asked, improvement=wanted.improvement, power=wanted.power
    )  # fmt: skip
    return dict(found.as_dict()) if found else None


def with_guess(evaluation: Evaluation, wanted: Wanted) -> Wanted:
    """What is wanted of a difference, with the rate that the evaluation found which it goes on from."""
    if wanted.guess is not None or evaluation.parent is None:
        return wanted
    found = evaluation.parent.results["tiers"]["estimate"]
    rate = found["estimate"] or found["high"] / 2
    return wanted._replace(guess=rate if 0 < rate < 1 else None)


def difference_answer(
    evaluation: Evaluation,
    outputs: Outputs,
    plan: LabelPlan,
    answers: Answers,
    wanted: EvaluationSettings,
    before: Certificate | None,
) -> tuple[Tiers, DifferenceFound]:
    """The tiers, what they come from and would have shown, and what is certified from the evaluation `before`."""
    way, of = _way(evaluation), (outputs.pool, outputs.sides, plan, answers)
    found = way.answer(*of, wanted.level, wanted.seed)
    certified = None
    if before is not None:
        level = split_level(wanted.level, 2)
        first = before.design.estimate(before.outputs.pool, before.plan, before.answers, level)
        step = way.answer(*of, level, wanted.seed).difference
        certified = chained(first.certificate, [step], level=wanted.level).as_dict()
    smallest = way.smallest(*of, found.difference, wanted.power, wanted.seed)
    told = DifferenceFound(
        found=found.difference.as_dict(),
        signs=dict(SIGNS),
        chained=certified,
        level=wanted.level,
        power=wanted.power,
        smallest=smallest,
    )
    return found.tiers, told
