"""Labels for outputs drawn at random: what every other design is compared with."""

from __future__ import annotations

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
    repeats,
)
from engine.evaluation.designs.forecast import forecast
from engine.evaluation.designs.planning import (
    Drawn,
    check_wanted,
    costed,
    expected_rate,
    out_of_reach,
    plain_count,
    plain_outputs,
    where_rate_is_from,
)
from engine.evaluation.rates import clustered

NAME, TITLE = "simple_random", "Simple random sampling"


def plan(pool: OutputPool, wanted: Wanted, seed: int) -> LabelPlan:
    """As many outputs as Clopper-Pearson's interval takes to be as narrow as wanted, on average. O(n)."""
    size = checked(pool).logits.size
    rate = expected_rate(pool, check_wanted(wanted))
    needed = plain_outputs(wanted.relative, rate, wanted.level)
    outputs = min(needed, size)
    reached = wanted.relative if needed <= size else plain_count(size, rate, wanted.level).half_width
    notes = [where_rate_is_from(wanted, rate)]
    if needed > size:
        notes.append(out_of_reach(size, wanted, reached))
    drawn = Drawn(NAME, TITLE, outputs, outputs, outputs, outputs * rate, needed <= size, reached, " ".join(notes))
    return costed(drawn, pool, wanted)


def order(pool: OutputPool, plan: LabelPlan, seed: int) -> NDArray[np.int64]:
    """(plan.outputs,) of the pool, at random. O(n)."""
    drawn = np.random.default_rng([seed, 601]).permutation(checked(pool).logits.size)
    return drawn[: plan.outputs].astype(np.int64)


def enough(pool: OutputPool, plan: LabelPlan, wanted: Wanted, answers: Answers) -> bool:
    """Once every output planned is answered."""
    return bool(answers.indices.size >= plan.outputs)


def estimate(pool: OutputPool, plan: LabelPlan, answers: Answers, level: float) -> Tiers:
    """Clopper-Pearson, on the effective sample size where prompts repeat, is certificate and estimate. O(n)."""
    bought = matched(checked(pool), answers)
    rate = clustered(bought.failures, pool.prompts[bought.indices], level=level)
    notes = [
        "The outputs are a random sample of the filter's; nothing is assumed of any score. Labels are taken as true.",
        *repeats(pool, bought),
    ]
    if bought.indices.size < plan.outputs:
        notes.append(f"{bought.indices.size:,} of the {plan.outputs:,} outputs planned are answered.")
    return Tiers(rate, rate, forecast(pool, bought, level), tuple(notes))


DESIGN = Design(
    name=NAME,
    title=TITLE,
    what="Outputs are drawn at random, a fixed number of them.",
    plan=plan,
    order=order,
    enough=enough,
    estimate=estimate,
)
