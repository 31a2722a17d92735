"""Jobs of an evaluation that plan labels and buy them."""

from __future__ import annotations

import uuid
from typing import Any, NamedTuple

import numpy as np

from engine.errors import EngineError
from engine.evaluation.designs import DESIGNS, Answers, Design, LabelPlan, Wanted
from webapi.models import Evaluation, EvaluationKind, EvaluationState
from webapi.models.evaluations import DRAW
from workers import evaluation_quality
from workers.evaluation_difference import design_of, other_plans, power_of
from workers.evaluation_pool import Outputs, join_shards, read_outputs
from workers.evaluation_purchase import (
    Ints,
    Purchase,
    Standings,
    await_batches,
    purchase_of,
    send,
    standings,
)
from workers.evaluation_settings import EvaluationSettings, evaluation_settings
from workers.jobs import JobEnded, JobRun

STEPS = 20
"""Into so many parts a purchase of no fixed size is cut: less is bought in vain when it may stop."""
RANDOM = "simple_random"


def fresh(run: JobRun) -> Evaluation:
    """The job's evaluation as it is now."""
    return fresh_of(run.evaluation.pk)


def fresh_of(key: uuid.UUID) -> Evaluation:
    """The evaluation as it is now, with what its steps read."""
    rows = Evaluation.objects.select_related(
        "classifier__policy", "classifier__round", "against", "pool", "round", "parent"
    )
    return rows.get(pk=key)


def plan_labels(run: JobRun) -> dict[str, Any]:
    """Job: what each design would cost on the outputs drawn, after a pilot where one was asked for."""
    evaluation = fresh(run)
    if evaluation.pool is None:
        shards = list(evaluation.jobs.filter(kind=DRAW).order_by("shard").values_list("shard", flat=True))
        evaluation.pool = join_shards(evaluation, shards)
        Evaluation.objects.filter(pk=evaluation.pk).update(pool=evaluation.pool)
    wanted, outputs = evaluation_settings(evaluation.config), read_outputs(evaluation)
    if evaluation.kind == EvaluationKind.QUALITY:
        return _settle(run, evaluation, evaluation_quality.plan(evaluation, wanted, outputs))
    found = _pilot(run, evaluation, wanted, outputs) if wanted.pilot else None
    asked = wanted.wanted(found.rate if found else None)
    chosen = design_of(evaluation, outputs).plan(outputs.pool, asked, wanted.seed)
    plan: dict[str, object] = {
        "chosen": chosen.as_dict(),
        "designs": _plans(evaluation, outputs, asked, wanted.seed),
        "guess": asked.guess,
        "outputs": {"size": len(outputs.origins), **outputs.drawing._asdict()},
        "pilot": found._asdict() if found else None,
        "power": power_of(evaluation, outputs, wanted),
    }
    return _settle(run, evaluation, plan)


def _settle(run: JobRun, evaluation: Evaluation, plan: dict[str, Any]) -> dict[str, Any]:
    if not evaluation.settle_plan(plan) and fresh(run).state == EvaluationState.CANCELLED:
        raise JobEnded
    return {name: plan["chosen"][name] for name in ("outputs", "labels")}


def _plans(evaluation: Evaluation, outputs: Outputs, asked: Wanted, seed: int) -> dict[str, Any]:
    """What each design would take or, of a difference, each way to it."""
    others = other_plans(evaluation, outputs, asked, seed)
    if others is not None:
        return others
    return {name: _planned(one, outputs, asked, seed) for name, one in DESIGNS.items()}


def _planned(design: Design, outputs: Outputs, wanted: Wanted, seed: int) -> dict[str, Any]:
    """A design that cannot be had here says why."""
    try:
        return dict(design.plan(outputs.pool, wanted, seed).as_dict())
    except EngineError as error:
        return {"design": design.name, "title": design.title, "error": str(error)}


class _Pilot(NamedTuple):
    """What a few outputs drawn by chance said."""

    outputs: int
    failures: int
    suspected: int
    rate: float | None
    """None where none failed: then the scores are what is known."""


def _pilot(run: JobRun, evaluation: Evaluation, wanted: EvaluationSettings, outputs: Outputs) -> _Pilot:
    """The first outputs that drawing at random would buy. Raises Later until their labels are there."""
    await_batches(run, evaluation)
    buying, indices = purchase_of(evaluation, wanted, outputs), pilot_indices(outputs, wanted)
    found = standings(run, buying, indices)
    if found.lacking:
        send(buying, found.lacking, name="pilot", before=0, now=0)
        await_batches(run, evaluation)
    failures = sum(one.failure for one in found.each)
    suspected = sum(one.suspected for one in found.each)
    return _Pilot(len(found.each), failures, suspected, failures / len(found.each) if failures else None)


def pilot_indices(outputs: Outputs, wanted: EvaluationSettings) -> Ints:
    """Places of the pilot's outputs."""
    size = min(wanted.pilot, len(outputs.origins))
    plan = DESIGNS[RANDOM].plan(outputs.pool, wanted.wanted(0.5), wanted.seed)
    return DESIGNS[RANDOM].order(outputs.pool, plan._replace(outputs=size), wanted.seed)[:size]


def buy_labels(run: JobRun) -> dict[str, Any]:
    """Job: sends out outputs in the order of the plan, has failures confirmed, and ends when the design has enough.

    It comes back while labels are to come, holding no worker. What is bought is noted as it is sent out, and labels
    that a snippet has are used: broken off anywhere, it goes on where it was.
    """
    evaluation = fresh(run)
    if evaluation.state != EvaluationState.LABELLING:
        raise JobEnded
    if evaluation.kind == EvaluationKind.QUALITY:
        wanted = evaluation_settings(evaluation.config)
        return evaluation_quality.buy(run, evaluation, wanted, read_outputs(evaluation))
    await_batches(run, evaluation)
    at_hand = at_work(evaluation)
    while True:
        found = standings(run, at_hand.buying, at_hand.order[: evaluation.bought])
        run.progress(evaluation.bought, at_hand.order.size)
        before = evaluation.bought
        if not found.lacking:
            if at_hand.enough(found) or before >= at_hand.order.size:
                return {"outputs": before}
            evaluation.bought = min(before + at_hand.step, at_hand.order.size)
            found = standings(run, at_hand.buying, at_hand.order[: evaluation.bought])
        send(at_hand.buying, found.lacking, name="labels", before=before, now=evaluation.bought)
        await_batches(run, evaluation)


class AtWork(NamedTuple):
    """A purchase, its plan and the order in which it buys."""

    buying: Purchase
    design: Design
    plan: LabelPlan
    order: Ints
    step: int
    """Outputs that are sent out together."""

    def answers(self, found: Standings) -> Answers:
        """What is settled, in order, up to the first output that is not, or to where the plan stops."""
        settled = [one.lacking == 0 for one in found.each]
        end = settled.index(False) if False in settled else len(settled)
        failures = np.array([one.failure for one in found.each[:end]], dtype=np.bool_)
        if self.plan.stop_at and failures.sum() >= self.plan.stop_at:
            end = int(np.flatnonzero(failures)[self.plan.stop_at - 1]) + 1
        return Answers(self.order[:end], failures[:end])

    def enough(self, found: Standings) -> bool:
        """Whether the design may stop."""
        wanted, pool = self.buying.wanted.wanted(), self.buying.outputs.pool
        return self.design.enough(pool, self.plan, wanted, self.answers(found))


def at_work(evaluation: Evaluation) -> AtWork:
    """The purchase as its plan has it. O(outputs)."""
    wanted, outputs = evaluation_settings(evaluation.config), read_outputs(evaluation)
    plan = LabelPlan.from_dict(evaluation.plan["chosen"])
    design = design_of(evaluation, outputs)
    order = design.order(outputs.pool, plan, wanted.seed)
    cut = STEPS if plan.stop_at else 1
    step = wanted.at_once or max(1, -(-plan.outputs // cut))
    return AtWork(purchase_of(evaluation, wanted, outputs), design, plan, order, step)
