import json
import time

import numpy as np
import pytest
from scipy import stats

from engine.errors import BadInput, UnknownName
from engine.evaluation.designs import Answers, LabelPlan, OutputPool, Wanted, design, planning
from engine.evaluation.designs.base import REPEATS
from engine.evaluation.designs.planning import label_floor, plain_count, plain_outputs
from engine.evaluation.rates import clopper_pearson

RANDOM = design("simple_random")


def pool_of(n, second=None, prompts=None, seed=0):
    logits = np.random.default_rng(seed).normal(-8, 2, n).astype(np.float32)
    return OutputPool(logits, second, np.arange(n) if prompts is None else prompts)


def test_a_plan_takes_the_failures_that_methods_says():
    rate = 2.74e-5
    assert plain_outputs(0.5, rate, 0.95) * rate == pytest.approx(17.45, abs=0.1)
    assert plain_outputs(0.25, rate, 0.95) * rate == pytest.approx(66, abs=1)
    assert plain_outputs(0.1, rate, 0.95) * rate == pytest.approx(394, rel=0.01)
    assert plain_count(636_800, rate, 0.95).high == pytest.approx(1.58, abs=0.015)
    assert label_floor(0.5, rate, 0.95) == pytest.approx(231_000, rel=0.015)


def test_the_mean_half_width_is_that_over_every_count():
    n, rate = 40, 0.2
    limits = [clopper_pearson(k, n)[1:3] for k in range(n + 1)]
    chances = stats.binom.pmf(range(n + 1), n, rate)
    widths = sum(p * (high - low) / 2 for p, (low, high) in zip(chances, limits, strict=True)) / rate
    highs = sum(p * high for p, (_, high) in zip(chances, limits, strict=True)) / rate
    assert plain_count(n, rate, 0.95) == pytest.approx((widths, highs), rel=1e-9)
    needed = plain_outputs(0.5, rate, 0.95)
    assert plain_count(needed, rate, 0.95).half_width <= 0.5 < plain_count(needed - 1, rate, 0.95).half_width


def test_the_mean_over_some_counts_is_that_over_every_count(monkeypatch):
    some = planning.plain_count(1_000_000, 0.01, 0.95)
    monkeypatch.setattr(planning, "POINTS", 10**9)
    assert some == pytest.approx(planning.plain_count(1_000_000, 0.01, 0.95), rel=1e-12)


@pytest.mark.parametrize("name", ["simple_random", "until_failures", "stratified"])
def test_a_precision_that_takes_millions_of_labels_is_planned_in_seconds(name):
    """It took minutes and gigabytes, and held a worker."""
    began = time.process_time()
    plan = design(name).plan(pool_of(100), Wanted(0.001, guess=0.003), 0)
    assert not plan.reachable
    assert time.process_time() - began < 20


def test_a_plan_counts_labels_money_and_hours():
    wanted = Wanted(guess=0.01, price=0.5, seconds=36, labels_each=2, false_yes=0.1)
    plan = RANDOM.plan(pool_of(3000), wanted, 0)
    assert plan.outputs == plan.outputs_low == plan.outputs_high == plain_outputs(0.5, 0.01, 0.95)
    yes = plan.expected_failures + 0.1 * (plan.outputs - plan.expected_failures)
    assert plan.expected_failures == plan.outputs * 0.01
    assert plan.labels == 2 * plan.outputs + round(2 * yes)
    assert (plan.money, plan.hours) == (plan.labels / 2, plan.labels / 100)
    assert (plan.reachable, plan.reached) == (True, 0.5)
    assert plan.floor < plan.outputs
    assert LabelPlan.from_dict(json.loads(json.dumps(plan.as_dict()))) == plan
    with pytest.raises(BadInput, match="not a label plan"):
        LabelPlan.from_dict({**plan.as_dict(), "more": 1})


def test_a_pool_too_small_says_what_it_reaches():
    plan = RANDOM.plan(pool_of(1000), Wanted(guess=0.005), 0)
    assert (plan.outputs, plan.reachable) == (1000, False)
    assert plan.reached == plain_count(1000, 0.005, 0.95).half_width > 0.5
    assert "cannot give ±50 %: all of it labelled gives ±" in plan.note
    assert (plan.money, plan.hours) == (None, None)


def test_the_order_is_settled_by_the_seed_and_buys_nothing_twice():
    pool = pool_of(2500)
    plan = RANDOM.plan(pool, Wanted(guess=0.01), 0)
    order = RANDOM.order(pool, plan, 3)
    assert (order == RANDOM.order(pool, plan, 3)).all()
    assert (order != RANDOM.order(pool, plan, 4)).any()
    assert np.unique(order).size == order.size == plan.outputs
    some = Answers(order[:-1], np.zeros(order.size - 1, bool))
    assert not RANDOM.enough(pool, plan, Wanted(), some)
    assert RANDOM.enough(pool, plan, Wanted(), Answers(order, np.zeros(order.size, bool)))


def test_the_estimate_is_clopper_pearsons_and_zero_has_a_limit():
    pool = pool_of(2500)
    plan = RANDOM.plan(pool, Wanted(guess=0.01), 0)
    order = RANDOM.order(pool, plan, 0)
    none = RANDOM.estimate(pool, plan, Answers(order, np.zeros(order.size, bool)), 0.95)
    assert none.certificate == none.estimate == clopper_pearson(0, order.size)
    assert none.certificate.high > 0
    assert none.forecast is None
    two = RANDOM.estimate(pool, plan, Answers(order[:100], np.arange(100) < 2), 0.9)
    assert two.certificate == clopper_pearson(2, 100, level=0.9)
    assert any("100 of the" in note for note in two.notes)
    nothing = RANDOM.estimate(pool, plan, Answers(order[:0], np.zeros(0, bool)), 0.95)
    assert nothing.certificate[:3] == (None, 0, 1)


def test_prompts_that_repeat_widen_the_interval():
    pool = pool_of(400, prompts=np.repeat(np.arange(100), 4))
    plan = RANDOM.plan(pool, Wanted(guess=0.2), 0)
    order = np.arange(400)
    together = np.repeat(np.arange(100) < 20, 4)
    found = RANDOM.estimate(pool, plan, Answers(order, together), 0.95).certificate
    assert found.estimate == 0.2
    assert found.high - found.low > 1.8 * (clopper_pearson(80, 400).high - clopper_pearson(80, 400).low)


def test_a_model_forecasts_the_rate_of_the_rest():
    pool = pool_of(20_000)
    chances = 1 / (1 + np.exp(-(pool.logits.astype(float) + 5)))
    failures = np.random.default_rng(1).random(20_000) < chances
    plan = RANDOM.plan(pool, Wanted(guess=0.05), 0)
    first = np.arange(2000)
    found = RANDOM.estimate(pool, plan, Answers(first, failures[first]), 0.95)
    assert found.forecast is not None
    assert found.forecast.low < chances.mean() < found.forecast.high
    assert found.forecast.high / found.forecast.low < found.estimate.high / found.estimate.low
    assert "no certificate" in found.forecast.method


@pytest.mark.parametrize(
    ("pool", "message"),
    [
        (OutputPool(np.zeros(0, np.float32), None, np.zeros(0, np.int64)), "no outputs"),
        (OutputPool(np.zeros(2, np.float32), None, np.zeros(3, np.int64)), "prompts of shape"),
        (OutputPool(np.array([0, np.nan], np.float32), None, np.zeros(2, np.int64)), "NaN"),
        (OutputPool(np.zeros(2, np.float32), None, np.zeros(2, np.int64), np.array([0.1, 1.1])), "chances"),
    ],
)
def test_a_pool_that_is_none_is_refused(pool, message):
    with pytest.raises(BadInput, match=message):
        RANDOM.plan(pool, Wanted(), 0)


def test_impossible_wishes_and_answers_are_refused():
    pool = pool_of(100)
    for wanted in (Wanted(guess=0.0), Wanted(relative=0), Wanted(level=1), Wanted(price=-1), Wanted(labels_each=0)):
        with pytest.raises(BadInput):
            RANDOM.plan(pool, wanted, 0)
    plan = RANDOM.plan(pool, Wanted(), 0)
    for answers, message in (([0, 0], "twice"), ([0, 100], "does not hold")):
        with pytest.raises(BadInput, match=message):
            RANDOM.estimate(pool, plan, Answers(np.array(answers), np.zeros(2, bool)), 0.95)
    with pytest.raises(UnknownName, match="simple_random"):
        design("guesswork")


@pytest.mark.parametrize("name", ["simple_random", "until_failures"])
def test_it_says_when_prompts_repeat(name):
    one, two = pool_of(40), pool_of(40, prompts=np.arange(40) // 2)
    plan = design(name).plan(one, Wanted(guess=0.3), 0)
    answers = Answers(np.arange(40), np.arange(40) % 5 == 0)
    notes = [design(name).estimate(pool, plan, answers, 0.95).notes for pool in (one, two)]
    assert [REPEATS in said for said in notes] == [False, True]
