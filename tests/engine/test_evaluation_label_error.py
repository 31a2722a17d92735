import json

import numpy as np
import pytest

from engine.errors import BadInput
from engine.evaluation.label_error import Labeler, effect_on_difference, label_effect, rogan_gladen
from engine.evaluation.rates import Rate, clopper_pearson

PAPERS = Labeler(0.9, 0.9955)


def test_false_yes_swamp_a_rare_truth():
    assert PAPERS.observed(2.74e-5) == pytest.approx(2.74e-5 * 0.9 + (1 - 2.74e-5) * 0.0045)
    assert PAPERS.observed(2.74e-5) / 2.74e-5 > 160
    assert PAPERS.true(PAPERS.observed(2.74e-5)) == pytest.approx(2.74e-5)
    assert PAPERS.true(0.001) == 0


def test_three_of_three_yes_are_almost_never_false():
    three = PAPERS.confirmed(2)
    assert (three.sensitivity, 1 - three.specificity) == pytest.approx((0.729, 0.0045**3), rel=1e-6)
    assert PAPERS.confirmed(0) == pytest.approx(PAPERS)
    with pytest.raises(BadInput):
        PAPERS.confirmed(-1)


def test_the_effect_goes_through_estimate_and_limits():
    counted = clopper_pearson(18, 10_000)
    found = label_effect(counted, Labeler(0.9, 0.99), confirmations=1)
    assert (found.false_yes, found.lost) == pytest.approx((0.0001, 0.19))
    for corrected, raw in zip(found.corrected[:3], counted[:3], strict=True):
        assert corrected == pytest.approx((raw - 0.0001) / (0.81 + 0.9999 - 1))
    assert (found.corrected.failures, found.corrected.n, found.contradicted) == (18, 10_000, False)
    assert "90 % of failures get a Yes, and 1 % of sound outputs do too" in found.words
    assert json.loads(json.dumps(found.as_dict()))["lost"] == found.lost


def test_most_of_three_labels_undo_less_than_all_of_three():
    most = PAPERS.upheld(2)
    # The first says Yes, and one of the two others at least.
    assert most.sensitivity == pytest.approx(0.9 * (1 - 0.1**2))
    assert 1 - most.specificity == pytest.approx(0.0045 * (1 - 0.9955**2))
    assert PAPERS.upheld(0) == pytest.approx(PAPERS)
    assert PAPERS.upheld(1) == pytest.approx(PAPERS.confirmed(1)), "of two, most are both"
    with pytest.raises(BadInput):
        PAPERS.upheld(-1)
    found = label_effect(clopper_pearson(18, 10_000), Labeler(0.9, 0.99), by="most")
    false_yes = 0.01 * (1 - 0.99**2)
    assert found.corrected.estimate == pytest.approx((0.0018 - false_yes) / (0.9 * 0.99 - false_yes))
    assert "if most of its 3 labels agree" in found.words


def test_in_a_difference_false_ones_cancel_and_lost_ones_hide_a_part():
    counted = Rate(-0.01, -0.03, 0.005, 0.95, "MOVER of Garwood", 7, 40)
    found = effect_on_difference(counted, Labeler(0.9, 0.99), confirmations=1)
    scale = 0.81 + 0.9999 - 1
    assert found.corrected[:3] == pytest.approx((-0.01 / scale, -0.03 / scale, 0.005 / scale))
    assert (found.corrected.failures, found.contradicted) == (7, False)
    assert effect_on_difference(counted._replace(low=-0.9), Labeler(0.9, 0.99)).corrected.low == -1
    assert effect_on_difference(counted._replace(estimate=None), PAPERS).corrected.estimate is None
    with pytest.raises(BadInput):
        effect_on_difference(counted, Labeler(0.5, 0.5))


def test_no_failures_keep_an_upper_limit_however_dark_the_assumption():
    counted = clopper_pearson(0, 10_000)
    found = label_effect(counted, Labeler(0.9, 0.99), confirmations=0)
    assert found.contradicted
    assert found.corrected[:3] == (0, 0, counted.high)
    assert "labels err less than assumed" in found.words
    nothing = label_effect(clopper_pearson(0, 0), PAPERS)
    assert nothing.corrected.estimate is None
    assert nothing.corrected[1:3] == (0, 1)


def test_perfect_labels_change_nothing():
    counted = clopper_pearson(3, 500)
    assert label_effect(counted, Labeler(1.0, 1.0)).corrected[:3] == pytest.approx(counted[:3])


def test_counted_errors_widen_the_interval():
    found = rogan_gladen(30, 1000, failures_found=(90, 100), sound_passed=(1980, 2000))
    assert found.estimate == pytest.approx((0.03 - 0.01) / (0.9 + 0.99 - 1))
    third = 1 - 0.05 / 3
    obs, sens, spec = (clopper_pearson(*c, level=third) for c in ((30, 1000), (90, 100), (1980, 2000)))
    assert found.low == pytest.approx(max(0, (obs.low + spec.low - 1) / (sens.high + spec.low - 1)))
    assert found.high == pytest.approx((obs.high + spec.high - 1) / (sens.low + spec.high - 1))
    assert (found.failures, found.n) == (30, 1000)
    none = rogan_gladen(0, 1000, failures_found=(90, 100), sound_passed=(1980, 2000))
    assert (none.estimate, none.low) == (0, 0)
    assert none.high > 0


def test_counted_errors_cover():
    rng = np.random.default_rng(2)
    truth, labeler, covered = 0.02, Labeler(0.85, 0.985), 0
    for _ in range(300):
        found = rogan_gladen(
            int(rng.binomial(1500, labeler.observed(truth))),
            1500,
            failures_found=(int(rng.binomial(60, labeler.sensitivity)), 60),
            sound_passed=(int(rng.binomial(1000, labeler.specificity)), 1000),
        )
        covered += found.low <= truth <= found.high
    assert covered >= 285


def test_labels_that_say_nothing_are_refused():
    for labeler in (Labeler(0.5, 0.5), Labeler(0.0, 1.0), Labeler(1.1, 1.0)):
        with pytest.raises(BadInput):
            label_effect(clopper_pearson(1, 10), labeler)
    with pytest.raises(BadInput):
        rogan_gladen(1, 10, failures_found=(0, 0), sound_passed=(5, 5))
    with pytest.raises(BadInput):
        rogan_gladen(1, 10, failures_found=(1, 10), sound_passed=(1, 10))
