from __future__ import annotations

import numpy as np
import pytest

from engine.attacks.disagreement import disagreement


def test_the_reward_by_hand() -> None:
    # logit(0.5) = 0; logit(0.002) = ln(0.002 / 0.998) = -6.212606.
    found = disagreement(np.array([-1.0, -1.0, 2.0]), np.array([3.0, -2.0, 1.0]), 0.5, 0.5)
    assert found.tolist() == [4.0, -1.0, -1.0]
    # 1.787394 below its threshold here, 3 above its own there; then the reverse.
    rare = disagreement(np.array([-8.0, -3.212606]), np.array([3.0, -1.787394]), 0.002, 0.5)
    np.testing.assert_allclose(rare, [4.787394, -4.787394], atol=1e-6)
    np.testing.assert_allclose(disagreement(np.array([-8.0]), np.array([-6.0]), 0.002, 0.002), [2.0])


def test_what_passes_here_and_is_rejected_there_comes_first() -> None:
    attacked, other = np.array([-0.5, -4.0, -0.5, 1.0], np.float32), np.array([-3.0, 2.0, 2.0, 2.0], np.float32)
    assert np.argsort(-disagreement(attacked, other, 0.5, 0.5)).tolist() == [1, 2, 3, 0]


def test_a_threshold_at_the_end_stays_finite_and_nothing_is_nothing() -> None:
    assert np.isfinite(disagreement(np.array([0.0]), np.array([0.0]), 0.0, 1.0)).all()
    assert disagreement(np.zeros(0), np.zeros(0), 0.5, 0.5).shape == (0,)


@pytest.mark.parametrize(
    ("attacked", "other", "threshold", "message"),
    [
        ([0.0], [0.0, 1.0], 0.5, "1 logits of one classifier and 2 of the other"),
        ([np.nan], [0.0], 0.5, "finite"),
        ([0.0], [0.0], 1.5, "threshold"),
        ([[0.0]], [0.0], 0.5, "shape"),
    ],
)
def test_what_cannot_be_compared_is_refused(attacked: list, other: list, threshold: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        disagreement(np.array(attacked), np.array(other), threshold, 0.5)
    if len(attacked) == len(other) and threshold == 0.5:
        with pytest.raises(ValueError, match=message):
            disagreement(np.array(other), np.array(attacked), 0.5, threshold)
