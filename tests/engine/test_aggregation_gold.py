"""What gold tells: passing counts right answers, pausing takes a posterior of Beta(1 + right, 1 + wrong)."""

from __future__ import annotations

from typing import Any

import pytest
from scipy.stats import beta

from engine.aggregation.gold import verdict
from engine.policies import Quality


@pytest.mark.parametrize(
    ("fields", "right", "wrong", "expected"),
    [
        ({}, 0, 0, "qualifying"),
        ({}, 9, 0, "qualifying"),
        ({}, 5, 4, "qualifying"),
        ({}, 10, 0, "qualified"),
        ({}, 9, 1, "paused"),
        ({"qualification_right": 8}, 8, 2, "qualified"),
        ({"qualification_right": 8}, 7, 3, "paused"),
        ({"qualification_right": 50}, 10, 0, "qualified"),
    ],
)
def test_the_entrance_test(fields: dict[str, Any], right: int, wrong: int, expected: str) -> None:
    quality = Quality(qualification=10, **fields)
    assert verdict(quality, right=right, wrong=wrong, qualifying=10) == expected


@pytest.mark.parametrize(
    ("right", "wrong", "expected"),
    [
        # By hand, bar 0.8: the posterior below it is 0.8^2 + 2 * 0.2 * 0.8 = 0.96 for Beta(1, 2), and so on.
        (0, 0, "qualified"),
        (5, 0, "qualified"),
        (0, 1, "paused"),
        (1, 1, "qualified"),
        (1, 2, "paused"),
        (2, 2, "qualified"),
        (3, 3, "paused"),
        (7, 3, "qualified"),
        (40, 10, "qualified"),
        (30, 15, "paused"),
    ],
)
def test_who_is_below_the_bar_as_far_as_can_be_told(right: int, wrong: int, expected: str) -> None:
    assert verdict(Quality(bar=0.8), right=right, wrong=wrong, qualifying=0) == expected


def test_the_posterior_by_hand() -> None:
    """Beta(1, 2) has the distribution function 1 - (1 - x)^2: 0.96 at 0.8, and 0.9504 at 0.77729."""
    assert beta.cdf(0.8, 1, 2) == pytest.approx(1 - 0.2**2)
    assert verdict(Quality(bar=0.7764), right=0, wrong=1, qualifying=0) == "paused"
    assert verdict(Quality(bar=0.7763), right=0, wrong=1, qualifying=0) == "qualified"


def test_every_record_up_to_thirty_as_scipy_has_it() -> None:
    quality = Quality(bar=0.75)
    for right in range(31):
        for wrong in range(31):
            below = beta.cdf(0.75, 1 + right, 1 + wrong)
            expected = "paused" if wrong and below > 0.95 else "qualified"
            assert verdict(quality, right=right, wrong=wrong, qualifying=0) == expected, (right, wrong)
