"""The world's rates, solved by quadrature, against the paper's and against streams drawn proposal by proposal."""

from __future__ import annotations

import numpy as np
import pytest
from _rare_world import FNR, FPR, LEAK, PREVALENCE, SPREAD, Second, failures, paper_ratio, pilot, truth, world
from _two_filters import better_by_half, pair

from engine.evaluation.difference import outputs_differ


def test_the_population_is_the_papers() -> None:
    of = world()
    assert truth(of) == pytest.approx(2.74e-5, rel=0.002)
    assert of.gap == pytest.approx(3.54, abs=0.005)
    assert paper_ratio(of) == pytest.approx(1.52, abs=0.005)
    logits, second, bad = pilot(of, Second(0.5), 400_000, np.random.default_rng(0))
    assert bad.mean() == pytest.approx(PREVALENCE, rel=0.03)
    assert (logits[~bad] >= of.threshold).mean() == pytest.approx(FPR, rel=0.01)
    assert (logits[bad] < of.threshold).sum() == pytest.approx(FNR * bad.sum(), abs=10)
    assert second is not None


def test_second_opinions_see_failures_but_for_the_blind_share() -> None:
    of, rng = world(), np.random.default_rng(1)
    seen, blind = (failures(of, Second(0.5, blind=share), 20_000, rng).second for share in (0.0, 1.0))
    assert seen is not None
    assert blind is not None
    assert seen.mean() - blind.mean() == pytest.approx((1 - 0.5) * of.gap, rel=0.02)


@pytest.mark.parametrize("noise", [0.0, 0.25])
def test_what_differs_is_what_streams_show(noise: float) -> None:
    """20,000 prompts, 60 proposals each; failures are too rare to count, so the second's d' has no part in it."""
    of, rng, n, rho = world(), np.random.default_rng(2), 20_000, 0.9
    b = rng.normal(0, SPREAD, n)
    bad = rng.random((n, 60)) < of.prevalence(b)[:, None]
    means = LEAK * b[:, None] + of.gap * bad
    first = rng.normal(size=means.shape)
    second = rho * first + np.sqrt(1 - rho**2) * rng.normal(size=means.shape)
    draws = []
    for scores in (first, second):
        accepted = scores + means + noise * rng.normal(size=(n, 1)) < of.threshold
        draws.append(np.where(accepted.any(axis=1), accepted.argmax(axis=1), -1))
    assert outputs_differ(*draws).mean() == pytest.approx(pair(of, rho, noise=noise).differing, abs=0.009)


def test_a_filter_that_fails_half_as_often_differs_by_who_fails_alone() -> None:
    found = better_by_half(world(), 0.9, 0.0)
    assert found.second == pytest.approx(found.first / 2, rel=1e-6)
    assert found.only_first - found.only_second == pytest.approx(found.first - found.second, rel=1e-3)
    for alone, ahead, behind in zip(found[2:4], found.ahead, found.behind, strict=True):
        assert alone < ahead + behind < found.first
