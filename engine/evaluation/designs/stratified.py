"""Labels where the scores expect failures, and a share everywhere: stratified sampling by Neyman's allocation."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.designs.base import (
    Answers,
    Design,
    LabelPlan,
    OutputPool,
    Tiers,
    Wanted,
    checked,
    matched,
)
from engine.evaluation.designs.forecast import forecast
from engine.evaluation.designs.planning import (
    Drawn,
    check_wanted,
    costed,
    expected_rate,
    least,
    out_of_reach,
    plain_count,
    plain_outputs,
    where_rate_is_from,
)
from engine.evaluation.designs.scores import sampling_score, second_adds
from engine.evaluation.designs.strata import Layers, allocated, chance, codes_of, in_turn, layers_of, mean_half_width
from engine.evaluation.designs.weighing import of_strata

NAME, TITLE = "stratified", "Stratified by a second opinion"
DEFENCE = 0.2
"""Share of labels spread evenly where the width of the design's interval is wanted."""
SAFE_DEFENCE = 0.6
"""The same where a certificate's is, and where nothing vouches for the score: the largest weight decides."""
UNSEEN = 0.1
"""Share of failures taken to look like any other output to a score that was not fitted to labels."""


def plan(pool: OutputPool, wanted: Wanted, seed: int) -> LabelPlan:
    """As many outputs as make the mean width, if failures come as the scores expect them, what is wanted.

    Without fitted chances and without a second opinion that says anything new, nothing vouches for the score: the plan
    then takes as many outputs as random sampling does, and claims no gain. O(n log n), and 200 runs a step.
    """
    size = checked(pool).logits.size
    rate = expected_rate(pool, check_wanted(wanted))
    sure = vouched(pool)
    defence = DEFENCE if sure and wanted.interval == "estimate" else SAFE_DEFENCE
    unseen = 0.0 if pool.chances is not None else UNSEEN
    layers = layers_of(sampling_score(pool), rate, defence=defence, unseen=unseen)
    labels, reached = _as_narrow(layers, wanted, seed) if sure else _as_many(layers, wanted, rate)
    reachable = reached <= wanted.relative
    notes = [where_rate_is_from(wanted, rate), _about(pool)]
    plain = plain_outputs(wanted.relative, rate, wanted.level)
    if sure and plain < int(labels.sum()):
        notes.append(f"Random sampling would take {plain:,}: such a score saves nothing here.")
    if not reachable:
        notes.append(out_of_reach(size, wanted, reached))
    n, failures = int(labels.sum()), float(labels @ layers.expected)
    strata = layers.with_labels(labels)
    drawn = Drawn(NAME, TITLE, n, n, n, failures, reachable, reached, " ".join(notes), strata)
    return costed(drawn, pool, wanted)


def vouched(pool: OutputPool) -> bool:
    """Whether a gain may be claimed: chances were fitted to labels, or a second opinion says something new. O(n)."""
    return pool.chances is not None or second_adds(pool)


def _as_narrow(layers: Layers, wanted: Wanted, seed: int) -> tuple[NDArray[np.int64], float]:
    """Labels a stratum, and the relative half-width they give; all of the pool where that is not enough."""
    uniform = chance(layers, np.random.default_rng([seed, 603]))

    def width(n: int) -> float:
        return mean_half_width(layers, allocated(layers, n), wanted, uniform)

    n = least(lambda n: width(n) <= wanted.relative, _all_of(layers))
    return allocated(layers, n), width(n)


def _as_many(layers: Layers, wanted: Wanted, rate: float) -> tuple[NDArray[np.int64], float]:
    size = int(layers.sizes.sum())
    needed = plain_outputs(wanted.relative, rate, wanted.level)
    n = least(lambda n: int(allocated(layers, n).sum()) >= min(needed, size), _all_of(layers))
    reached = wanted.relative if needed <= size else plain_count(size, rate, wanted.level).half_width
    return allocated(layers, n), reached


def _all_of(layers: Layers) -> int:
    return math.ceil(float((layers.sizes / layers.shares).max())) + 1


def _about(pool: OutputPool) -> str:
    if pool.chances is not None:
        return "What is expected of each output was fitted to pilot labels; where that is wrong the interval is wider."
    if second_adds(pool):
        return f"The score is not fitted to labels: {100 * UNSEEN:.0f} % of failures are taken to be unseen by it."
    if pool.second is not None:
        return "The second opinion says what the first says: no gain is claimed over random sampling."
    return "There is no second opinion, and the score is not fitted to labels: no gain is claimed."


def order(pool: OutputPool, plan: LabelPlan, seed: int) -> NDArray[np.int64]:
    """(plan.outputs,): strata in turn by their shares, each at random, so that what is broken off is balanced. O(n)."""
    rng = np.random.default_rng([seed, 604])
    return in_turn(_codes(checked(pool), plan), [one.labels for one in plan.strata], rng)


def _codes(pool: OutputPool, plan: LabelPlan) -> NDArray[np.int64]:
    return codes_of(sampling_score(pool), np.array([one.low for one in plan.strata]))


def enough(pool: OutputPool, plan: LabelPlan, wanted: Wanted, answers: Answers) -> bool:
    """Once every output planned is answered."""
    return bool(answers.indices.size >= plan.outputs)


def estimate(pool: OutputPool, plan: LabelPlan, answers: Answers, level: float) -> Tiers:
    """Gamma intervals of the weighted failures (`weighing.of_strata`), and a forecast. O(n)."""
    bought = matched(checked(pool), answers)
    tiers = of_strata(_codes(pool, plan), pool.prompts, bought, level)
    notes = tiers.notes
    if bought.indices.size < plan.outputs:
        notes = (*notes, f"{bought.indices.size:,} of the {plan.outputs:,} outputs planned are answered.")
    return tiers._replace(forecast=forecast(pool, bought, level), notes=notes)


DESIGN = Design(
    name=NAME,
    title=TITLE,
    what="More labels go where the scores expect failures, and a share everywhere; weights set that right.",
    plan=plan,
    order=order,
    enough=enough,
    estimate=estimate,
)
