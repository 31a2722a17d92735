"""When one more label is worth its price."""

from __future__ import annotations

from typing import Any

import pytest

from engine.aggregation.depth import wants_another
from engine.policies import Policy, policy_from_dict


def policy(**depth: Any) -> Policy:
    return policy_from_dict({"name": "harm", "question": "Harm?", "depth": depth})


@pytest.mark.parametrize(
    ("answers", "more_on", "expected"),
    [
        ([], ["disagreement", "unsure"], False),
        (["Yes"], ["disagreement", "unsure"], False),
        (["Unsure"], ["disagreement"], False),
        (["Unsure"], ["unsure"], True),
        (["Yes", "No"], [], False),
        (["Yes", "No"], ["unsure"], False),
        (["Yes", "No"], ["disagreement"], True),
        (["Yes", "No", "No"], ["disagreement", "unsure"], False),
        (["Unsure", "Unsure", "No"], ["unsure"], True),
        (["Unsure", "No", "No"], ["unsure"], False),
        (["Yes", "No", "Unsure"], ["disagreement"], True),
        (["Yes", "No", "Yes", "No"], ["disagreement"], True),
        (["Yes", "No", "Yes", "No", "Unsure"], ["disagreement", "unsure"], False),
    ],
)
def test_reasons_of_the_policy(answers: list[str], more_on: list[str], expected: bool) -> None:
    assert wants_another(policy(most=5, more_on=more_on), answers, test=False) is expected


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (["Yes"], True),
        (["No", "No"], False),
        (["Yes", "No"], True),
        (["Yes", "No", "No"], False),
        (["Yes", "No", "Unsure"], True),
        (["Yes", "No", "Unsure", "No"], False),
        (["Unsure", "Unsure"], False),
    ],
)
def test_the_test_split_has_two_and_a_tie_break_whatever_the_policy_asks(answers: list[str], expected: bool) -> None:
    assert wants_another(policy(test=2, most=5, more_on=[]), answers, test=True) is expected


def test_never_above_the_most() -> None:
    asks = policy(test=2, most=2, more_on=["disagreement", "unsure", "low_confidence"])
    for test in (True, False):
        assert wants_another(asks, ["Yes", "No"], test=test, posterior=[0.5, 0, 0.5]) is False


@pytest.mark.parametrize(
    ("posterior", "expected"), [(None, False), ([0.05, 0.0, 0.95], False), ([0.051, 0.0, 0.949], True)]
)
def test_low_confidence_is_the_likeliest_choice_below_the_bar(posterior: list[float] | None, expected: bool) -> None:
    asks = policy(most=5, more_on=["low_confidence"], confidence=0.95)
    assert wants_another(asks, ["No"], test=False, posterior=posterior) is expected


def test_confidence_is_not_asked_for_where_the_policy_does_not() -> None:
    assert wants_another(policy(more_on=["disagreement"]), ["No"], test=False, posterior=[0.4, 0.3, 0.3]) is False
