import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

from engine.errors import BadInput
from engine.evaluation.compare import compare, design_effect, mcnemar, sign_flip, tango
from engine.evaluation.curves import scored


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (5, 1), (12, 3), (40, 41), (0, 9)])
def test_mcnemar_is_statsmodels(b, c):
    expected = statsmodels_mcnemar([[10, b], [c, 10]], exact=True).pvalue if b + c else 1.0
    assert mcnemar(b, c) == pytest.approx(min(expected, 1.0))


def test_tango_by_published_values():
    """R: PropCIs::scoreci.mp(25, 28, 618, 0.90) and ratesci::pairbinci(c(1, 1, 7, 12))."""
    assert tango(28, 25, 618, level=0.90) == pytest.approx((-0.0148, 0.0247), abs=5e-5)
    assert tango(1, 7, 21) == pytest.approx((-0.517, -0.026), abs=5e-4)


def test_tango_without_differences_is_not_a_point():
    z2 = stats.norm.ppf(0.975) ** 2
    assert tango(0, 0, 100) == pytest.approx((-z2 / (100 + z2), z2 / (100 + z2)))
    assert tango(0, 0, 0) == (-1.0, 1.0)


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 200), st.data())
def test_tango_holds_the_estimate_and_mirrors(n, data):
    b = data.draw(st.integers(0, n))
    c = data.draw(st.integers(0, n - b))
    low, high = tango(b, c, n)
    assert -1 <= low <= (b - c) / n <= high <= 1
    assert low < high
    assert tango(c, b, n) == pytest.approx((-high, -low), abs=1e-9)


@pytest.mark.parametrize(("p_b", "p_c"), [(0.02, 0.02), (0.2, 0.05), (0.3, 0.3)])
def test_tango_covers(p_b, p_c):
    """All outcomes of 40 pairs summed: coverage within two points of 95 %."""
    covered = 0.0
    for b in range(41):
        for c in range(41 - b):
            chance = stats.multinomial.pmf([b, c, 40 - b - c], 40, [p_b, p_c, 1 - p_b - p_c])
            if chance > 1e-9:
                low, high = tango(b, c, 40)
                covered += chance * (low <= p_b - p_c <= high)
    assert covered >= 0.93


def test_tango_refuses_the_impossible():
    with pytest.raises(BadInput, match="impossible"):
        tango(3, 3, 5)


def test_comparison_by_hand():
    positives = [True] * 6 + [False] * 2
    before = scored([-1, -1, -1, -1, 1, 1, -1, 1], positives)
    after = scored([-1, 1, 1, 1, -1, 1, 1, -1], positives)
    found = compare(before, 0.0, after, 0.0)
    assert (found.both, found.only_before, found.only_after, found.neither, found.n) == (1, 3, 1, 1, 6)
    assert found.difference.estimate == pytest.approx(-2 / 6)
    assert (found.difference.failures, found.difference.n) == (4, 6)
    assert found.difference[1:3] == pytest.approx(tango(1, 3, 6))
    assert found.p_value == pytest.approx(0.625)
    assert found.p_value_clusters is None
    assert json.loads(json.dumps(found.as_dict()))["n"] == 6


def test_each_classifier_keeps_its_own_threshold():
    before = scored([-5.0, -5.0], [True, True])
    after = scored([-5.0, -5.0], [True, True])
    found = compare(before, 0.0, after, -6.0)
    assert (found.only_before, found.only_after) == (2, 0)


def test_no_positives_says_nothing():
    found = compare(scored([0.0], [False]), 0.0, scored([0.0], [False]), 0.0)
    assert found.difference[:3] == (None, -1.0, 1.0)
    assert found.p_value == 1.0


def test_other_snippets_are_refused():
    with pytest.raises(BadInput, match="the same labelled snippets"):
        compare(scored([0.0], [True]), 0.0, scored([0.0], [False]), 0.0)


def test_sign_flip_on_single_snippets_is_exact_mcnemar():
    for b, c in [(0, 0), (3, 1), (9, 2), (6, 6)]:
        changes = np.array([-1] * b + [1] * c + [0] * 5)
        assert sign_flip(changes, np.arange(changes.size)) == pytest.approx(mcnemar(b, c))


def test_sign_flip_by_chance_is_near_the_exact_one():
    changes = np.array([-1] * 20 + [1] * 8)
    assert sign_flip(changes, np.arange(28), seed=1) == pytest.approx(mcnemar(20, 8), abs=0.005)


def test_clusters_that_repeat_themselves_count_once():
    changes = np.repeat([-1, -1, -1, 0, 0, 1, 0, 0], 5)
    clusters = np.repeat(np.arange(8), 5)
    assert design_effect(changes, clusters) == pytest.approx(5 * 39 / 40 * 8 / 7)
    assert design_effect(changes, np.arange(40)) == pytest.approx(1.0)
    assert design_effect(np.zeros(40, dtype=np.int64), clusters) == 5
    positives = np.ones(40, bool)
    before = scored(np.where(changes == -1, -1, 1), positives, clusters)
    after = scored(np.where(changes == 1, -1, 1), positives, clusters)
    found = compare(before, 0.0, after, 0.0)
    assert found.p_value < 0.05 < found.p_value_clusters == 0.625
    assert found.difference.low < 0 < found.difference.high
