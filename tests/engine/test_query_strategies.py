import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.embeddings.vectors import unit_rows
from engine.errors import UnknownName
from engine.query_strategies import QUERY_STRATEGIES, query_strategy

NONE = np.zeros((0, 8), np.float32)
greedy = QUERY_STRATEGIES["k_center_greedy"]


def pool(n, seed=0, d=8):
    rng = np.random.default_rng(seed)
    return unit_rows(rng.normal(size=(n, d)).astype(np.float32)), rng.normal(size=n)


def brute_force(points, values, labelled, k):
    """All distances anew at every pick, in float64."""
    points, centres, chosen = points.astype(np.float64), [*labelled.astype(np.float64)], []
    ranks = np.array([((values < v).sum() + (values <= v).sum() - 1) / 2 for v in values]) / (len(values) - 1)
    while len(chosen) < k:
        apart = (
            np.linalg.norm(points[:, None] - np.array(centres)[None], axis=2) if centres else np.ones((len(points), 1))
        )
        key = apart.min(axis=1) * (0.1 + ranks)
        key[chosen] = -1
        chosen.append(int(np.argmax(key)))
        centres.append(points[chosen[-1]])
    return chosen


@pytest.mark.parametrize("name", QUERY_STRATEGIES)
def test_every_strategy(name):
    choose = query_strategy(name)
    points, values = pool(40)
    before = points.copy(), values.copy()
    for labelled in (NONE, pool(5, seed=1)[0], np.zeros((0,))):
        chosen = choose(points, values, labelled, 7, seed=3)
        assert chosen.shape == (7,)
        assert chosen.dtype == np.int64
        assert len(set(chosen.tolist())) == 7
        assert set(chosen.tolist()) <= set(range(40))
        assert (chosen == choose(points, values, labelled, 7, seed=3)).all()
    assert (points == before[0]).all()
    assert (values == before[1]).all()
    assert choose(points, values, NONE, 0).tolist() == []
    assert sorted(choose(points, values, NONE, 1000).tolist()) == list(range(40))
    assert choose(points[:1], values[:1], NONE, 1).tolist() == [0]
    assert choose(points[:0], values[:0], NONE, 5).tolist() == []


@pytest.mark.parametrize("name", QUERY_STRATEGIES)
def test_every_strategy_refuses_what_does_not_fit(name):
    choose = query_strategy(name)
    points, values = pool(10)
    with pytest.raises(ValueError, match=r"values must have shape \(10,\), not \(9,\)"):
        choose(points, values[:9], NONE, 3)
    with pytest.raises(ValueError, match=r"labelled must have shape \(m, 8\), not \(2, 4\)"):
        choose(points, values, np.ones((2, 4)), 3)
    with pytest.raises(ValueError, match=r"embeddings must have shape \(n, d\)"):
        choose(values, values, NONE, 3)
    with pytest.raises(ValueError, match="k must not be negative, but is -1"):
        choose(points, values, NONE, -1)
    broken = points.copy()
    broken[7, 3] = np.nan
    for bad in ((points, np.full(10, np.nan), NONE), (broken, values, NONE), (points, values, broken)):
        with pytest.raises(ValueError, match="finite"):
            choose(*bad, 3)


@pytest.mark.parametrize("name", QUERY_STRATEGIES)
def test_every_strategy_tells_how_far_it_is(name):
    told = []
    points, values = pool(40)
    query_strategy(name)(points, values, NONE, 7, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (7, 7)


@pytest.mark.parametrize("name", QUERY_STRATEGIES)
def test_every_strategy_takes_duplicates(name):
    points = np.ones((30, 8), np.float32)
    assert len(set(query_strategy(name)(points, np.zeros(30), points[:2], 20).tolist())) == 20


@pytest.mark.parametrize("name", QUERY_STRATEGIES)
def test_every_strategy_goes_on_when_everything_is_labelled(name):
    points, values = pool(30)
    assert len(set(query_strategy(name)(points, values, points, 12).tolist())) == 12
    assert sorted(query_strategy(name)(points, values, points, 30).tolist()) == list(range(30))


@pytest.mark.parametrize("name", QUERY_STRATEGIES)
def test_every_strategy_takes_vectors_of_zeros_and_equal_values(name):
    for value in (-3.0, 0.0, 2.0):
        chosen = query_strategy(name)(np.zeros((9, 8), np.float32), np.full(9, value), NONE, 9)
        assert sorted(chosen.tolist()) == list(range(9))


@pytest.mark.parametrize("name", QUERY_STRATEGIES)
def test_every_strategy_reads_mapped_half_precision_as_it_reads_memory(name, tmp_path):
    points, values = pool(50)
    halves = np.lib.format.open_memmap(tmp_path / "pool.npy", mode="w+", dtype=np.float16, shape=points.shape)
    halves[:] = points
    halves.flush()
    mapped = np.load(tmp_path / "pool.npy", mmap_mode="r")
    known = pool(5, seed=1)[0]
    expected = query_strategy(name)(np.asarray(mapped, dtype=np.float32), values, known, 9, seed=2)
    assert query_strategy(name)(mapped, values, known, 9, seed=2).tolist() == expected.tolist()


@pytest.mark.parametrize(("n", "labelled"), [(60, 0), (60, 6), (400, 0), (400, 9)])
def test_k_center_greedy_is_brute_force(n, labelled):
    points, values = pool(n, seed=n)
    known = pool(labelled, seed=7)[0] if labelled else NONE
    assert greedy(points, values, known, 50).tolist() == brute_force(points, values, known, 50)


def small_steps(monkeypatch):
    """Sizes at which even small pools take every path of the large ones, among them the cells."""
    for module, sizes in {
        "farthest_first": {"_FRONT": 4, "_WAITING": 3},
        "seeding": {"_WAITING": 3, "_REFUSED": 5},
        "vectors": {"BLOCK": 50},
        "covering": {"_CENTRES": 7},
        "nearest": {"_ALL_PAIRS": 0},
        "cells": {"_POINTS_A_CELL": 5, "_NEIGHBOURS": 1},
        "similarity": {"_EXACT": 0},
    }.items():
        for name, size in sizes.items():
            monkeypatch.setattr(sys.modules[f"engine.query_strategies.{module}"], name, size)


@pytest.mark.parametrize("labelled", [0, 3, 400])
def test_k_center_greedy_is_brute_force_beyond_its_front(monkeypatch, labelled):
    small_steps(monkeypatch)
    points, values = pool(300, seed=5)
    known = pool(labelled, seed=6)[0] if labelled else NONE
    assert greedy(points, values, known, 60).tolist() == brute_force(points, values, known, 60)


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 40), st.integers(1, 40), st.integers(0, 5), st.integers(0, 10**6))
def test_k_center_greedy_on_a_line_by_hand_or_not(n, k, labelled, seed):
    rng = np.random.default_rng(seed)
    points, values = rng.normal(size=(n, 3)).astype(np.float32), rng.normal(size=n)
    known = rng.normal(size=(labelled, 3)).astype(np.float32)
    k = min(k, n)
    assert greedy(points, values, known, k).tolist() == brute_force(points, values, known, k)


def test_farthest_first_by_hand():
    line = np.array([[0.0], [1.0], [2.0], [6.0], [10.0]], np.float32)
    equal = np.zeros(5)
    # From 0: 10 is farthest, then 6 (4 away from 10, 6 from 0), then 2, then 1.
    assert greedy(line, equal, np.zeros((1, 1)), 5).tolist() == [4, 3, 2, 1, 0]
    # Weights 0.1, 0.35, 0.6, 0.85, 1.1 by rank: from 10 the keys are 1, 3.15, 4.8, 3.4, 0.
    assert greedy(line, np.arange(5.0), np.full((1, 1), 10.0), 1).tolist() == [2]


def test_the_first_of_an_empty_start_has_the_highest_value_and_the_seed_breaks_ties():
    points, values = pool(30)
    assert greedy(points, values, NONE, 1).tolist() == [int(np.argmax(values))]
    firsts = {int(greedy(points, np.zeros(30), NONE, 1, seed=seed)[0]) for seed in range(20)}
    assert len(firsts) > 5


def test_labelled_neighbourhoods_are_left_alone():
    left, right = np.array([1.0, 0]), np.array([0, 1.0])
    points = np.array([left, right] * 10, np.float32) + np.random.default_rng(0).normal(0, 0.01, (20, 2))
    assert (greedy(points, np.zeros(20), left[None], 1) % 2 == 1).all()


def test_top_by_hand():
    choose = QUERY_STRATEGIES["top"]
    points = np.eye(5)
    assert choose(points, np.array([3.0, 1, 4, 1, 5]), NONE[:0, :5], 3).tolist() == [4, 2, 0]
    ties = {tuple(sorted(choose(points, np.zeros(5), NONE[:0, :5], 2, seed=seed).tolist())) for seed in range(40)}
    assert len(ties) == 10


def test_random_is_even():
    choose = QUERY_STRATEGIES["random"]
    points, values = pool(10)
    counts = np.bincount(np.concatenate([choose(points, values, NONE, 3, seed=s) for s in range(1000)]), minlength=10)
    # Expected 300 each; four standard errors.
    assert abs(counts - 300).max() < 58


def test_an_unknown_one_names_those_known():
    with pytest.raises(UnknownName, match="unknown query strategy 'bald'; known: badge, facility_location, "):
        query_strategy("bald")
