"""What labels of a difference find: planned in words, and the smallest that those given would have shown."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from engine.evaluation.designs import OutputPool, Wanted
from engine.evaluation.difference import difference
from engine.evaluation.difference_plan import mcnemar_power, plan_difference
from engine.evaluation.difference_power import power_planned, smallest_by_pairs
from engine.evaluation.differing import Sides, rate_taken

N = 1000
SIDES = Sides(np.repeat(np.arange(100), 2), np.tile([True, False], 100), N)
POOL = OutputPool(np.full(200, -3, dtype=np.float32), None, SIDES.places.copy())


def found(first: int, second: int, labelled: int = 100, differing: int = 100):
    fails = np.arange(labelled) < first, np.arange(labelled) >= labelled - second
    return difference(*fails, differing=differing, prompts=N)


def test_what_finds_an_improvement_is_the_exact_tests() -> None:
    wanted = Wanted(guess=0.04)
    planned = power_planned(POOL, SIDES, wanted, improvement=0.5, power=0.8)
    assert planned is not None
    assert planned.labels == plan_difference(0.04, 0.1).power
    assert planned.here == pytest.approx(mcnemar_power(30, 10, 0.95))  # 10 of 20 and of 40 are the same outputs
    assert (
        f"from labels of {planned.labels.differing:,} outputs: both outputs wherever the two differ on "
        in planned.words
    )
    assert f"finds it with a chance of {100 * planned.here:.0f} %" in planned.words
    assert "50 % less often than the other is found with a chance of 80 % (exact test, 95 %)" in planned.words
    more = power_planned(POOL, SIDES, wanted, improvement=0.25, power=0.9)
    assert more is not None
    assert more.labels.differing > planned.labels.differing
    assert json.loads(json.dumps(more.as_dict()))["labels"]["prompts"] == more.labels.prompts
    none = np.empty(0, dtype=np.int64)
    alike = OutputPool(none.astype(np.float32), None, none), Sides(none, none.astype(bool), 50)
    assert power_planned(*alike, wanted, improvement=0.5, power=0.8) is None


def test_without_a_guess_the_scores_say_how_often_one_filter_fails() -> None:
    """Of 200 outputs that differ 2 % are expected to fail: 2 a filter of 1,000 prompts, and as many that both have."""
    pool = POOL._replace(chances=np.full(200, 0.02))
    assert rate_taken(pool, SIDES, Wanted()) == pytest.approx(0.004)
    assert rate_taken(pool, SIDES, Wanted(guess=0.3)) == 0.1, "no more than differ"


def test_the_smallest_difference_is_found_with_just_that_chance() -> None:
    gap = smallest_by_pairs(found(3, 2), 0.8)
    assert gap is not None
    assert mcnemar_power(2 + gap * N, 2, 0.95) == pytest.approx(0.8, abs=1e-6)
    six = smallest_by_pairs(found(0, 0), 0.8)
    assert six is not None
    assert stats.poisson.sf(5, six * N) == pytest.approx(0.8, abs=1e-6), "six of six are significant, five are not"
    half = smallest_by_pairs(found(0, 0, labelled=50), 0.8)
    assert half == pytest.approx(2 * six), "half of the places labelled show twice as much"
    assert smallest_by_pairs(found(0, 0), 0.8, units=50) == pytest.approx(2 * six), "prompts that repeat count once"


def test_so_few_labels_find_nothing() -> None:
    assert smallest_by_pairs(found(0, 0, labelled=7), 0.8) is None
    assert smallest_by_pairs(found(0, 0, labelled=0), 0.8) is None
    alike = smallest_by_pairs(found(0, 0, labelled=0, differing=0), 0.8)
    assert alike is not None
    assert stats.poisson.sf(5, alike * N) == pytest.approx(0.8, abs=1e-6)
