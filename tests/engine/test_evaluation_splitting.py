"""Splitting against exact probabilities, with ties, extinction and what it costs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine.errors import BadInput
from engine.evaluation.splitting import Settings, split
from tests.engine.markov_toy import LENGTH, PROMPTS, MarkovToy

QUICK = Settings(particles=300, moves=4, runs=6)


def test_the_toy_is_exact() -> None:
    """By enumeration of what two hundred thousand draws say, and of a chain of two tokens by hand."""
    toy = MarkovToy()
    tail = toy.exact()
    assert tail[0] == pytest.approx(1)
    scores = toy.score(toy.draw(200_000, np.random.default_rng(0)))
    for level in (10, 15, 20):
        share = float((scores >= level).mean())
        assert abs(share - tail[level]) < 4 * math.sqrt(tail[level] / 200_000)
    first = np.bincount(toy.pool, minlength=6) / PROMPTS
    only = first @ np.linalg.matrix_power(toy.next, 1)[:, 5]
    path = only * toy.next[5, 5] ** (LENGTH - 1)
    assert tail[3 * LENGTH] == pytest.approx(path)


def test_moves_leave_the_distribution_as_it_is() -> None:
    toy, chance = MarkovToy(), np.random.default_rng(1)
    states = toy.draw(100_000, chance)
    before = toy.score(states)
    for _ in range(3):
        states = toy.move(states, chance)
    after = toy.score(states)
    assert abs(before.mean() - after.mean()) < 4 * before.std() * math.sqrt(2 / 100_000)
    assert abs(before.std() - after.std()) < 0.03 * before.std()


def test_a_rare_event_is_estimated_without_bias_and_covered() -> None:
    toy = MarkovToy()
    level, truth = toy.rarest(1e-5)
    found = [split(toy, toy.score, level, settings=QUICK, seed=seed) for seed in range(24)]
    estimates = np.array([one.probability.estimate for one in found])
    error = estimates.std(ddof=1) / math.sqrt(len(found))
    assert abs(estimates.mean() - truth) < 3 * error
    assert error < 0.15 * truth
    covered = sum(one.probability.low <= truth <= one.probability.high for one in found)
    assert covered >= 20, "of 24 at 95 %, three standard deviations below"
    for one in found:
        assert one.reached
        assert (toy.score(one.found) >= level).all()
        assert (one.scores == toy.score(one.found)).all()
        assert len({state.tobytes() for state in one.found}) == len(one.found)
        assert 1 <= one.effective <= one.probability.failures
        assert 300 * (1 + len(one.levels) * 4) < one.score_calls <= 2 * 300 * (1 + len(one.levels) * 4)
        assert list(one.levels) == sorted(set(one.levels))
        assert one.levels[-1] < level


def test_the_same_seed_is_the_same_run() -> None:
    toy = MarkovToy()
    level, _ = toy.rarest(1e-4)
    one, two = (split(toy, toy.score, level, settings=QUICK, seed=3) for _ in range(2))
    assert one.probability == two.probability
    assert (one.found == two.found).all()


def test_an_ordinary_event_is_plain_sampling() -> None:
    toy = MarkovToy()
    tail = toy.exact()
    found = split(toy, toy.score, 1, settings=QUICK)
    assert found.levels == ()
    assert found.score_calls == 600
    assert found.probability.estimate == pytest.approx(float(tail[1]), abs=0.08)


def test_what_cannot_happen_is_a_limit_and_not_zero() -> None:
    toy = MarkovToy()
    found = split(toy, toy.score, 3 * LENGTH + 1, settings=QUICK)
    assert not found.reached
    assert found.probability.estimate == 0
    assert found.probability.high == pytest.approx(1 - 0.025 ** (1 / 300))
    assert (found.direct_calls, found.effective, len(found.found)) == (math.inf, 0, 0)


def test_scores_that_are_all_alike_end_at_once() -> None:
    toy = MarkovToy()
    found = split(toy, lambda states: np.zeros(len(states)), 1.0, settings=QUICK)
    assert (found.reached, found.levels) == (False, ())


@pytest.mark.parametrize(
    "settings",
    [Settings(keep=0.0), Settings(keep=1.0), Settings(moves=0), Settings(runs=1), Settings(particles=10, runs=10)],
)
def test_settings_that_make_no_sense_are_refused(settings: Settings) -> None:
    toy = MarkovToy()
    with pytest.raises(BadInput, match="settings"):
        split(toy, toy.score, 1.0, settings=settings)


def test_scores_that_are_no_numbers_are_refused() -> None:
    toy = MarkovToy()
    with pytest.raises(BadInput, match="numbers"):
        split(toy, lambda states: np.full(len(states), math.nan), 1.0, settings=QUICK)
    with pytest.raises(BadInput, match="finite level"):
        split(toy, toy.score, math.inf)
