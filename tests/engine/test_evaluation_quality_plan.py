"""What a final check of quality will take, by hand."""

import pytest

from engine.errors import BadInput
from engine.evaluation.quality_plan import plan_quality


def test_the_half_width_by_hand() -> None:
    """z = 1.959964; 40 of 400 asked: z / 2 * sqrt(0.1 / 400) = 0.015495, and 0.02 takes z^2 * 0.1 / 0.0016 = 240.1."""
    plan = plan_quality(400, 40, 0, half_width=0.02, labels_each=3, price=0.5, seconds=60)
    assert plan.reached == pytest.approx(0.0154949, abs=1e-6)
    assert (plan.prompts_wanted, plan.reachable) == (241, True)
    assert (plan.labels, plan.money, plan.hours) == (120, 60.0, 2.0)


def test_prompts_without_completion_widen_it_and_cost_nothing() -> None:
    """a = 0, s = 0.2: variance 0.16; z / 2 * sqrt(0.16 / 100) = 0.039199, and 0.02 takes 384.1 prompts."""
    plan = plan_quality(100, 0, 20, half_width=0.02)
    assert plan.reached == pytest.approx(0.0391993, abs=1e-6)
    assert (plan.prompts_wanted, plan.reachable, plan.labels) == (385, False, 0)
    assert (plan.money, plan.hours) == (None, None)


def test_nobody_asked_is_not_certainty() -> None:
    plan = plan_quality(50, 0, 0, half_width=0.02)
    assert plan.reached == pytest.approx(1.959964 / 100, abs=1e-6)


@pytest.mark.parametrize("counts", [(0, 0, 0), (4, 3, 2), (4, -1, 0), (4, 0, -1)])
def test_counts_that_do_not_fit(counts: tuple[int, int, int]) -> None:
    with pytest.raises(BadInput, match="asked and"):
        plan_quality(*counts, half_width=0.02)
