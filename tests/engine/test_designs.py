"""Contract of every design, then what is each one's own."""

import json

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from engine.errors import BadInput
from engine.evaluation.designs import DESIGNS, Answers, LabelPlan, OutputPool, Stratum, Wanted
from engine.evaluation.designs.scores import sampling_score, second_adds, with_pilot
from engine.evaluation.designs.strata import gamma_limits
from engine.evaluation.rates import clopper_pearson, fay_feuer, garwood
from engine.evaluation.stopping import anytime, inverse_binomial

every = pytest.mark.parametrize("name", DESIGNS)
STRATIFIED, UNTIL = DESIGNS["stratified"], DESIGNS["until_failures"]


def world(n=20_000, seed=0, shift=-5.0):
    """A pool with its true labels: the two logits' sum is the failure's log odds."""
    rng = np.random.default_rng(seed)
    first, second = rng.normal(0, 1.2, (2, n))
    chances = expit(first + second + shift)
    pool = OutputPool((first + shift).astype(np.float32), second.astype(np.float32), np.arange(n), chances)
    return pool, rng.random(n) < chances


def bought(design, pool, plan, wanted, failures, seed=0):
    order = design.order(pool, plan, seed)
    k = 0
    while k < order.size and not design.enough(pool, plan, wanted, Answers(order[:k], failures[order[:k]])):
        k += 1
    return Answers(order[:k], failures[order[:k]])


@every
def test_a_design_keeps_its_plan_and_its_interval_is_as_wide_as_wanted(name):
    design, wanted = DESIGNS[name], Wanted(guess=None)
    assert design.name == name
    widths, covered, taken = [], [0, 0], []
    for seed in range(10):
        pool, failures = world(seed=seed)
        plan = design.plan(pool, wanted, seed)
        assert plan.reachable
        assert plan.reached <= 0.5
        assert LabelPlan.from_dict(json.loads(json.dumps(plan.as_dict()))) == plan
        answers = bought(design, pool, plan, wanted, failures, seed)
        truth = pool.chances.mean()
        tiers = design.estimate(pool, plan, answers, 0.95)
        covered[0] += tiers.certificate.low <= truth <= tiers.certificate.high
        covered[1] += tiers.estimate.low <= truth <= tiers.estimate.high
        widths.append((tiers.estimate.high - tiers.estimate.low) / 2 / truth)
        taken.append(plan.outputs_low <= answers.indices.size <= plan.outputs_high)
        assert tiers.certificate.failures == answers.failures.sum()
        assert tiers.certificate.low <= tiers.estimate.low + 1e-12
        assert tiers.certificate.high >= tiers.estimate.high
        json.dumps(tiers.as_dict())
    assert np.mean(widths) == pytest.approx(0.5, abs=0.07)
    assert min(covered) >= 8
    assert np.mean(taken) >= 0.6


@every
def test_a_design_is_settled_by_its_seed_and_buys_no_output_twice(name):
    design, (pool, _) = DESIGNS[name], world(3000)
    plan = design.plan(pool, Wanted(), 1)
    assert plan == design.plan(pool, Wanted(), 1)
    again = LabelPlan.from_dict(json.loads(json.dumps(plan.as_dict())))
    order = design.order(pool, plan, 5)
    assert (order == design.order(pool, again, 5)).all()
    assert (order != design.order(pool, plan, 6)).any()
    assert np.unique(order).size == order.size >= plan.outputs


@every
def test_out_of_reach_says_what_the_whole_pool_gives(name):
    design, (pool, failures) = DESIGNS[name], world(600)
    wanted = Wanted(relative=0.1, guess=0.01)
    plan = design.plan(pool, wanted, 0)
    assert (plan.reachable, plan.outputs) == (False, 600)
    assert plan.reached > 0.5
    assert "cannot give ±10 %" in plan.note
    answers = bought(design, pool, plan, wanted, failures)
    assert answers.indices.size == 600
    tiers = design.estimate(pool, plan, answers, 0.95)
    assert tiers.estimate.estimate == pytest.approx(failures.mean())


@every
def test_nothing_and_no_failures_have_upper_limits(name):
    design, (pool, _) = DESIGNS[name], world(3000)
    plan = design.plan(pool, Wanted(), 0)
    order = design.order(pool, plan, 0)
    nothing = design.estimate(pool, plan, Answers(order[:0], np.zeros(0, bool)), 0.95)
    assert nothing.certificate[:3] == nothing.estimate[:3] == (None, 0, 1)
    none = design.estimate(pool, plan, Answers(order, np.zeros(order.size, bool)), 0.95)
    assert (none.certificate.estimate, none.certificate.low, none.forecast) == (0, 0, None)
    assert 3.6 / order.size < none.certificate.high < 1


@every
def test_one_output_is_a_pool(name):
    design, pool = DESIGNS[name], OutputPool(np.zeros(1, np.float32), None, np.zeros(1, np.int64))
    plan = design.plan(pool, Wanted(), 0)
    assert (plan.outputs, plan.reachable) == (1, False)
    tiers = design.estimate(pool, plan, Answers(np.zeros(1, np.int64), np.array([True])), 0.95)
    assert tiers.certificate.estimate == 1


def test_weights_and_both_intervals_by_hand():
    """Six and two outputs in two strata, three and two labelled, one failure in the second: weights 6/8/3 and 2/8/2."""
    chances = np.array([0.01] * 6 + [0.5] * 2)
    pool = OutputPool(np.zeros(8, np.float32), None, np.arange(8), chances)
    strata = (Stratum(6, 3, 0.0, 0.1), Stratum(2, 2, 0.1, 1.0))
    plan = STRATIFIED.plan(pool, Wanted(), 0)._replace(strata=strata, outputs=5)
    order = STRATIFIED.order(pool, plan, 0)
    assert sorted(order >= 6) == [False] * 3 + [True] * 2
    answers = Answers(np.array([0, 6, 1, 7, 2]), np.array([False, True, False, False, False]))
    found = STRATIFIED.estimate(pool, plan, answers, 0.8)
    one, most = 0.125, 0.25
    scale = (one**2 + most**2) / (2 * (one + most))
    high = scale * stats.chi2.ppf(0.9, 2 * (one + most) ** 2 / (one**2 + most**2))
    assert found.certificate[:3] == pytest.approx((one, one / 2 * stats.chi2.ppf(0.1, 2), high))
    assert found.estimate[:3] == pytest.approx(garwood(1, 8, level=0.8)[:3])
    assert (found.estimate.failures, found.estimate.n) == (1, 5)


def test_strata_without_answers_may_fail_wholly():
    pool = OutputPool(np.zeros(8, np.float32), None, np.arange(8), np.array([0.01] * 6 + [0.5] * 2))
    strata = (Stratum(6, 3, 0.0, 0.1), Stratum(2, 2, 0.1, 1.0))
    plan = STRATIFIED.plan(pool, Wanted(), 0)._replace(strata=strata, outputs=5)
    found = STRATIFIED.estimate(pool, plan, Answers(np.array([0, 1]), np.zeros(2, bool)), 0.95)
    assert found.certificate.high == pytest.approx(min(1, stats.gamma.ppf(0.975, 1) * 0.375 + 0.25))
    assert any("no answer yet" in note for note in found.notes)


def test_outputs_of_one_prompt_weigh_together():
    pool = OutputPool(np.zeros(8, np.float32), None, np.array([0, 0, 1, 1, 2, 2, 3, 3]), np.full(8, 0.01))
    plan = STRATIFIED.plan(pool, Wanted(), 0)
    assert len(plan.strata) == 1
    failures = np.array([True, True] + [False] * 6)
    found = STRATIFIED.estimate(pool, plan, Answers(np.arange(8), failures), 0.95)
    assert found.certificate[:3] == pytest.approx((0.25, garwood(1, 4).low, min(1, garwood(1, 4).high)))
    assert found.certificate.failures == 2


def test_the_stratified_estimate_is_unbiased():
    pool, failures = world(800, shift=-2.0)
    plan = STRATIFIED.plan(pool, Wanted(), 0)
    assert 40 <= plan.outputs < 800
    found = [
        STRATIFIED.estimate(pool, plan, Answers(order, failures[order]), 0.95).estimate.estimate
        for order in (STRATIFIED.order(pool, plan, seed) for seed in range(400))
    ]
    error = np.std(found) / np.sqrt(len(found))
    assert np.mean(found) == pytest.approx(failures.mean(), abs=3 * error)


def test_a_second_opinion_saves_labels_and_one_that_says_the_same_claims_nothing():
    pool, _ = world()
    rate = pool.chances.mean()
    wanted = Wanted(guess=rate)
    plain = DESIGNS["simple_random"].plan(pool, wanted, 0).outputs
    assert STRATIFIED.plan(pool, wanted, 0).outputs < plain / 1.4
    for second in (pool.logits, 2 * pool.logits + 1, None):
        same = pool._replace(second=second, chances=None)
        assert not second_adds(same)
        plan = STRATIFIED.plan(same, wanted, 0)
        assert plan.outputs == pytest.approx(plain, abs=40)
        assert "no gain is claimed" in plan.note
    assert second_adds(pool)
    unfitted = STRATIFIED.plan(pool._replace(chances=None), wanted, 0)
    assert unfitted.outputs > STRATIFIED.plan(pool, wanted, 0).outputs
    assert "10 % of failures are taken to be unseen" in unfitted.note
    assert ("Random sampling would take" in unfitted.note) == (unfitted.outputs > plain)
    certificate = STRATIFIED.plan(pool, wanted._replace(interval="certificate"), 0)
    assert STRATIFIED.plan(pool, wanted, 0).outputs < certificate.outputs < plain


def test_strata_have_equal_sums_of_roots_and_never_too_many_labels():
    pool, _ = world()
    plan = STRATIFIED.plan(pool, Wanted(), 0)
    score = sampling_score(pool)
    sums = [np.sqrt(score[(one.low <= score) & (score < one.high)]).sum() for one in plan.strata]
    assert len(sums) == 40
    assert sums == pytest.approx([np.sqrt(score).sum() / 40] * 40, rel=0.02)
    assert sum(one.size for one in plan.strata) == score.size
    assert all(1 <= one.labels <= one.size for one in plan.strata)
    assert plan.outputs == sum(one.labels for one in plan.strata)


def test_gamma_limits_of_many_are_fay_feuers_of_each():
    samples = [([0.2, 0.1, 0.1], 0.3), ([], 0.3), ([0.05], 0.05)]
    total, squares = (np.array([sum(w**power for w in weights) for weights, _ in samples]) for power in (1, 2))
    low, high = gamma_limits(total, squares, np.array([top for _, top in samples]), 0.9)
    expected = [fay_feuer(weights, top, n=9, level=0.9) for weights, top in samples]
    assert low == pytest.approx([one.low for one in expected])
    assert high == pytest.approx([one.high for one in expected])


def test_chances_are_fitted_to_a_pilot():
    pool, _ = world()
    pilot, labels = world(40_000, seed=9)
    found = with_pilot(pool._replace(chances=None), pilot.logits, pilot.second, labels)
    assert found.chances.mean() == pytest.approx(pool.chances.mean(), rel=0.1)
    assert np.corrcoef(np.log(found.chances), np.log(pool.chances))[0, 1] > 0.99
    with pytest.raises(BadInput, match="second opinion"):
        with_pilot(pool, pilot.logits, None, labels)
    with pytest.raises(BadInput, match="needs failures"):
        with_pilot(pool, pilot.logits, pilot.second, np.zeros(labels.size, bool))


def test_the_count_of_until_failures_is_the_negative_binomials():
    pool, _ = world(3000)
    plan = UNTIL.plan(pool, Wanted(guess=0.02), 0)
    assert plan.stop_at == 18
    waits = np.minimum(3000, 18 + stats.nbinom.rvs(18, 0.02, size=100_000, random_state=1))
    assert plan.outputs == pytest.approx(waits.mean(), rel=0.005)
    assert [plan.outputs_low, plan.outputs_high] == pytest.approx(np.quantile(waits, [0.1, 0.9]), rel=0.01)
    tight = UNTIL.plan(pool, Wanted(guess=0.0063), 0)
    assert tight.reachable
    assert tight.outputs < 18 / 0.0063
    assert "the pool ends first" in tight.note


def test_answers_after_the_last_failure_do_not_count_and_looks_before_it_are_anytime():
    pool, _ = world(3000)
    plan = UNTIL.plan(pool, Wanted(guess=0.02), 0)
    places = np.arange(1000)
    failures = (places + 1) % 50 == 0
    failures[-1] = True
    found = UNTIL.estimate(pool, plan, Answers(places, failures), 0.95)
    assert found.certificate == found.estimate == inverse_binomial(18, 900)
    assert any("100 answers came after" in note for note in found.notes)
    early = UNTIL.estimate(pool, plan, Answers(places[:500], failures[:500]), 0.95).certificate
    guess = plan.expected_failures / plan.outputs
    assert early == anytime(10, 500, guess=guess)
    whole = Answers(np.arange(3000), np.arange(3000) < 17)
    assert UNTIL.estimate(pool, plan, whole, 0.95).certificate == clopper_pearson(17, 3000)
