"""Learning curves: their pairs, pools, areas and intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from _learning import (
    ACCEPTED,
    BATCH,
    INITIAL,
    POOL,
    Head,
    Points,
    Situation,
    Task,
    area,
    auc,
    drawn,
    fit,
    holm,
    initial,
    learn,
    mean_of,
    measured,
    paired,
    threshold,
)
from scipy import stats
from sklearn.metrics import roc_auc_score
from statsmodels.stats.multitest import multipletests

RNG = np.random.default_rng(0)


def points(n: int, share: float = 0.5) -> Points:
    y = RNG.random(n) < share
    x = RNG.standard_normal((n, 4)).astype(np.float32)
    x[:, 0] += 2 * y
    return Points(x, y)


def task(**changes: object) -> Task:
    made = Task("made up", points(400), points(60, 0.0).x, points(200))
    return made._replace(**changes)


def first(now: Situation) -> np.ndarray:
    return now.unlabelled[: now.k]


def test_the_area_is_the_mean_height_by_the_trapezium_rule() -> None:
    assert area([0.0, 1.0]) == 0.5
    assert area([1.0, 1.0, 1.0, 1.0]) == 1.0
    assert area([0.0, 1.0, 0.0]) == 0.5
    assert area([0.0, 0.0, 1.0]) == 0.25


def test_a_paired_difference_is_scipys() -> None:
    a, b = RNG.random(8), RNG.random(8)
    found = paired(a, b)
    theirs = stats.ttest_rel(a, b)
    interval = theirs.confidence_interval(0.95)
    assert found == pytest.approx((np.mean(a - b), interval.low, interval.high, theirs.pvalue))


def test_pairs_have_one_seed_each() -> None:
    with pytest.raises(ValueError, match="3 and 2 seeds make no pairs"):
        paired([1.0, 2.0, 3.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="needs two"):
        mean_of([1.0])


def test_no_difference_at_all_is_no_finding() -> None:
    assert paired([1.0, 2.0], [1.0, 2.0]) == (0.0, 0.0, 0.0, 1.0)
    assert mean_of([0.5, 0.5]).p == 0.0


def test_holm_is_statsmodels() -> None:
    p = [0.04, 0.001, 0.03, 0.9, 0.001]
    assert holm(p) == pytest.approx(list(multipletests(p, method="holm")[1]))


def test_strategies_share_pool_and_initial_labels_of_a_seed() -> None:
    seen: list[Situation] = []

    def last(now: Situation) -> np.ndarray:
        seen.append(now)
        return now.unlabelled[-now.k :]

    def note(now: Situation) -> np.ndarray:
        seen.append(now)
        return first(now)

    here = task()
    for choose, seed in ((note, 3), (last, 3), (note, 4)):
        learn(here, choose, seed, steps=1)
    one, same, other = seen
    np.testing.assert_array_equal(one.labelled, same.labelled)
    np.testing.assert_array_equal(one.x, same.x)
    assert not np.array_equal(one.x, other.x)


def test_a_curve_has_a_point_before_the_first_batch_and_counts_what_was_chosen() -> None:
    here = task(pool=Points(RNG.standard_normal((100, 4)).astype(np.float32), np.arange(100) % 2 == 0))
    chosen: list[float] = []

    def positives_first(now: Situation) -> np.ndarray:
        order = sorted(now.unlabelled, key=lambda row: now.x[row, 0])
        chosen.append(len(order))
        return np.array(order[: now.k])

    curve = learn(here, positives_first, 0, steps=2)
    assert [len(line) for line in curve] == [3, 3, 3]
    assert curve.found[0] == 0
    assert 0 < curve.found[1] <= BATCH
    assert chosen == [100 - INITIAL, 100 - INITIAL - BATCH]


def test_a_strategy_that_chooses_twice_or_what_is_labelled_is_refused() -> None:
    with pytest.raises(ValueError, match="not 25 distinct unlabelled"):
        learn(task(), lambda now: np.repeat(now.unlabelled[:1], now.k), 0, steps=1)
    with pytest.raises(ValueError, match="not 25 distinct unlabelled"):
        learn(task(), lambda now: now.labelled[: now.k], 0, steps=1)


def test_positives_are_drawn_down_to_the_share() -> None:
    rare = drawn(task(pool=points(1000, 0.7), positive_share=0.05), np.random.default_rng(1))
    harmless = int((~rare.y).sum())
    assert rare.y.sum() == round(harmless * 0.05 / 0.95)
    assert drawn(task(pool=points(POOL + 500)), np.random.default_rng(1)).y.size == POOL


def test_the_initial_labels_have_both_classes() -> None:
    y = np.zeros(200, dtype=bool)
    y[:3] = True
    for seed in range(20):
        rows = initial(y, INITIAL, np.random.default_rng(seed))
        assert np.unique(rows).size == INITIAL
        assert 0 < y[rows].sum() < INITIAL
    with pytest.raises(ValueError, match="one class"):
        initial(np.zeros(50, dtype=bool), INITIAL, np.random.default_rng(0))


def test_the_threshold_accepts_the_share_of_harmless_text() -> None:
    head = Head(np.array([1.0]), 0.0)
    harmless = np.linspace(-3, 3, 1001, dtype=np.float32)[:, None]
    at = threshold(head, harmless)
    accepted = (1 / (1 + np.exp(-head.logits(harmless))) < at).mean()
    assert accepted == pytest.approx(ACCEPTED, abs=0.002)
    assert pytest.approx(math.exp(-0.5)) == ACCEPTED


def test_what_is_measured_by_hand() -> None:
    harmless, failures = np.arange(10.0), np.array([0.5, 3.5, 20.0, 30.0])
    test = Points(np.concatenate([harmless, failures]).astype(np.float32)[:, None], np.arange(14) >= 10)
    auc, fnr = measured(Head(np.array([1.0]), 0.0), test)
    assert auc == pytest.approx((1 + 4 + 10 + 10) / 40)
    assert fnr == 0.5  # the threshold lies between 5 and 6


def test_the_area_under_the_roc_curve_is_scikit_learns() -> None:
    logits, positives = np.round(RNG.standard_normal(300), 1), RNG.random(300) < 0.3  # rounded: many ties
    assert auc(logits, positives) == pytest.approx(roc_auc_score(positives, logits), abs=1e-12)


def test_positives_weigh_more_where_they_are_few_and_five_times_at_most() -> None:
    x = np.zeros((100, 2), dtype=np.float32)
    few, rare = np.arange(100) < 25, np.arange(100) < 5
    assert fit(x, few).bias == pytest.approx(0, abs=1e-3)
    assert fit(x, rare).bias == pytest.approx(math.log(5 * 5 / 95), abs=1e-3)
    assert fit(x, ~few).bias == pytest.approx(math.log(3), abs=1e-3)
