"""The difference of two filters as a design: labels for every output where the two differ, in random order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.designs import DESIGNS, Answers, Design, LabelPlan, OutputPool, Tiers, Wanted
from engine.evaluation.designs.planning import Drawn, costed
from engine.evaluation.difference import difference
from webapi.models import Evaluation, EvaluationKind
from workers.evaluation_pool import Outputs

NAME, TITLE = "differing", "Where the two filters differ"


def design_of(evaluation: Evaluation, name: str, outputs: Outputs) -> Design:
    """The design by which an evaluation buys: of a difference there is one."""
    return _differing(outputs) if evaluation.kind == EvaluationKind.DIFFERENCE else DESIGNS[name]


def designs_of(evaluation: Evaluation, outputs: Outputs) -> dict[str, Design]:
    """Those that it might buy by."""
    return {NAME: _differing(outputs)} if evaluation.kind == EvaluationKind.DIFFERENCE else dict(DESIGNS)


def _differing(outputs: Outputs) -> Design:
    """A prompt has two outputs that differ, or one where a filter gave up: both are labelled, and all are."""

    def plan(pool: OutputPool, wanted: Wanted, seed: int) -> LabelPlan:
        size = pool.logits.size
        failures = size * (wanted.guess or 0.0)
        differ = len(set(outputs.places))
        note = f"Of {outputs.drawing.prompts:,} prompts {differ:,} have outputs that differ; the others cancel."
        return costed(Drawn(NAME, TITLE, size, size, size, failures, True, wanted.relative, note), pool, wanted)

    def order(pool: OutputPool, plan: LabelPlan, seed: int) -> NDArray[np.int64]:
        return np.random.default_rng([seed, 603]).permutation(pool.logits.size).astype(np.int64)

    def enough(pool: OutputPool, plan: LabelPlan, wanted: Wanted, answers: Answers) -> bool:
        return bool(answers.indices.size >= pool.logits.size)

    def estimate(pool: OutputPool, plan: LabelPlan, answers: Answers, level: float) -> Tiers:
        return _estimate(outputs, answers, level)

    what = "Both filters got the same proposals; every output is labelled where what they gave differs."
    return Design(NAME, TITLE, what, plan, order, enough, estimate)


def _estimate(outputs: Outputs, answers: Answers, level: float) -> Tiers:
    """The classifier's failures per prompt less those of the filter it is compared with: below 0 it is safer."""
    places, sides = np.array(outputs.places), np.array(outputs.sides)
    fails = np.zeros(places.size, dtype=np.bool_)
    fails[answers.indices] = answers.failures
    distinct = np.unique(places)
    one, other = (np.isin(distinct, places[fails & (sides == side)]) for side in ("a", "b"))
    by_place = dict(zip(places.tolist(), outputs.pool.prompts.tolist(), strict=True))
    units = [by_place[place] for place in distinct.tolist()]
    prompts = outputs.drawing.prompts
    found = difference(one, other, differing=distinct.size, prompts=prompts, units=units, level=level)
    notes = [
        f"Failures per prompt, of {prompts:,}; {distinct.size:,} have outputs that differ.",
        f"Only this filter fails at {found.only_first.failures:,.0f} of them, only the other at "
        f"{found.only_second.failures:,.0f}, both at {found.both:,}.",
    ]
    if found.p_value is not None:
        notes.append(f"Equal rates: p = {found.p_value:.3g}, exact.")
    return Tiers(found.difference, found.difference, None, tuple(notes))
