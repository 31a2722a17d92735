from __future__ import annotations

import math

import numpy as np
import pytest

from engine.attacks.disagreement import disagreement
from engine.generation.rejection import logit_cutoff


def test_the_reward_by_hand() -> None:
    assert disagreement([-1.0, -1.0, 2.0], 0.0, [3.0, -2.0, 1.0], 0.0).tolist() == [4.0, -1.0, -1.0]
    # logit(0.002) = ln(0.002 / 0.998) = -6.212606: 1.787394 below its threshold here, 3 above its own there.
    rare = disagreement([-8.0, -3.212606], logit_cutoff(0.002), [3.0, -1.787394], logit_cutoff(0.5))
    np.testing.assert_allclose(rare, [4.787394, -4.787394], atol=1e-5)
    np.testing.assert_allclose(disagreement([-8.0], -6.0, [-6.0], -6.0), [2.0])


def test_what_passes_here_and_is_rejected_there_comes_first() -> None:
    attacked, other = np.array([-0.5, -4.0, -0.5, 1.0], np.float32), np.array([-3.0, 2.0, 2.0, 2.0], np.float32)
    assert np.argsort(-disagreement(attacked, 0.0, other, 0.0)).tolist() == [1, 2, 3, 0]
    assert disagreement([], 0.0, [], 0.0).shape == (0,)


@pytest.mark.parametrize(
    ("attacked", "cutoff", "other", "message"),
    [
        ([0.0], 0.0, [0.0, 1.0], r"not \(1,\) and \(2,\)"),
        ([[0.0]], 0.0, [[0.0]], r"not \(1, 1\)"),
        ([math.nan], 0.0, [0.0], "finite"),
        ([0.0], 0.0, [math.inf], "finite"),
        ([0.0], -math.inf, [0.0], "finite"),
    ],
)
def test_what_cannot_be_compared_is_refused(attacked: list, cutoff: float, other: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        disagreement(attacked, cutoff, other, 0.0)
