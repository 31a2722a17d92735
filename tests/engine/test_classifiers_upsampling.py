from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.classifiers.upsampling import upsample


def counts(positive: list[bool], cap: float = 5.0, seed: int = 0) -> list[int]:
    return np.bincount(upsample(positive, cap=cap, seed=seed), minlength=len(positive)).tolist()


def test_a_whole_ratio_repeats_each_positive_exactly_that_often() -> None:
    assert counts([True, True, False, False, False, False, False, False]) == [3, 3, 1, 1, 1, 1, 1, 1]


def test_the_cap_holds() -> None:
    assert counts([True] + [False] * 40) == [5] + [1] * 40
    assert counts([True] + [False] * 40, cap=1) == [1] * 41


def test_more_positives_than_negatives_are_left_alone() -> None:
    assert counts([True, True, True, False]) == [1, 1, 1, 1]
    assert counts([False, False]) == [1, 1]


def test_a_fraction_is_met_on_average() -> None:
    positive = [True] * 2000 + [False] * 5000  # u = 2.5
    repeated = np.array(counts(positive)[:2000])
    assert set(repeated.tolist()) == {2, 3}
    assert repeated.sum() == pytest.approx(5000, abs=3 * np.sqrt(2000 * 0.25))


def test_the_seed_decides() -> None:
    positive = [True] * 20 + [False] * 30
    assert counts(positive, seed=1) == counts(positive, seed=1)
    assert counts(positive, seed=1) != counts(positive, seed=2)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.booleans(), min_size=1, max_size=60), st.floats(1, 8))
def test_negatives_come_once_and_positives_one_to_cap_times(positive: list[bool], cap: float) -> None:
    for kind, times in zip(positive, counts(positive, cap=cap), strict=True):
        assert 1 <= times <= np.ceil(cap) if kind else times == 1
