"""Labels for the difference of two filters: planned, ordered by places, answered, turned."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import BadInput
from engine.evaluation.designs import Answers, OutputPool, Wanted
from engine.evaluation.difference import difference
from engine.evaluation.differing import Sides, difference_of, order_differing, plan_differing, tiers_of
from engine.evaluation.rates import garwood

# Places 0, 2 and 5 differ of 10; at 5 only the later filter has an output. Prompt 7 comes twice.
PLACES = np.array([0, 0, 2, 2, 5])
LATER = np.array([True, False, True, False, True])
PROMPTS = np.array([7, 7, 7, 7, 9])
SIDES = Sides(PLACES, LATER, 10)
POOL = OutputPool(np.full(5, -3, dtype=np.float32), None, PROMPTS)


def answers(*failing: int, upto: int = 5) -> Answers:
    indices = np.arange(upto)
    return Answers(indices, np.isin(indices, failing))


def test_places_of_which_all_outputs_are_answered_count() -> None:
    found = difference_of(POOL, SIDES, answers(1, 4), level=0.95)
    assert (found.prompts, found.differing, found.labelled, found.both) == (10, 3, 3, 0)
    assert (found.only_first.failures, found.only_second.failures) == (1, 1)
    assert found.difference.estimate == 0
    cut = difference_of(POOL, SIDES, answers(1, upto=3), level=0.95)
    assert (cut.labelled, cut.only_first.failures) == (1, 1), "place 2 lacks an answer"
    assert cut.only_first.estimate == pytest.approx(0.3), "one place stands for the three that differ"


def test_it_is_the_engines_difference_of_the_places() -> None:
    alone = OutputPool(POOL.logits, None, np.array([1, 1, 2, 2, 3]))
    found = difference_of(alone, SIDES, answers(1, 2, 3), level=0.9)
    assert found == difference([True, True, False], [False, True, False], differing=3, prompts=10, level=0.9)
    assert found.only_first.low == pytest.approx(garwood(1, 10, level=0.9).low)


def test_tiers_say_the_later_filter_less_the_other() -> None:
    found = difference_of(POOL, SIDES, answers(1, 3), level=0.95)
    tiers = tiers_of(found)
    assert tiers.forecast is None
    assert tiers.certificate == tiers.estimate
    assert tiers.estimate.estimate == -found.difference.estimate == pytest.approx(-0.2)
    assert (tiers.estimate.low, tiers.estimate.high) == (-found.difference.high, -found.difference.low)


def test_labels_are_bought_place_by_place() -> None:
    plan = plan_differing(POOL, SIDES, Wanted(guess=0.2))["differing"]
    whole = order_differing(SIDES, plan, 3)
    assert sorted(whole.tolist()) == [0, 1, 2, 3, 4]
    assert [PLACES[i] for i in whole] == sorted(
        (PLACES[i] for i in whole), key=list(dict.fromkeys(PLACES[whole])).index
    )
    some = order_differing(SIDES, plan._replace(outputs=1), 3)
    assert some.tolist() == whole[: some.size].tolist()
    assert set(PLACES[some]) == {PLACES[whole[0]]}, "no place is cut"
    assert order_differing(SIDES, plan, 3).tolist() == whole.tolist()


def test_the_plan_tells_what_the_pool_can_give_and_what_others_take() -> None:
    plans = plan_differing(POOL, SIDES, Wanted(relative=0.5, guess=0.2, price=0.5, seconds=36))
    ours = plans["differing"]
    assert (ours.outputs, ours.reachable) == (5, False)
    assert ours.reached > 0.5
    assert "run on" in ours.note
    assert plans["two_tests"].outputs > plans["shared"].outputs > plans["differing_enough"].outputs > ours.outputs
    assert ours.money == ours.labels * 0.5
    assert ours.hours == ours.labels / 100
    n = 40_000
    many = Sides(np.repeat(np.arange(n // 10), 2), np.tile([True, False], n // 10), n)
    pool = OutputPool(np.zeros(n // 5, dtype=np.float32), None, many.places)
    wide = plan_differing(pool, many, Wanted(relative=0.5, guess=0.02))["differing"]
    assert wide.reachable
    assert wide.outputs < 5000
    assert "differing_enough" not in plan_differing(pool, many, Wanted(relative=0.5, guess=0.02))
    assert wide.reached == 0.5


def test_filters_that_answer_alike_take_no_label() -> None:
    none = np.empty(0, dtype=np.int64)
    pool, sides = OutputPool(none.astype(np.float32), None, none), Sides(none, none.astype(bool), 50)
    plan = plan_differing(pool, sides, Wanted())["differing"]
    assert (plan.outputs, plan.labels) == (0, 0)
    assert order_differing(sides, plan, 0).size == 0
    found = difference_of(pool, sides, Answers(none, none.astype(bool)), level=0.95)
    assert found.difference.estimate == 0
    assert found.difference.high == pytest.approx(garwood(0, 50).high)


def test_sides_that_do_not_fit_are_refused() -> None:
    with pytest.raises(BadInput):
        difference_of(POOL, SIDES._replace(places=PLACES[:3]), answers(), level=0.95)
