import pytest

from engine.evaluation.confirming import Standing
from engine.evaluation.rates import clopper_pearson
from workers.evaluation_label_error import label_error_found
from workers.evaluation_settings import EvaluationSettings, evaluation_settings

CONFIRMED, TAKEN_BACK, SOUND = Standing(0, True, True), Standing(0, False, True), Standing(0, False, False)
EACH = [CONFIRMED] * 4 + [TAKEN_BACK] * 6 + [SOUND] * 90
COUNTED = clopper_pearson(4, 100)


def test_by_default_confirmations_tell_how_often_a_label_is_a_false_yes() -> None:
    found = label_error_found(EACH, COUNTED, EvaluationSettings(), difference=False)
    assert found is not None
    assert (found["assumed_by"], found["shown"]["failures"], found["shown"]["n"]) == ("confirmations", 6, 96)
    effect = found["effect"]
    assert (effect["sensitivity"], 1 - effect["specificity"]) == pytest.approx((1, 6 / 96))
    left = (6 / 96) ** 3
    assert effect["false_yes"] == pytest.approx(left)
    assert effect["corrected"]["estimate"] == pytest.approx((0.04 - left) / (1 - left))


def test_the_settings_have_the_say_and_the_rule_matters() -> None:
    given = {"label_error": {"false_yes": 0.1, "missed": 0.2}, "confirmed_by": "consensus"}
    found = label_error_found(EACH, COUNTED, evaluation_settings(given), difference=False)
    assert found is not None
    assert found["assumed_by"] == "settings"
    left, kept = 0.1 * (1 - 0.9**2), 0.8 * (1 - 0.2**2)
    assert found["effect"]["corrected"]["estimate"] == pytest.approx((0.04 - left) / (kept - left))


def test_of_a_difference_only_what_is_lost_counts() -> None:
    wanted = evaluation_settings({"label_error": {"missed": 0.1}, "confirmations": 1})
    found = label_error_found(EACH, COUNTED._replace(estimate=-0.02, low=-0.05), wanted, difference=True)
    assert found is not None
    assert found["effect"]["corrected"]["estimate"] == pytest.approx(-0.02 / (0.9**2 - (6 / 96) ** 2))


def test_labels_that_say_nothing_have_no_effect_to_tell() -> None:
    assert label_error_found([TAKEN_BACK] * 5, clopper_pearson(0, 5), EvaluationSettings(), difference=False) is None
    nothing = label_error_found([], clopper_pearson(0, 0), EvaluationSettings(), difference=False)
    assert nothing is not None
    assert nothing["effect"]["corrected"]["estimate"] is None
