"""The validation mix: halves that share no origin, rates counted by hand, and who is picked."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import chi2
from sklearn.metrics import log_loss

from engine.errors import BadInput
from engine.evaluation.mix import Mix, halved, lowest, mix_rates


def mix_of(rows: str) -> Mix:
    """A word a snippet: `aY1c` is a failure of source a, of cluster 1, in the half that chooses."""
    words = rows.split()
    return Mix(
        np.array([one[0] for one in words]),
        np.array([one[1] == "Y" for one in words]),
        np.array([one[2] for one in words]),
        np.array([one[3] == "c" for one in words]),
    )


def test_the_mean_is_over_sources_not_snippets() -> None:
    mix = mix_of("aY1c aY2c aY3c aY4c bY5c aN6c bN7c aY8f bY9f")
    found = mix_rates(mix, [-1, -1, -1, 2, 2, 5, 5, 0, 0], 0.0, choosing=True)
    assert found.fnr.estimate == pytest.approx((3 / 4 + 0 / 1) / 2)
    assert (found.fnr.failures, found.fnr.n, found.n) == (3, 5, 7)
    assert (found.by_source["a"].failures, found.by_source["a"].n) == (3, 4)
    assert (found.by_source["b"].failures, found.by_source["b"].n) == (0, 1)
    other = mix_rates(mix, [-1, -1, -1, 2, 2, 5, 5, 0, -1], 0.0, choosing=False)
    assert other.fnr.estimate == pytest.approx(0.5), "a logit at the threshold is rejected"


def test_equal_weights_give_garwoods_interval() -> None:
    rows = " ".join(f"aY{chr(97 + i)}c" for i in range(20)) + " aYzf"
    logits = [-1.0] * 3 + [1.0] * 18
    fnr = mix_rates(mix_of(rows), logits, 0.0, choosing=True).fnr
    assert fnr.estimate == pytest.approx(3 / 20)
    assert fnr.low == pytest.approx(chi2.ppf(0.025, 6) / 2 / 20)
    assert fnr.high == pytest.approx(chi2.ppf(0.975, 8) / 2 / 20)


def test_misses_of_one_cluster_are_one_event() -> None:
    apart = mix_of(" ".join(f"aY{chr(97 + i)}c" for i in range(20)) + " aYzf")
    together = mix_of(" ".join(f"aY{chr(97 + i // 5)}c" for i in range(20)) + " aYzf")
    logits = [-1.0] * 5 + [1.0] * 16
    one, other = (mix_rates(mix, logits, 0.0, choosing=True).fnr for mix in (apart, together))
    assert one.estimate == other.estimate == pytest.approx(0.25)
    assert other.low < one.low
    assert other.high > one.high
    assert other.failures == 5


def test_no_miss_is_a_limit_and_all_missed_is_no_more_than_all() -> None:
    mix = mix_of("aY1c aY2c aY3f bY4c bY5f")
    none = mix_rates(mix, [1.0] * 5, 0.0, choosing=True).fnr
    assert (none.estimate, none.low, none.failures) == (0, 0, 0)
    assert 0 < none.high <= 1
    every = mix_rates(mix, [-1.0] * 5, 0.0, choosing=True).fnr
    assert (every.estimate, every.high) == (pytest.approx(1), 1)


def test_log_loss_is_scikit_learns_over_sources() -> None:
    mix = mix_of("aY1c aN2c bY3c bN4c bN5c aY6f bY7f")
    logits = np.array([0.3, -2.0, 1.5, 0.2, -0.4, 9, 9], dtype=np.float32)
    odds = 1 / (1 + np.exp(-logits))
    wanted = np.mean([log_loss([1, 0], odds[:2]), log_loss([1, 0, 0], odds[2:5])])
    assert mix_rates(mix, logits, 0.0, choosing=True).log_loss == pytest.approx(wanted, rel=1e-5)
    huge = mix_rates(mix, [-1e4] * 7, 0.0, choosing=True).log_loss
    assert math.isfinite(huge)


def test_sources_without_failures_in_both_halves_do_not_count() -> None:
    mix = mix_of("aY1c aY2f bY3c bN4f cN5c cY6f")
    assert mix.weighed == ("a",)
    found = mix_rates(mix, [-1.0] * 6, 0.0, choosing=True)
    assert (set(found.by_source), found.n) == ({"a"}, 1)


def test_halves_share_no_origin_and_split_failures_evenly() -> None:
    rng = np.random.default_rng(0)
    clusters = [f"root{n}" for n in rng.integers(0, 40, 200)]
    sources = ["paraphrase" if n % 3 else "in distribution" for n in range(200)]
    failures = rng.random(200) < 0.5
    mix = halved(sources, failures, clusters, seed=0)
    first = {name for name, choosing in zip(clusters, mix.choosing, strict=True) if choosing}
    second = {name for name, choosing in zip(clusters, mix.choosing, strict=True) if not choosing}
    assert not first & second
    assert abs(len(first) - len(second)) <= 1
    again = halved(sources, failures, clusters, seed=0)
    assert (again.choosing == mix.choosing).all()
    assert (halved(sources, failures, clusters, seed=1).choosing != mix.choosing).any()


def test_halves_do_not_depend_on_the_order_of_rows() -> None:
    rows = [("a", bool(n % 2), f"root{n % 10}") for n in range(50)]
    mix = halved(*zip(*rows, strict=True), seed=3)  # type: ignore[arg-type]
    turned = halved(*zip(*rows[::-1], strict=True), seed=3)  # type: ignore[arg-type]
    assert mix.choosing.tolist() == turned.choosing.tolist()[::-1]


@pytest.mark.parametrize(
    "rows", [[], [("a", True, "1")], [("a", False, "1"), ("a", False, "2")], [("a", True, "1"), ("a", True, "1")]]
)
def test_nothing_to_choose_by_is_refused(rows: list[tuple[str, bool, str]]) -> None:
    sources, failures, clusters = ([one[i] for one in rows] for i in range(3))
    with pytest.raises(BadInput, match="validation mix"):
        halved(sources, failures, clusters, seed=0)  # type: ignore[arg-type]


def test_logits_that_are_not_finite_or_do_not_fit_are_refused() -> None:
    mix = mix_of("aY1c aY2f")
    for logits in ([1.0], [1.0, math.nan], [math.inf, 1.0]):
        with pytest.raises(BadInput, match="finite logits"):
            mix_rates(mix, logits, 0.0, choosing=True)


def test_the_lowest_wins_then_the_loss_then_the_first() -> None:
    assert lowest([(0.2, 0.1), (0.1, 0.9), (0.1, 0.3), (0.1, 0.3)]) == 2
    with pytest.raises(BadInput):
        lowest([])
