"""Every strategy that the label-efficiency benchmark compares chooses from what is unlabelled."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from _learning import BATCH, Head, Points, Situation, Task, fit, learn
from _strategies import ALIKE, PLAIN, SUBPOOL, THEIRS, _Asked, _GreedyCoreset, _ours, _theirs, strategies, wants_others
from small_text import query_strategies as small_text
from small_text.data.datasets import SklearnDataset

from engine.acquisition import ACQUISITION
from engine.query_strategies import QUERY_STRATEGIES

RNG = np.random.default_rng(5)


def points(n: int) -> Points:
    y = RNG.random(n) < 0.4
    x = RNG.standard_normal((n, 6)).astype(np.float32)
    x[:, 0] += y
    return Points((x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), y)


TASK = Task("made up", points(160), points(50).x, points(80))


def situation(k: int = BATCH) -> Situation:
    pool = points(200)
    labelled = np.arange(40)
    head = fit(pool.x[labelled], pool.y[labelled])
    return Situation(pool.x, np.arange(40, 200), labelled, pool.y[labelled], head, TASK.harmless, k, 11)


def test_all_of_ours_and_of_small_texts_are_there() -> None:
    names = set(strategies())
    assert next(iter(strategies())) == "random"
    names |= {also for others in ALIKE.values() for also in others}
    assert ACQUISITION.keys() <= names
    assert QUERY_STRATEGIES.keys() - PLAIN <= {name.split(" · ")[0] for name in names}
    assert {name for name in THEIRS if f"small-text {name}" not in names} == set(ALIKE["small-text breaking ties"])


@pytest.mark.parametrize("name", list(strategies()))
def test_a_strategy_learns_a_curve_and_twice_the_same(name: str) -> None:
    first, again = (learn(TASK, strategies()[name], 2, steps=2) for _ in range(2))
    assert first.auc.shape == (3,)  # `learn` refuses what is not distinct and unlabelled
    np.testing.assert_array_equal(first.auc, again.auc)


def test_in_two_classes_six_strategies_are_one() -> None:
    now = situation()
    ours = [_ours("top", name, now) for name in ("margin", *ALIKE["margin"])]
    theirs = [_theirs(THEIRS[name], now) for name in ("breaking ties", *ALIKE["small-text breaking ties"])]
    chosen = [set(rows.tolist()) for rows in (*ours, *theirs)]
    assert len(chosen) == 6
    assert all(one == chosen[0] for one in chosen)
    logits = now.head.logits(now.x[now.unlabelled])
    assert chosen[0] == set(now.unlabelled[np.argsort(np.abs(logits))[:BATCH]].tolist())


def test_what_chooses_the_same_texts_learns_the_same_curve() -> None:
    ours, theirs = (learn(TASK, strategies()[name], 4, steps=3) for name in ("margin", "small-text breaking ties"))
    np.testing.assert_array_equal(ours.auc, theirs.auc)
    np.testing.assert_array_equal(ours.found, theirs.found)


def test_greedy_coreset_in_one_call_chooses_what_small_texts_does() -> None:
    now = situation()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = _theirs(lambda: small_text.GreedyCoreset(distance_metric="euclidean", normalize=False), now)
        ours = _theirs(lambda: _GreedyCoreset("euclidean"), now)
    np.testing.assert_array_equal(ours, theirs)


def test_small_text_is_given_our_heads_scores() -> None:
    head = Head(np.array([1.0, 0.0]), 0.5)
    dataset = SklearnDataset(np.eye(2, dtype=np.float32), np.zeros(2, dtype=np.int64), target_labels=np.array([0, 1]))
    scores = _Asked(head).predict_proba(dataset)[:, 1]
    assert scores == pytest.approx([1 / (1 + np.exp(-1.5)), 1 / (1 + np.exp(-0.5))])


def test_only_those_that_compare_classifiers_want_others() -> None:
    assert {name for name in ACQUISITION if wants_others(name)} == {"disagreement"} & set(ACQUISITION)


def test_the_subpool_is_smaller_than_the_pool() -> None:
    from _learning import INITIAL, POOL, STEPS

    assert SUBPOOL < POOL - INITIAL - BATCH * STEPS
