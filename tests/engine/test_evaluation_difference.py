import json
import math

import numpy as np
import pytest
from scipy import stats

from engine.errors import BadInput
from engine.evaluation.chained import chained, split_level
from engine.evaluation.difference import Outputs, difference, difference_by_output, mover, outputs_differ
from engine.evaluation.difference_plan import mcnemar_power, mean_mover_width, plan_difference
from engine.evaluation.rates import Rate, clopper_pearson, fay_feuer, garwood

FIRST = [True] * 6 + [False] * 2 + [True] + [False] * 91
SECOND = [False] * 6 + [True] * 2 + [True] + [False] * 91


def test_the_difference_by_hand():
    """100 of 400 differing prompts labelled, of 10,000: a label stands for 4 prompts, 2,500 are as if labelled."""
    found = difference(FIRST, SECOND, differing=400, prompts=10_000)
    assert (found.prompts, found.differing, found.labelled, found.both) == (10_000, 400, 100, 1)
    for rate, count in ((found.only_first, 6), (found.only_second, 2)):
        assert rate[:3] == pytest.approx(garwood(count, 2500)[:3])
        assert (rate.failures, rate.n, rate.method) == (count, 100, "Garwood")
    low = 4 - math.hypot(6 - stats.gamma.ppf(0.025, 6), stats.gamma.ppf(0.975, 3) - 2)
    high = 4 + math.hypot(stats.gamma.ppf(0.975, 7) - 6, 2 - stats.gamma.ppf(0.025, 2))
    assert found.difference[:3] == pytest.approx((4 / 2500, low / 2500, high / 2500))
    assert found.difference.failures == 8
    assert found.p_value == stats.binomtest(6, 8).pvalue
    assert json.loads(json.dumps(found.as_dict()))["difference"]["estimate"] == found.difference.estimate


def test_the_other_way_round_is_the_same_difference_turned():
    one = difference(FIRST, SECOND, differing=400, prompts=10_000)
    other = difference(SECOND, FIRST, differing=400, prompts=10_000)
    assert [-other.difference.high, -other.difference.low] == pytest.approx(one.difference[1:3])
    assert other.p_value == one.p_value


def test_unequal_weights_have_gamma_intervals_and_no_p():
    weights = np.array([4.0] * 50 + [8.0] * 50)
    found = difference(FIRST, SECOND, differing=600, prompts=10_000, weights=weights)
    expected = fay_feuer([4e-4] * 6, 8e-4, n=100)
    assert found.only_first[:3] == pytest.approx(expected[:3])
    assert "gamma" in found.only_first.method
    assert found.p_value is None


def test_prompts_that_belong_together_fail_together():
    units = np.array([0] * 6 + list(range(1, 95)))
    found = difference(FIRST, SECOND, differing=400, prompts=10_000, units=units)
    expected = fay_feuer([24e-4], 24e-4, n=100)
    assert found.only_first[:3] == pytest.approx(expected[:3])
    assert found.only_first.failures == 6
    assert found.p_value == 1  # of 8 signs of 6, 1 and 1 none sums to less than 4


def test_filters_that_never_differ_need_no_label_and_zero_has_a_limit():
    found = difference([], [], differing=0, prompts=1000)
    assert found.difference[:3] == pytest.approx((0, -3.6889e-3, 3.6889e-3), rel=1e-4)
    assert (found.both, found.p_value, found.only_first.failures) == (0, 1.0, 0)
    none = difference([False] * 50, [False] * 50, differing=100, prompts=1000)
    assert none.only_first[:3] == pytest.approx(garwood(0, 500)[:3])
    assert none.difference.high > 0


def test_nothing_labelled_says_how_far_apart_they_can_be():
    found = difference([], [], differing=40, prompts=1000)
    most = clopper_pearson(40, 1000).high
    assert found.difference[:3] == (None, -most, most)
    assert found.only_first[:3] == (None, 0, most)
    assert found.p_value is None


def test_outputs_differ_where_another_draw_was_accepted():
    assert outputs_differ([0, 2, -1, -1], [0, 3, -1, 5]).tolist() == [False, True, False, True]
    with pytest.raises(BadInput):
        outputs_differ([0], [0, 1])


def test_outputs_may_be_labelled_each_by_its_own_chance():
    """Three failures of weight 1 and one of weight 4 against one of weight 1; a weight of 4 was possible in both."""
    weights = np.array([1.0] * 40 + [4.0] * 10)
    first = Outputs(np.isin(np.arange(50), [0, 1, 2, 40]), weights)
    second = Outputs(np.isin(np.arange(50), [5]), weights)
    found = difference_by_output(first, second, prompts=10_000)
    one, two = fay_feuer([1e-4] * 3 + [4e-4], 4e-4, n=50), fay_feuer([1e-4], 4e-4, n=50)
    assert found.estimate == pytest.approx(6e-4)
    assert found[:3] == pytest.approx(mover(one, two)[:3])
    assert found.failures == 5
    trusting = difference_by_output(first, second, prompts=10_000, trust_strata=True)
    assert trusting[:3] == pytest.approx(mover(one, garwood(1, 10_000))[:3])
    equal = Outputs(np.array(FIRST), np.full(100, 4.0)), Outputs(np.array(SECOND), np.full(100, 4.0))
    paired = difference(FIRST, SECOND, differing=400, prompts=10_000).difference
    loose = difference_by_output(*equal, prompts=10_000)
    assert loose.estimate == pytest.approx(paired.estimate)
    assert loose.high - loose.low > paired.high - paired.low
    nothing = Outputs(weights[:0] > 0, weights[:0])
    for wrong in (first._replace(weights=weights[1:]), first._replace(weights=-weights), nothing):
        with pytest.raises(BadInput):
            difference_by_output(wrong, second, prompts=10_000)


def test_labels_that_do_not_fit_are_refused():
    for wrong in (
        lambda: difference(FIRST, SECOND[:-1], differing=400, prompts=1000),
        lambda: difference(FIRST, SECOND, differing=99, prompts=1000),
        lambda: difference(FIRST, SECOND, differing=400, prompts=399),
        lambda: difference([], [], differing=0, prompts=0),
        lambda: difference(FIRST, SECOND, differing=400, prompts=1000, weights=[1.0]),
        lambda: difference(FIRST, SECOND, differing=400, prompts=1000, weights=[0.0] * 100),
        lambda: difference(FIRST, SECOND, differing=400, prompts=1000, units=[1]),
        lambda: mover(clopper_pearson(0, 0), clopper_pearson(1, 2)),
        lambda: mover(clopper_pearson(1, 2), clopper_pearson(1, 2, level=0.9)),
    ):
        with pytest.raises(BadInput):
            wrong()


def test_a_chain_adds_its_limits_at_levels_that_are_split():
    level = split_level(0.95, 2)
    assert level == pytest.approx(0.975)
    first = garwood(18, 636_000, level=level)
    step = difference(FIRST, SECOND, differing=400, prompts=10_000, level=level)
    found = chained(first, [step])
    assert found.upper == max(first.high - step.difference.low, step.only_second.high)
    assert found.wrong == pytest.approx(0.025)
    assert found.steps == (-step.difference.low,)
    assert "but for a chance of 2.5 %" in found.note
    with pytest.raises(BadInput, match=r"make each at 0\.975"):
        chained(garwood(18, 636_000), [step])
    alone = garwood(18, 636_000)
    assert chained(alone, [])[:3] == (alone.high, pytest.approx(0.025), alone.high)
    with pytest.raises(BadInput):
        split_level(0.95, 0)
    assert json.loads(json.dumps(found.as_dict()))["upper"] == found.upper


def test_a_chain_never_certifies_below_what_the_last_fails_alone():
    level = split_level(0.95, 2)
    better = difference([True] * 60 + [False] * 40, [False] * 100, differing=100, prompts=1000, level=level)
    found = chained(Rate(0.001, 0.0, 0.002, level, "wrong", 1, 1000), [better])
    assert found.upper == better.only_second.high > 0


def test_a_chain_covers():
    """2,000 runs: certify A at 20 failures, then B by 8 and 4 prompts at which one fails alone."""
    rng = np.random.default_rng(8)
    level, wrong = split_level(0.95, 2), 0
    for _ in range(2000):
        first = garwood(int(rng.poisson(20)), 1000, level=level)
        counts = garwood(int(rng.poisson(8)), 1000, level=level), garwood(int(rng.poisson(4)), 1000, level=level)
        step = difference([], [], differing=0, prompts=10, level=level)
        step = step._replace(difference=mover(*counts), only_first=counts[0], only_second=counts[1])
        wrong += chained(first, [step]).upper < 16 / 1000
    assert wrong / 2000 <= 0.025


def test_power_is_the_exact_tests():
    """Over both counts, test by test."""
    first, second = 9.0, 2.5
    found = sum(
        stats.poisson.pmf(a, first) * stats.poisson.pmf(b, second)
        for a in range(40)
        for b in range(25)
        if a > b and stats.binomtest(a, a + b).pvalue <= 0.05
    )
    assert mcnemar_power(first, second, 0.95) == pytest.approx(found, rel=1e-6)
    assert mcnemar_power(0, 0, 0.95) == 0


def test_movers_mean_width_is_over_every_pair_of_counts():
    first, second = 3.0, 1.0
    found = 0.0
    for a in range(25):
        for b in range(18):
            gap = mover(garwood(a, 1), garwood(b, 1)._replace(level=0.95))
            one, two = garwood(a, 1), garwood(b, 1)
            below = math.hypot(a - one.low, two.high - b)
            above = math.hypot(one.high - a, b - two.low)
            assert gap.estimate == a - b
            found += stats.poisson.pmf(a, first) * stats.poisson.pmf(b, second) * (below + above) / 2
    assert mean_mover_width(first, second, 0.95) == pytest.approx(found, rel=1e-4)


def test_two_tests_take_the_labels_that_methods_says():
    plan = plan_difference(2.74e-5, 0.05, overlap=0.8)
    assert plan.width.two_tests == pytest.approx(2.5e6, rel=0.01)
    assert plan.power.two_tests == pytest.approx(3.53e6, rel=0.04)
    assert plan.width.differing == math.ceil(2 * plan.width.prompts * 0.05)
    assert plan.width.shared == math.ceil(plan.width.prompts * 1.05)
    assert mean_mover_width(*[plan.width.prompts * 2.74e-5 * 0.2] * 2, 0.95) <= 0.5 * plan.width.prompts * 2.74e-5
    n = plan.power.prompts * 2.74e-5
    assert mcnemar_power(n * 0.6, n * 0.1, 0.95) >= 0.8
    assert json.loads(json.dumps(plan.as_dict()))["power"]["prompts"] == plan.power.prompts
    apart = plan_difference(2.74e-5, 0.05, overlap=0)
    assert apart.width.two_tests == 2 * apart.width.prompts


@pytest.mark.parametrize(
    "wrong", [{"rate": 0.0}, {"differing": 0.0}, {"overlap": 1.1}, {"power": 1.0}, {"differing": 1e-6}, {"level": 0}]
)
def test_impossible_plans_are_refused(wrong):
    with pytest.raises(BadInput):
        plan_difference(**{"rate": 1e-4, "differing": 0.05, **wrong})
