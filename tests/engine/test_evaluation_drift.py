"""Drift of logits against hand computations, and how often it speaks up where nothing moved."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine.errors import BadInput
from engine.evaluation.curves import Histogram
from engine.evaluation.drift import drift


def reference(*counts: int) -> Histogram:
    return Histogram(
        edges=[float(x) for x in range(len(counts) + 1)], positives=[0] * len(counts), negatives=list(counts)
    )


def test_by_hand() -> None:
    """Shares with half a count added: reference 10.5/21 each; seen (1.5, 3.5) / 5."""
    found = drift(reference(10, 10), [0.5, 1.5, 1.5, 9.0], bins=2)
    assert found is not None
    assert found.psi == pytest.approx((0.3 - 0.5) * math.log(0.3 / 0.5) + (0.7 - 0.5) * math.log(0.7 / 0.5))
    assert found.ks == pytest.approx(0.25)
    assert (found.n, found.reference) == (4, 20)
    assert found.psi_by_chance == pytest.approx(3.841458820694124 * (1 / 4 + 1 / 20))


def test_positives_and_negatives_of_the_reference_count_alike() -> None:
    both = Histogram(edges=[0.0, 1.0, 2.0], positives=[4, 0], negatives=[6, 10])
    assert drift(both, [0.5, 1.5], bins=2) == drift(reference(10, 10), [0.5, 1.5], bins=2)


def test_bins_are_joined_until_each_holds_its_share() -> None:
    """Ten empty bins around two full ones are two groups: one degree of freedom."""
    found = drift(reference(*[0] * 5, 50, 50, *[0] * 5), [5.5] * 10 + [6.5] * 10, bins=2)
    assert found is not None
    assert found.psi == pytest.approx(0)
    assert found.ks == pytest.approx(0)


def test_nothing_seen_or_no_reference_says_nothing() -> None:
    assert drift(reference(1, 1), []) is None
    assert drift(reference(0, 0), [0.5]) is None


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(BadInput, match="not a number"):
        drift(reference(1, 1), [math.nan])
    with pytest.raises(BadInput, match="rising edges"):
        drift(Histogram(edges=[0.0, 1.0], positives=[1, 2], negatives=[1, 2]), [0.5])


def test_by_chance_is_exceeded_about_once_in_twenty_and_a_shift_nearly_always() -> None:
    chance = np.random.default_rng(0)
    edges = np.linspace(-4, 4, 41)
    exceeded = {0.0: 0, 0.5: 0}
    for _ in range(400):
        counts = np.histogram(chance.normal(size=2000).clip(-4, 4), edges)[0].tolist()
        known = Histogram(edges=edges.tolist(), positives=[0] * 40, negatives=counts)
        for shift in exceeded:
            found = drift(known, chance.normal(shift, 1, 500))
            assert found is not None
            exceeded[shift] += found.psi > found.psi_by_chance
    assert 8 <= exceeded[0.0] <= 34, "400 times one in twenty, give or take three standard deviations"
    assert exceeded[0.5] == 400
