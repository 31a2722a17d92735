"""The difference of two filters output by output: strata of both, order, three tiers, certificates that hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from engine.errors import BadInput
from engine.evaluation.chained import chained, split_level
from engine.evaluation.designs import Answers, OutputPool, Wanted
from engine.evaluation.designs.strata import Layers
from engine.evaluation.difference import mover
from engine.evaluation.difference_ways import WAYS, design_by, plans_of, way_of, way_planned
from engine.evaluation.differing import Sides, answer_by_pairs, plan_differing
from engine.evaluation.differing_answer import answer_by_outputs, smallest_by_outputs
from engine.evaluation.differing_outputs import ENOUGH, NAME, codes_in_plan, order_by_outputs, plan_by_outputs
from engine.evaluation.differing_strata import gaps, half_width, two_pools
from engine.evaluation.rates import fay_feuer, garwood

N, PLACES = 20_000, 2000
RATE = 0.01


def pool_of(seed: int = 0, *, chances: bool = True) -> tuple[OutputPool, Sides]:
    """2,000 places that differ of 20,000; 1 % of prompts get a failure, half of them where the two differ."""
    rng = np.random.default_rng(seed)
    expected = rng.choice([0.005, 0.4], 2 * PLACES, p=[0.887, 0.113])
    logits, second = rng.normal(-4, 1, (2, 2 * PLACES)).astype(np.float32)
    sides = Sides(np.repeat(np.arange(PLACES), 2), np.tile([True, False], PLACES), N)
    return OutputPool(logits, second, sides.places.copy(), expected if chances else None), sides


POOL, SIDES = pool_of()
PLAN = plan_by_outputs(POOL, SIDES, Wanted(guess=RATE), 0)[NAME]


def answered(plan=PLAN, *, failing: int = 3) -> Answers:
    order = order_by_outputs(POOL, SIDES, plan, 0)
    return Answers(order, np.isin(np.arange(order.size), np.arange(failing)))


def test_labels_of_both_pools_follow_neyman() -> None:
    one = Layers(np.array([0.0, 0.5]), np.array([900, 100]), np.array([0.01, 0.36]), np.array([0.5, 0.5]))
    other = Layers(np.array([0.0]), np.array([1000]), np.array([0.04]), np.array([1.0]))
    of = two_pools(one, other, prompts=10_000, defence=0.2)
    roots = np.array([900 * 0.1, 100 * 0.6, 1000 * 0.2])
    assert of.layers.shares == pytest.approx(0.2 * np.array([0.45, 0.05, 0.5]) + 0.8 * roots / roots.sum())
    assert of.later.tolist() == [True, True, False]
    assert of.weights(np.array([90, 50, 100])) == pytest.approx([1e-3, 2e-4, 1e-3])


def test_the_width_is_that_of_movers_interval_of_two_gamma_intervals() -> None:
    one = Layers(np.array([0.0, 0.5]), np.array([900, 100]), np.array([0.01, 0.36]), np.array([0.5, 0.5]))
    of = two_pools(one, None, prompts=10_000, defence=0.2)
    labels, counts = np.array([90, 50]), np.array([[0.0, 3.0]])
    sure = mover(fay_feuer([2e-4] * 3, 1e-3, n=9), fay_feuer([], 1e-4, n=9))
    trusting = mover(fay_feuer([2e-4] * 3, 2e-4, n=9), fay_feuer([], 1e-4, n=9))
    for interval, expected in (("certificate", sure), ("estimate", trusting)):
        found = gaps(of, labels, counts, level=0.95, interval=interval)
        assert [float(part[0]) for part in found] == pytest.approx(expected[:3])
        width = half_width(of, labels, Wanted(interval=interval), counts)
        assert width == pytest.approx((expected.high - expected.low) / 2)


def test_it_plans_fewer_labels_than_pairs_where_the_scores_know() -> None:
    pairs = plan_differing(POOL, SIDES, Wanted(guess=RATE))["differing"]
    assert (pairs.outputs, PLAN.outputs) == (388, 162)
    assert PLAN.reachable
    assert PLAN.reached <= 0.5
    assert PLAN.outputs == sum(one.labels for one in PLAN.strata)
    assert [(one.size, one.low) for one in PLAN.strata if one.low == 0.0] == [(1797, 0.0), (1774, 0.0)]
    share = PLACES / N
    assert PLAN.floor == math.ceil(2 * math.log(0.025) / math.log1p(-0.5 * RATE / share))
    sure = plan_by_outputs(POOL, SIDES, Wanted(guess=RATE, interval="certificate"), 0)[NAME]
    assert PLAN.outputs < sure.outputs < pairs.outputs
    assert "Its certificate, which a later filter's goes on from, is then ±" in PLAN.note
    assert PLAN.labels == PLAN.outputs + round(2 * PLAN.expected_failures)


def test_where_the_scores_say_nothing_new_no_gain_is_claimed() -> None:
    blind = POOL._replace(chances=None, second=POOL.logits)
    plan = plan_by_outputs(blind, SIDES, Wanted(guess=RATE), 0)[NAME]
    pairs = plan_differing(blind, SIDES, Wanted(guess=RATE))["differing"]
    assert plan.outputs >= 0.95 * pairs.outputs
    assert "no gain is claimed" in plan.note
    worse = plan_by_outputs(blind, SIDES, Wanted(guess=RATE, interval="certificate"), 0)[NAME]
    assert worse.outputs >= pairs.outputs
    assert f"By pairs {pairs.outputs:,} outputs do: here this way saves nothing." in worse.note


def test_a_pool_that_is_too_small_is_labelled_whole_and_answered_by_pairs() -> None:
    few = np.arange(60)
    pool = OutputPool(POOL.logits[few], POOL.second[few], SIDES.places[few], np.full(60, 0.1))
    sides = Sides(SIDES.places[few], SIDES.later[few], 300)
    plans = plan_by_outputs(pool, sides, Wanted(guess=0.02), 0)
    pairs = plan_differing(pool, sides, Wanted(guess=0.02))["differing"]
    ours = plans[NAME]
    assert (ours.outputs, ours.reachable, ours.reached) == (60, False, pairs.reached)
    assert "As it labels them all, it answers by pairs." in ours.note
    assert "would have to be run on about" in ours.note
    assert plans[ENOUGH].outputs > 60
    order = order_by_outputs(pool, sides, ours, 1)
    assert sorted(order.tolist()) == few.tolist()
    said = Answers(order, order % 7 == 0)
    assert answer_by_outputs(pool, sides, ours, said, 0.95, 1) == answer_by_pairs(pool, sides, said, 0.95, 1)


def test_the_order_is_settled_by_the_seed_and_balanced_where_broken_off() -> None:
    order = order_by_outputs(POOL, SIDES, PLAN, 3)
    assert order.tolist() == order_by_outputs(POOL, SIDES, PLAN, 3).tolist()
    assert order.tolist() != order_by_outputs(POOL, SIDES, PLAN, 4).tolist()
    codes = codes_in_plan(POOL, SIDES, PLAN)
    assert np.bincount(codes[order]).tolist() == [one.labels for one in PLAN.strata]
    assert np.bincount(codes).tolist() == [one.size for one in PLAN.strata]
    half = np.bincount(codes[order[:81]], minlength=len(PLAN.strata))
    assert all(abs(n - one.labels / 2) <= 1 for n, one in zip(half, PLAN.strata, strict=True))
    with pytest.raises(BadInput, match="of other outputs"):
        codes_in_plan(POOL, SIDES._replace(later=np.ones(2 * PLACES, dtype=bool)), PLAN)


def test_three_tiers_by_hand() -> None:
    """Two failures of the other filter and one of this one, each in the stratum that expects failures."""
    order = order_by_outputs(POOL, SIDES, PLAN, 0)
    likely = POOL.chances[order] > 0.1
    ours, theirs = (np.flatnonzero(likely & (SIDES.later[order] == later)) for later in (True, False))
    failing = [ours[0], *theirs[:2]]
    said = Answers(order, np.isin(np.arange(order.size), failing))
    found = answer_by_outputs(POOL, SIDES, PLAN, said, 0.95, 0)
    weights = [one.size / one.labels / N for one in PLAN.strata]
    assert len(weights) == 4
    sure = fay_feuer([weights[3]] * 2, weights[2], n=1), fay_feuer([weights[1]], weights[0], n=1)
    trusting = garwood(2, 1 / weights[3]), garwood(1, 1 / weights[1])
    assert found.difference.difference[:3] == pytest.approx(mover(*sure)[:3])
    gap = mover(*trusting)
    assert found.tiers.estimate[:3] == pytest.approx((-gap.estimate, -gap.high, -gap.low))
    assert found.tiers.certificate.low == -found.difference.difference.high < found.tiers.estimate.low
    assert (found.tiers.estimate.failures, found.tiers.estimate.n) == (3, PLAN.outputs)
    assert found.tiers.forecast is None, "one failure teaches no model"
    assert (found.difference.paired, found.difference.labelled, found.difference.p_value) == (False, 162, None)
    more = Answers(order, np.isin(np.arange(order.size), [*ours[:5], *theirs[:5]]))
    forecast = answer_by_outputs(POOL, SIDES, PLAN, more, 0.95, 0).tiers.forecast
    assert forecast is not None
    assert forecast.low < forecast.estimate < forecast.high


def test_outputs_of_one_prompt_fail_together() -> None:
    said = answered()
    alone = answer_by_outputs(POOL, SIDES, PLAN, said, 0.95, 0)
    together = answer_by_outputs(POOL._replace(prompts=POOL.prompts // 100), SIDES, PLAN, said, 0.95, 0)
    assert together.tiers.certificate.estimate == pytest.approx(alone.tiers.certificate.estimate)
    assert together.tiers.certificate.high > alone.tiers.certificate.high


def test_what_is_not_answered_may_fail() -> None:
    whole = answered(failing=0)
    mine = SIDES.later[whole.indices]
    half = Answers(whole.indices[mine], whole.failures[mine])
    found = answer_by_outputs(POOL, SIDES, PLAN, half, 0.95, 0)
    assert found.tiers.certificate.estimate is None
    assert found.tiers.certificate.low <= -PLACES / N, "the other's outputs are all unknown"
    part = Answers(whole.indices[:2], whole.failures[:2])
    assert (
        answer_by_outputs(POOL, SIDES, PLAN, part, 0.95, 0).tiers.notes[-1]
        == "2 of the 162 outputs planned are answered."
    )
    with pytest.raises(BadInput):
        answer_by_outputs(POOL, SIDES, PLAN, Answers(whole.indices[[0, 0]], whole.failures[:2]), 0.95, 0)


def test_both_tiers_cover_and_what_is_chained_holds() -> None:
    """400 evaluations of filters of which the later fails more, fixed seeds: 95 % intervals, limits wrong in 2.5 %."""
    rng = np.random.default_rng(5)
    level, wanted = split_level(0.95, 2), Wanted(guess=RATE)
    scale = np.where(SIDES.later, 1.2, 0.6)
    chances = np.minimum(1, POOL.chances * scale)
    truth = [float(chances[side].sum()) / N for side in (SIDES.later, ~SIDES.later)]
    common = RATE / 2
    missed = {"certificate": 0, "estimate": 0, "step": 0, "chain": 0}
    for run in range(400):
        fails = rng.random(2 * PLACES) < chances
        order = order_by_outputs(POOL, SIDES, PLAN, run)
        said = Answers(order, fails[order])
        tiers = answer_by_outputs(POOL, SIDES, PLAN, said, wanted.level, run).tiers
        gap = truth[0] - truth[1]
        for name in ("certificate", "estimate"):
            rate = getattr(tiers, name)
            missed[name] += not rate.low <= gap <= rate.high
        step = answer_by_outputs(POOL, SIDES, PLAN, said, level, run).difference
        first = garwood(int(rng.poisson(5000 * (common + truth[1]))), 5000, level=level)
        missed["step"] += -step.difference.low < gap
        missed["chain"] += chained(first, [step], level=0.95).upper < common + truth[0]
    assert missed == {"certificate": 0, "estimate": 6, "step": 0, "chain": 0}


def test_the_smallest_difference_is_what_four_in_five_runs_show() -> None:
    plan = plan_by_outputs(POOL, SIDES, Wanted(guess=RATE, relative=0.15), 0)[NAME]
    said = answered(plan, failing=0)
    found = answer_by_outputs(POOL, SIDES, plan, said, 0.95, 0).difference
    smallest = smallest_by_outputs(POOL, SIDES, plan, found, 0.8, 0)
    assert smallest == pytest.approx(0.000525, rel=1e-3)
    weights = np.array([one.size / N for one in plan.strata])
    codes, rng, shown = codes_in_plan(POOL, SIDES, plan), np.random.default_rng(2), 0
    shape = np.bincount(codes, POOL.chances) / np.bincount(codes)
    shape = np.where([True, True, False, False], shape, 0) * smallest / float(shape[:2] @ weights[:2])
    for _ in range(2000):
        fails = rng.random(said.indices.size) < shape[codes[said.indices]]
        shown += answer_by_outputs(POOL, SIDES, plan, said._replace(failures=fails), 0.95, 0).tiers.estimate.low > 0
    assert shown == 1603, "80 % of 2,000 runs"


def test_ways_go_by_the_designs_name() -> None:
    assert [way.name for way in WAYS.values()] == ["differing", NAME]
    assert way_planned(NAME) is way_of("stratified")
    with pytest.raises(BadInput, match="cannot be bought by 'until_failures'"):
        way_of("until_failures")
    with pytest.raises(BadInput):
        way_planned("two_tests")
    unscored = POOL._replace(second=None)
    with pytest.raises(BadInput, match="lack the other filter's scores"):
        plan_by_outputs(unscored, SIDES, Wanted(guess=RATE), 0)
    plans = plans_of(unscored, SIDES, Wanted(guess=RATE), 0)
    assert "lack the other filter's scores" in plans[NAME]
    assert plans["differing"].outputs == 388


@pytest.mark.parametrize("name", list(WAYS))
def test_every_way_keeps_a_designs_contract(name: str) -> None:
    design = design_by(WAYS[name], SIDES)
    wanted = Wanted(guess=RATE)
    plan = design.plan(POOL, wanted, 7)
    assert plan.design == design.name == WAYS[name].name
    assert plan == design.plan(POOL, wanted, 7)
    order = design.order(POOL, plan, 7)
    assert np.unique(order).size == order.size >= plan.outputs
    said = Answers(order, np.zeros(order.size, dtype=bool))
    assert design.enough(POOL, plan, wanted, said)
    assert not design.enough(POOL, plan, wanted, Answers(order[:10], said.failures[:10]))
    tiers = design.estimate(POOL, plan, said, 0.95)
    assert tiers.estimate.estimate == 0
    assert tiers.certificate.low < 0 < tiers.certificate.high
    none = np.empty(0, dtype=np.int64)
    alike = Sides(none, none.astype(bool), 50)
    nothing = OutputPool(none.astype(np.float32), None, none)
    empty = design_by(WAYS[name], alike)
    plan = empty.plan(nothing, wanted, 0)
    assert (plan.outputs, empty.order(nothing, plan, 0).size) == (0, 0)
    found = empty.estimate(nothing, plan, Answers(none, none.astype(bool)), 0.95)
    assert found.certificate.high == pytest.approx(stats.gamma.ppf(0.975, 1) / 50)
