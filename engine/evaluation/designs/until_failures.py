"""Labels in random order until a number of failures is found: as precise as wanted, whatever the rate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

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
    where_rate_is_from,
)
from engine.evaluation.rates import Rate, clustered, effective_n
from engine.evaluation.stopping import anytime, failures_to_stop, inverse_binomial

NAME, TITLE = "until_failures", "At random until enough failures are found"


def plan(pool: OutputPool, wanted: Wanted, seed: int) -> LabelPlan:
    """Stops at the failures that the precision takes; how many outputs that is depends on the rate. O(n)."""
    size = checked(pool).logits.size
    rate = expected_rate(pool, check_wanted(wanted))
    stop = failures_to_stop(wanted.relative, level=wanted.level)
    waiting = stats.nbinom(stop, rate)
    low, high = (min(size, stop + int(waiting.ppf(share))) for share in (0.1, 0.9))
    outputs = round(_mean_until(stop, rate, size))
    reachable = stop / rate <= size
    reached = wanted.relative if reachable else plain_count(size, rate, wanted.level).half_width
    short = 1 - float(waiting.cdf(size - stop)) if size >= stop else 1.0
    notes = [where_rate_is_from(wanted, rate), f"It stops at {stop} failures; that is what the precision rests on."]
    if not reachable:
        notes.append(out_of_reach(size, wanted, reached))
    elif short >= 0.005:
        notes.append(f"With a chance of {100 * short:.0f} % the pool ends first.")
    failures = min(float(stop), outputs * rate)
    drawn = Drawn(NAME, TITLE, outputs, low, high, failures, reachable, reached, " ".join(notes), stop_at=stop)
    return costed(drawn, pool, wanted)


def _mean_until(stop: int, rate: float, size: int) -> float:
    """E[min(T, size)] for T, the label of failure `stop`: E[T; T <= n] = stop / rate * P(T of stop + 1 <= n + 1)."""
    if size < stop:
        return float(size)
    ends = float(stats.nbinom.cdf(size - stop, stop, rate))
    return stop / rate * float(stats.nbinom.cdf(size - stop, stop + 1, rate)) + size * (1 - ends)


def order(pool: OutputPool, plan: LabelPlan, seed: int) -> NDArray[np.int64]:
    """(n,): the whole pool at random, of which the run takes as many as it needs. O(n)."""
    return np.random.default_rng([seed, 602]).permutation(checked(pool).logits.size).astype(np.int64)


def enough(pool: OutputPool, plan: LabelPlan, wanted: Wanted, answers: Answers) -> bool:
    """Once the failures are found, or the pool is labelled."""
    return bool(answers.failures.sum() >= plan.stop_at or answers.indices.size >= pool.logits.size)


def estimate(pool: OutputPool, plan: LabelPlan, answers: Answers, level: float) -> Tiers:
    """By the rule: answers after the failure that ends it do not count. Looked at before its end: anytime-valid. O(n).

    A pool that ends first gives a plain count; rule and pool's end together still cover.
    """
    bought = matched(checked(pool), answers)
    found = np.flatnonzero(bought.failures)
    ended = 0 < plan.stop_at <= found.size
    last = found[plan.stop_at - 1] + 1 if ended else bought.indices.size
    counted = Answers(bought.indices[:last], bought.failures[:last])
    rate = _rate(pool, plan, counted, ended, level)
    notes = [
        "Outputs are labelled in random order; nothing is assumed of any score. The labels are taken as true.",
        *repeats(pool, counted),
    ]
    if counted.indices.size < bought.indices.size:
        extra = bought.indices.size - counted.indices.size
        notes.append(f"{extra:,} answers came after the failure at which buying stops, and do not count.")
    if not ended and bought.indices.size < pool.logits.size:
        notes.append(f"{found.size} of {plan.stop_at} failures are found; this interval holds at every look.")
    return Tiers(rate, rate, forecast(pool, bought, level), tuple(notes))


def _rate(pool: OutputPool, plan: LabelPlan, counted: Answers, ended: bool, level: float) -> Rate:
    prompts, n = pool.prompts[counted.indices], counted.indices.size
    if not ended and n == pool.logits.size:
        return clustered(counted.failures, prompts, level=level)
    k = int(counted.failures.sum())
    of = effective_n(counted.failures, prompts) if n else 0.0
    inverse = ended and k * of / max(1, n) >= 1
    guess = min(0.5, max(plan.expected_failures, 0.5) / max(1, plan.outputs))
    scaled = k * of / max(1, n)
    rate = inverse_binomial(scaled, of, level=level) if inverse else anytime(scaled, of, level=level, guess=guess)
    plain = inverse_binomial(k, n, level=level).estimate if inverse else rate.estimate
    method = rate.method if of == n else f"{rate.method}, effective n {of:.1f} of clustered prompts"
    return rate._replace(estimate=plain, failures=k, n=n, method=method)


DESIGN = Design(
    name=NAME,
    title=TITLE,
    what="Outputs are drawn at random until so many failures are found as the precision takes, whatever the rate.",
    plan=plan,
    order=order,
    enough=enough,
    estimate=estimate,
)
