import numpy as np
import pytest
from scipy import stats

from engine.errors import BadInput
from engine.evaluation.rates import clopper_pearson
from engine.evaluation.second_opinion import second_opinion, unseen_share


def test_correlations_given_the_label_are_scipys():
    rng = np.random.default_rng(0)
    one = rng.normal(size=60)
    two = 0.6 * one + rng.normal(size=60)
    fails = np.arange(60) % 3 == 0
    two[fails] += 5  # across labels they go together by more than within
    found = second_opinion(one, two, fails)
    for mine, chosen in ((found.among_failures, fails), (found.among_sound, ~fails)):
        theirs = stats.pearsonr(one[chosen], two[chosen])
        assert mine.estimate == pytest.approx(theirs.statistic)
        assert (mine.low, mine.high) == pytest.approx(tuple(theirs.confidence_interval(0.95)))
        assert mine.n == chosen.sum()


def test_the_unseen_share_is_twice_what_lies_below_the_sound_median():
    sound, failing = [0.0, 1.0, 2.0, 3.0, 4.0], [1.0, 5.0, 6.0, 7.0, 8.0, 9.0, 9.5, 9.6, 9.7, 9.8]
    fails = [False] * 5 + [True] * 10
    found = unseen_share(sound + failing, fails)
    exact = clopper_pearson(1, 10)
    assert (found.estimate, found.failures, found.n) == (0.2, 1, 10)
    assert (found.low, found.high) == (2 * exact.low, 2 * exact.high)
    assert unseen_share([0.0] * 3 + [-1.0] * 3, [False] * 3 + [True] * 3).estimate == 1.0
    assert unseen_share([1.0, 2.0], [True, True]).estimate is None
    none = unseen_share([0.0, 1.0], [False, False])
    assert (none.estimate, none.low, none.high) == (None, 0.0, 1.0)


def test_equal_and_constant_opinions_and_wrong_input():
    found = second_opinion([1, 2, 3, 4, 5], [1, 2, 3, 4, 5], [False] * 5)
    assert (found.among_sound.estimate, found.among_sound.low) == (pytest.approx(1.0), pytest.approx(1.0))
    assert found.among_failures.estimate is None
    assert second_opinion([1, 2, 3, 4, 5], [7] * 5, [False] * 5).among_sound.estimate is None
    assert found.as_dict()["among_failures"] == {"estimate": None, "low": -1.0, "high": 1.0, "n": 0}
    with pytest.raises(BadInput, match="finite logits"):
        second_opinion([1, np.nan], [1, 2], [True, False])
    with pytest.raises(BadInput, match="a label each"):
        second_opinion([1, 2], [1, 2], [True])
