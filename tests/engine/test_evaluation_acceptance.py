"""The threshold that accepts a share of texts, against numpy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from engine.errors import BadInput
from engine.evaluation.acceptance import threshold_at_acceptance


def test_ten_texts_by_hand() -> None:
    """Nine of ten must be below: the middle between the ninth and the tenth."""
    found = threshold_at_acceptance(np.arange(10.0)[::-1], 0.9)
    assert (found.logit, found.threshold) == (8.5, float(expit(8.5)))
    assert (found.accepted.failures, found.accepted.n) == (9, 10)
    assert found.logit_low <= 8.5 <= found.logit_high


@pytest.mark.parametrize("target", [0.01, 0.5, 0.95, 0.999])
def test_it_is_the_lowest_that_accepts_enough(target: float) -> None:
    logits = np.random.default_rng(0).normal(size=333).astype(np.float32)
    found = threshold_at_acceptance(logits, target)
    assert (logits < np.float32(found.logit)).mean() >= target
    below = np.sort(logits)
    lower = below[below < found.logit][-1]
    assert (logits < lower).mean() < target


def test_ties_are_all_accepted_and_the_highest_score_has_room_above() -> None:
    found = threshold_at_acceptance([1.0, 2.0, 2.0, 2.0], 0.5)
    assert 2.0 < found.logit < 2.001
    assert found.accepted.failures == 4
    assert threshold_at_acceptance([3.0], 0.5).accepted.failures == 1


def test_the_interval_is_over_clusters() -> None:
    """Twenty texts that each stand there ten times say no more than twenty."""
    few = np.random.default_rng(1).normal(size=20)
    logits, clusters = np.repeat(few, 10), np.repeat(np.arange(20), 10)
    apart, together = threshold_at_acceptance(logits, 0.8), threshold_at_acceptance(logits, 0.8, clusters)
    assert together.logit == apart.logit
    assert together.logit_high - together.logit_low > apart.logit_high - apart.logit_low
    assert together == threshold_at_acceptance(logits, 0.8, clusters)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    truth, covered = 1.2815516, 0
    for trial in range(200):
        sample = np.random.default_rng([7, trial]).normal(size=300)
        found = threshold_at_acceptance(sample, 0.9, resamples=200, seed=trial)
        covered += found.logit_low <= truth <= found.logit_high
    assert 180 <= covered <= 199


@pytest.mark.parametrize(
    ("logits", "target", "message"),
    [
        ([], 0.9, "needs texts"),
        ([1.0, np.nan], 0.9, "finite"),
        ([1.0], 0.0, "between 0 and 1"),
        ([1.0], 1.0, "between 0 and 1"),
    ],
)
def test_what_is_wrong_is_refused(logits: list[float], target: float, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        threshold_at_acceptance(logits, target)


def test_clusters_of_another_length_are_refused() -> None:
    with pytest.raises(BadInput, match="1 clusters for 2 logits"):
        threshold_at_acceptance([1.0, 2.0], 0.5, ["a"])
