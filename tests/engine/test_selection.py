"""Near-duplicates dropped before a query strategy, and what it did explained after it."""

from __future__ import annotations

import numpy as np
import pytest

from engine.embeddings import AlikeSearch, codes_of, groups_within
from engine.query_strategies import choose, query_strategy
from engine.selection import Reason, among, explain, first_of_groups

E = np.eye(4, dtype=np.float32)


def unit(rows):
    rows = np.asarray(rows, dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def near(vectors, cosine, seed=10):
    """For each unit row another at exactly this cosine."""
    rng = np.random.default_rng(seed)
    other = rng.standard_normal(vectors.shape)
    other -= (other * vectors).sum(1, keepdims=True) * vectors
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    return (cosine * vectors + np.sqrt(1 - cosine**2) * other).astype(np.float32)


def test_a_row_joins_the_first_leader_that_it_is_like_and_never_a_chain():
    turned = [
        [np.cos(a), np.sin(a)] for a in np.radians([0, 15, 30, 90, 2])
    ]  # cos 15 degrees is 0.966, cos 30 is 0.866
    assert groups_within(unit(turned)).tolist() == [0, 0, 2, 3, 0]
    assert groups_within(np.zeros((0, 4))).tolist() == []
    assert groups_within(E[:1]).tolist() == [0]


def test_near_duplicates_of_earlier_shards_are_found_and_others_are_not():
    rng = np.random.default_rng(0)
    earlier = unit(rng.standard_normal((3000, 384)))
    new = np.concatenate([near(earlier[:1000], 0.955), near(earlier[1000:2000], 0.93, seed=11), earlier[2000:2010]])
    search = AlikeSearch(new, codes_of(new))
    found = search.matches(earlier, codes_of(earlier), np.ones(3000, dtype=bool))
    assert (found[:1000] == np.arange(1000)).mean() > 0.97
    assert (found[1000:2000] == -1).all()
    assert found[2000:].tolist() == list(range(2000, 2010))


def test_only_leaders_are_joined_and_of_several_the_first():
    earlier = unit([[1, 0.1, 0, 0], [1, 0, 0, 0], [1, 0, 0.1, 0]])
    search = AlikeSearch(E[:2], codes_of(E[:2]))
    assert search.matches(earlier, codes_of(earlier), np.array([True, True, True])).tolist() == [0, -1]
    assert search.matches(earlier, codes_of(earlier), np.array([False, False, True])).tolist() == [2, -1]
    assert search.matches(earlier, codes_of(earlier), np.zeros(3, dtype=bool)).tolist() == [-1, -1]


def test_codes_do_not_depend_on_the_rows_beside_them():
    rows = unit(np.random.default_rng(1).standard_normal((1500, 16)))
    assert (codes_of(rows)[1100:1110] == codes_of(rows[1100:1110])).all()


def test_of_a_group_the_most_valuable_stands_unless_one_is_labelled():
    values, groups = np.array([1.0, 3, 3, 2, 5]), np.array([7, 7, 7, 8, 9])
    assert first_of_groups(values, groups, np.array([9, 100])).tolist() == [False, True, False, True, False]
    assert first_of_groups(np.zeros(0), np.zeros(0, np.int64), np.array([1])).tolist() == []


def test_a_batch_is_filled_with_near_duplicates_only_where_too_few_are_distinct():
    values = np.array([1.0, 2, 3, 4])
    strategy = among(query_strategy("top"), np.array([True, False, True, False]))
    assert strategy(E, values, E[:0], 2).tolist() == [2, 0]
    assert strategy(E, values, E[:0], 3).tolist() == [2, 0, 3]
    assert strategy(E, values, E[:0], 9).tolist() == [2, 0, 3, 1]
    assert strategy(E, values, E[:0], 0).tolist() == []


@pytest.fixture
def explained():
    """Six on a circle: the highest values, two of four drawn by chance, one near-duplicate of a labelled one."""
    angles = np.radians([0, 10, 60, 120, 180, 240])
    vectors = np.c_[np.cos(angles), np.sin(angles)].astype(np.float32)
    values = np.array([6.0, 5, 4, 3, 2, 1])
    distinct = np.array([True, False, True, True, True, True])
    choice = choose(among(query_strategy("top"), distinct), vectors, values, vectors[1:2], 4, random_share=0.5, seed=3)
    return vectors, choice, explain(choice, values, distinct, vectors, vectors[1:2])


def test_every_snippet_has_its_reason(explained):
    _, choice, why = explained
    assert choice.strategy_alone.tolist() == [0, 2, 3, 4]
    drawn = set(choice.chosen[2:].tolist())
    assert why.chosen.tolist() == [True, False, True] + [i in drawn for i in (3, 4, 5)] if 1 not in drawn else True
    expected = {
        0: Reason.STRATEGY,
        2: Reason.STRATEGY,
        1: Reason.NEAR_DUPLICATE,
        3: Reason.GAVE_WAY,
        4: Reason.GAVE_WAY,
    }
    expected |= {5: Reason.LOWER_VALUE} | dict.fromkeys(drawn, Reason.RANDOM)
    assert dict(enumerate(why.reasons)) == expected
    assert why.rank.tolist() == [0, 1, 2, 3, 4, 5]
    assert why.plain.tolist() == [True, True, True, True, False, False]
    assert why.place[choice.chosen].tolist() == [0, 1, 2, 3]
    assert (why.place < 0).sum() == 2
    assert why.inclusion[[0, 2]].tolist() == [1, 1]
    np.testing.assert_allclose(why.inclusion[list(drawn)], 0.5)
    assert np.isnan(why.inclusion[~why.chosen]).all()


def test_the_nearest_are_those_of_brute_force(explained):
    vectors, choice, why = explained
    np.testing.assert_allclose(why.apart.similarities, vectors @ vectors[1], atol=1e-6)
    assert why.apart.rows.tolist() == [0] * 6
    for row in range(6):
        others = [int(one) for one in choice.chosen if one != row]
        best = max(others, key=lambda one: float(vectors[row] @ vectors[one]))
        assert why.taken.similarities[row] == pytest.approx(float(vectors[row] @ vectors[best]), abs=1e-6)
        assert why.taken.rows[row] != row


def test_what_diversity_passed_over_is_said():
    vectors = unit([[1, 0], [1, 0.4], [0, 1], [-1, 0]])
    values = np.array([4.0, 3, 2, 1])
    strategy = query_strategy("k_center_greedy")
    choice = choose(strategy, vectors, values, vectors[:0], 2, random_share=0)
    why = explain(choice, values, np.ones(4, dtype=bool), vectors, vectors[:0])
    assert 1 not in choice.chosen
    assert why.reasons[1] == Reason.PASSED_OVER
    assert why.apart.rows.tolist() == [-1] * 4
    assert np.isnan(why.apart.similarities).all()


def test_one_chosen_has_no_other_chosen_near():
    choice = choose(query_strategy("top"), E, np.array([1.0, 0, 0, 0]), E[:0], 1, random_share=0)
    why = explain(choice, np.array([1.0, 0, 0, 0]), np.ones(4, dtype=bool), E, E[:0])
    assert why.taken.rows.tolist() == [-1, 0, 0, 0]
    nothing = choose(query_strategy("top"), E, np.zeros(4), E[:0], 0, random_share=0.1)
    assert explain(nothing, np.zeros(4), np.ones(4, dtype=bool), E, E[:0]).taken.rows.tolist() == [-1] * 4
