"""Labels of the difference of two filters alike, stratified by a fit to both scores, in the rare world."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from _rare_world import Second, World, pilot
from _two_filters import Pair, differing_outputs
from numpy.typing import NDArray
from scipy import stats

from engine.evaluation.designs.logistic import fitted
from engine.evaluation.designs.planning import least
from engine.evaluation.designs.scores import features_of
from engine.evaluation.designs.strata import (
    Layers,
    allocated,
    chance,
    codes_of,
    gamma_limits,
    layers_of,
)
from engine.evaluation.designs.stratified import DEFENCE, SAFE_DEFENCE

Floats = NDArray[np.float64]
Interval = Literal["estimate", "certificate"]


class Needed(NamedTuple):
    """Labels of both filters' outputs, and how often the interval holds the truth: filters alike, or the second failing
    half as often where they differ, whichever is covered less."""

    labels: int
    covered: float


def by_score(
    of: World, alike: Pair, rho: float, noise: float, interval: Interval, *, pilot_size: int, runs: int
) -> Needed:
    """Each filter's differing outputs are a pool, with the other's logit as second opinion; a pilot of unfiltered
    labels fits their chances. The half-width is to be half of the first's rate."""
    rng = np.random.default_rng([74, interval == "estimate"])
    layers = _layers(of, alike, rho, noise, SAFE_DEFENCE if interval == "certificate" else DEFENCE, pilot_size, rng)
    uniform = chance(layers, rng), chance(layers, rng)

    def width(n: int) -> float:
        labels = allocated(layers, n)
        counts = [stats.poisson.ppf(one, labels * layers.expected) for one in uniform]
        low, high = _limits(counts, _weights(layers, labels, alike), interval)
        return float((high - low).mean()) / 2

    labels = allocated(layers, least(lambda n: width(n) <= 0.5 * alike.first, 10**9))
    weights, covered = _weights(layers, labels, alike), []
    for share in (1.0, 0.5):
        means = labels * layers.expected, share * labels * layers.expected
        gap = (1 - share) * float(means[0] @ weights)
        low, high = _limits([rng.poisson(m, (runs, m.size)).astype(np.float64) for m in means], weights, interval)
        covered.append(float(np.mean((low <= gap) & (gap <= high))))
    return Needed(2 * int(labels.sum()), min(covered))


def _layers(
    of: World, alike: Pair, rho: float, noise: float, defence: float, pilot_size: int, rng: np.random.Generator
) -> Layers:
    """Strata by the fit; what fails in them is known by failures' strata. Prompts cost no labels: no stratum ends."""
    logits, second, bad = pilot(of, Second(rho), pilot_size, rng)
    model = fitted(features_of(logits, second), bad)
    every, fails = differing_outputs(of, rho, noise, 100_000, rng)
    score, failing = (model.chances(np.column_stack((side.logits, side.second))) for side in (every, fails))
    drawn = score[rng.choice(score.size, 200_000, p=every.weights)]
    layers = layers_of(drawn, 1e-4, defence=defence, unseen=0.0)
    mass = layers.sizes / drawn.size
    share = np.bincount(codes_of(failing, layers.lows), weights=fails.weights, minlength=mass.size)
    expected = (alike.ahead[0] + alike.behind[0]) / alike.differing * share / mass
    return layers._replace(sizes=layers.sizes * 10_000, expected=expected)


def _weights(layers: Layers, labels: NDArray[np.int64], alike: Pair) -> Floats:
    return np.asarray(alike.differing * layers.sizes / layers.sizes.sum() / labels, dtype=np.float64)


def _limits(counts: list[Floats], weights: Floats, interval: Interval) -> tuple[Floats, Floats]:
    """As `difference_by_output` has them, of many samples; `estimate` trusts strata."""
    sides = []
    for each in counts:
        top = np.full(len(each), weights.max())
        if interval == "estimate":
            seen = np.where(each > 0, weights, 0.0).max(axis=1)
            top = np.where(seen > 0, seen, top)
        total = each @ weights
        sides.append((total, *gamma_limits(total, each @ weights**2, top, 0.95)))
    (one, one_low, one_high), (two, two_low, two_high) = sides
    return one - two - np.hypot(one - one_low, two_high - two), one - two + np.hypot(one_high - one, two - two_low)
