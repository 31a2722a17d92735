import numpy as np
import pytest
from sklearn.metrics import roc_curve

from engine.errors import BadInput
from engine.evaluation.curves import (
    error_rates,
    false_negatives,
    histogram,
    log_spaced,
    roc,
    scored,
    to_logit,
    to_score,
)
from engine.evaluation.rates import clopper_pearson


def sample(seed=0, n=500, share=0.2):
    rng = np.random.default_rng(seed)
    positives = rng.random(n) < share
    return scored(rng.normal(np.where(positives, 2.0, -2.0), 1.5).astype(np.float32), positives)


def test_error_rates_by_hand():
    data = scored([-2.0, -1.0, 0.0, 1.0, 3.0], [True, False, True, False, True])
    fnr, fpr = error_rates(data, 0.0)
    assert (fnr.failures, fnr.n) == (1, 3), "accepted means strictly below the threshold"
    assert (fpr.failures, fpr.n) == (1, 2)
    assert fnr == clopper_pearson(1, 3)


def test_no_positives_gives_no_rate():
    fnr, fpr = error_rates(scored([0.0, 1.0], [False, False]), 0.5)
    assert fnr[:3] == (None, 0.0, 1.0)
    assert (fpr.failures, fpr.n) == (1, 2)


def test_clusters_widen_the_interval():
    data = sample()
    alone = false_negatives(data, -1.0)
    clusters = np.argsort(np.argsort(data.logits)) // 10
    together = false_negatives(data._replace(clusters=clusters), -1.0)
    assert together.estimate == alone.estimate
    assert together.high > alone.high


def test_roc_is_sklearns():
    data = sample(3)
    false_positive, true_positive, thresholds = roc_curve(data.positives, data.logits, drop_intermediate=False)
    points = roc(data, [to_score(t) for t in thresholds[1::25]])
    assert [p["fpr"]["estimate"] for p in points] == pytest.approx(list(false_positive[1::25]), abs=5e-3)
    assert [1 - p["fnr"]["estimate"] for p in points] == pytest.approx(list(true_positive[1::25]), abs=1.5e-2)


def test_default_thresholds_are_the_papers():
    thresholds = log_spaced()
    assert len(thresholds) == 20
    assert (thresholds[0], thresholds[-1]) == pytest.approx((1e-4, 0.1))
    assert np.diff(np.log(thresholds)) == pytest.approx(np.log(1000) / 19)


@pytest.mark.parametrize("chosen", [1e-6, 0.002, 0.3, 0.97])
def test_thresholds_hold_the_chosen_one(chosen):
    thresholds = log_spaced(chosen)
    assert thresholds[0] < chosen < thresholds[-1] < 1
    assert thresholds[0] > 0


def test_histogram_counts_everything_once():
    data = sample(5)
    bars = histogram(data, bins=30)
    assert len(bars["edges"]) == 31
    assert sum(bars["positives"]) == data.positives.sum()
    assert sum(bars["negatives"]) == (~data.positives).sum()
    assert sum(histogram(scored([1.0, 1.0], [True, False]))["positives"]) == 1
    assert sum(histogram(scored([], []))["negatives"]) == 0
    assert sum(histogram(scored([float("-inf"), 0.25], [True, False]))["positives"]) == 1


@pytest.mark.parametrize("threshold", [-0.1, 1.1])
def test_a_threshold_is_a_score(threshold):
    with pytest.raises(BadInput, match=r"threshold: must lie in \[0, 1\]"):
        to_logit(threshold)


def test_a_threshold_and_its_logit_are_one():
    assert to_score(to_logit(0.0017)) == pytest.approx(0.0017, rel=1e-6)
    assert to_logit(0.0) == float("-inf")


def test_lengths_must_fit():
    with pytest.raises(BadInput, match="1 logits, 2 labels"):
        scored([0.0], [True, False])
    with pytest.raises(BadInput, match="not a number"):
        scored([float("nan")], [True])
