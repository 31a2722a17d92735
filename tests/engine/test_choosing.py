import numpy as np
import pytest

from engine.query_strategies import QUERY_STRATEGIES, choose

NONE = np.zeros((0, 4), np.float32)
rng = np.random.default_rng(0)
POINTS, VALUES = rng.normal(size=(60, 4)).astype(np.float32), rng.normal(size=60)


@pytest.mark.parametrize("name", QUERY_STRATEGIES)
def test_the_strategy_takes_its_first_and_chance_the_rest(name):
    strategy = QUERY_STRATEGIES[name]
    choice = choose(strategy, POINTS, VALUES, NONE, 20, random_share=0.3, seed=4)
    alone = strategy(POINTS, VALUES, NONE, 20, seed=4)
    assert choice.strategy_alone.tolist() == alone.tolist()
    assert choice.chosen[:14].tolist() == alone[:14].tolist()
    assert choice.random.tolist() == [False] * 14 + [True] * 6
    assert choice.inclusion.tolist() == [1.0] * 14 + [6 / 46] * 6
    assert len(set(choice.chosen.tolist())) == 20
    again = choose(strategy, POINTS, VALUES, NONE, 20, random_share=0.3, seed=4)
    assert again.chosen.tolist() == choice.chosen.tolist()


@pytest.mark.parametrize(("k", "share", "drawn"), [(10, 0.0, 0), (10, 1.0, 10), (30, 0.1, 3), (5, 0.1, 1), (1, 0.1, 1)])
def test_the_share_is_rounded_up(k, share, drawn):
    choice = choose(QUERY_STRATEGIES["top"], POINTS, VALUES, NONE, k, random_share=share)
    assert choice.random.sum() == drawn
    assert choice.chosen.size == choice.strategy_alone.size == k


def test_a_pool_smaller_than_the_batch_is_taken_whole():
    choice = choose(QUERY_STRATEGIES["top"], POINTS[:7], VALUES[:7], NONE, 100, random_share=0.5)
    assert sorted(choice.chosen.tolist()) == list(range(7))
    assert choice.inclusion.tolist() == [1.0] * 7
    assert choice.random.sum() == 4
    for empty in (choose(QUERY_STRATEGIES["top"], POINTS[:0], VALUES[:0], NONE, 5, random_share=0.5),
                  choose(QUERY_STRATEGIES["top"], POINTS, VALUES, NONE, 0, random_share=0.5)):  # fmt: skip
        assert [part.size for part in empty] == [0, 0, 0, 0]


def test_what_the_batch_says_of_the_pool_is_unbiased():
    # Outcomes that go with the values, so that the strategy's own picks alone would say three times too much.
    outcomes = (VALUES > 0.8).astype(float)
    estimates, slices = [], []
    for seed in range(3000):
        choice = choose(QUERY_STRATEGIES["top"], POINTS, VALUES, NONE, 15, random_share=0.4, seed=seed)
        estimates.append((outcomes[choice.chosen] / choice.inclusion).sum())
        slices.append(choice.chosen[choice.random])
    error = np.std(estimates) / np.sqrt(len(estimates))
    assert abs(np.mean(estimates) - outcomes.sum()) < 4 * error
    assert outcomes[choice.strategy_alone].mean() > 2.5 * outcomes.mean()
    # Every snippet that the strategy left is drawn as often as any other: 3000 * 6 / 51 = 353 times.
    counts = np.bincount(np.concatenate(slices), minlength=60)
    left = np.argsort(VALUES)[:-9]
    assert abs(counts[left] - 3000 * 6 / 51).max() < 75
    assert counts.sum() == counts[left].sum()


def test_a_share_outside_0_and_1_is_refused():
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"random_share must lie in \[0, 1\]"):
            choose(QUERY_STRATEGIES["top"], POINTS, VALUES, NONE, 3, random_share=share)
