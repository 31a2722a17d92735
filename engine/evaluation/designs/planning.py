"""From a precision wanted to numbers of labels: what plain counts take, what no method can go below, what it costs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import stats

from engine.errors import BadInput
from engine.evaluation.designs.base import LabelPlan, OutputPool, Stratum, Wanted
from engine.evaluation.designs.scores import sampling_score
from engine.evaluation.rates import clopper_pearson_each

MOST = 10**12
"""Labels that nobody buys: where more would be needed, planning stops."""
POINTS = 512
"""Counts that a mean is taken over, at most twice as many."""


class Expected(NamedTuple):
    """What an interval of a plain count will be on average, relative to the true rate."""

    half_width: float
    high: float


def check_wanted(wanted: Wanted) -> Wanted:
    """What is wanted. Raises BadInput where it is impossible. O(1)."""
    if not wanted.relative > 0 or not 0 < wanted.level < 1:
        raise BadInput(f"a half-width of {wanted.relative} at level {wanted.level}", where="wanted")
    if wanted.guess is not None and not 0 < wanted.guess < 1:
        raise BadInput(f"the rate expected must lie between 0 and 1, not {wanted.guess}", where="guess")
    if wanted.confirmations < 0 or wanted.labels_each < 1 or not 0 <= wanted.false_yes <= 1:
        raise BadInput("confirmations >= 0, labels_each >= 1, false_yes in [0, 1]", where="wanted")
    for name, value in (("price", wanted.price), ("seconds", wanted.seconds)):
        if value is not None and not 0 <= value < math.inf:
            raise BadInput(f"{name} must not be {value}", where="wanted")
    return wanted


def expected_rate(pool: OutputPool, wanted: Wanted) -> float:
    """The guess or, without one, the mean sampling score of the pool. O(n)."""
    return float(sampling_score(pool).mean()) if wanted.guess is None else wanted.guess


def plain_count(n: int, rate: float, level: float) -> Expected:
    """Mean half-width and upper limit, over the rate, of Clopper-Pearson's interval of `n` outputs. O(POINTS).

    The mean is over the count of failures, binomial in `n` and `rate`: over every count or, where they are many, over
    POINTS evenly spaced ones, which is the same to rounding, as the summand is smooth.
    """
    spread = 9 * math.sqrt(n * rate * (1 - rate)) + 9
    low, high = max(0, math.floor(n * rate - spread)), min(n, math.ceil(n * rate + spread))
    counts = np.arange(low, high + 1, max(1, (high - low) // POINTS))
    chances = stats.binom.pmf(counts, n, rate)
    limits = clopper_pearson_each(counts.tolist(), [n] * counts.size, level=level)
    lows, highs = np.array([one.low for one in limits]), np.array([one.high for one in limits])
    total = float(chances.sum()) * rate
    return Expected(float(chances @ (highs - lows)) / 2 / total, float(chances @ highs) / total)


def plain_outputs(relative: float, rate: float, level: float) -> int:
    """Outputs to draw at random so that the mean half-width is `relative` times `rate`, at most MOST. O(log n) means.

    At small rates this is a number of failures: 17.5 for +-50 % at 95 %, 66 for +-25 %.
    """
    return least(lambda n: plain_count(n, rate, level).half_width <= relative, MOST)


def least(good: Callable[[int], bool], most: int) -> int:
    """The smallest n from 1 to `most` that is good, if goodness only ever begins; `most` where none is. O(log n)."""
    high = 1
    while high < most and not good(high):
        high = min(2 * high, most)
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if good(middle) else (middle, high)
    return high


def label_floor(relative: float, rate: float, level: float) -> int:
    """Outputs that any method must label whose upper limit holds without assumptions and is as low (methods, D.3).

    As low as plain counts of this precision have it on average: 1.58 times the rate at +-50 %. Who labels n outputs
    can miss failures in a share U - F of the rest with probability (1 - (U - F))^n, which the limit's tail
    must not be below. O(log n) means.
    """
    tail = (1 - level) / 2
    n = plain_outputs(relative, rate, level)
    hidden = min(1.0, plain_count(n, rate, level).high * rate) - rate
    return min(n, math.ceil(math.log(tail) / math.log1p(-hidden)))


class Drawn(NamedTuple):
    """What a design settles for itself, before `costed` puts prices to it."""

    design: str
    title: str
    outputs: int
    low: int
    high: int
    failures: float
    reachable: bool
    reached: float
    note: str
    strata: tuple[Stratum, ...] = ()
    stop_at: int = 0


def costed(drawn: Drawn, pool: OutputPool, wanted: Wanted) -> LabelPlan:
    """The plan with labels, money, hours and floor: a Yes, true or false, takes confirmations. O(n)."""
    yes = drawn.failures + wanted.false_yes * max(0.0, drawn.outputs - drawn.failures)
    labels = drawn.outputs * wanted.labels_each + round(yes * wanted.confirmations)
    return LabelPlan(
        design=drawn.design,
        title=drawn.title,
        outputs=drawn.outputs,
        outputs_low=drawn.low,
        outputs_high=drawn.high,
        labels=labels,
        expected_failures=drawn.failures,
        floor=label_floor(wanted.relative, expected_rate(pool, wanted), wanted.level),
        money=None if wanted.price is None else labels * wanted.price,
        hours=None if wanted.seconds is None else labels * wanted.seconds / 3600,
        reachable=drawn.reachable,
        reached=drawn.reached,
        strata=drawn.strata,
        note=drawn.note,
        stop_at=drawn.stop_at,
    )


def where_rate_is_from(wanted: Wanted, rate: float) -> str:
    """A sentence: the rate that the plan takes, and where from."""
    source = (
        "as given or found before" if wanted.guess is not None else "the mean of the scores, which nobody has checked"
    )
    return f"It takes a failure rate of {rate:.3g}, {source}."


def out_of_reach(size: int, wanted: Wanted, reached: float) -> str:
    """A sentence: the pool is too small, and what it gives."""
    return (
        f"The pool of {size:,} outputs cannot give ±{100 * wanted.relative:.0f} %: "
        f"all of it labelled gives ±{100 * reached:.0f} %."
    )
