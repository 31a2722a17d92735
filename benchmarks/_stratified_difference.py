"""Labels of the difference of two filters alike, spread by both scores as evaluations do it, in the rare world."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from _rare_world import Second, World, pilot
from _two_filters import Pair, differing_outputs
from numpy.typing import NDArray

from engine.evaluation.designs import Wanted
from engine.evaluation.designs.logistic import fitted
from engine.evaluation.designs.planning import least
from engine.evaluation.designs.scores import features_of
from engine.evaluation.designs.strata import Layers, allocated, chance, codes_of, layers_of
from engine.evaluation.designs.stratified import DEFENCE, SAFE_DEFENCE
from engine.evaluation.differing_strata import failures_met, gaps, half_width, two_pools

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
    defence = SAFE_DEFENCE if interval == "certificate" else DEFENCE
    layers, fails = _layers(of, alike, rho, noise, defence, pilot_size, rng)
    pools = two_pools(layers, layers, prompts=round(layers.sizes.sum() / alike.differing), defence=defence)
    pools = pools._replace(layers=pools.layers._replace(expected=np.tile(fails, 2)))  # known once labels are spread
    uniform, wanted = chance(pools.layers, rng), Wanted(interval=interval)

    def width(n: int) -> float:
        labels = allocated(pools.layers, n)
        return half_width(pools, labels, wanted, failures_met(uniform, labels, pools.layers.expected))

    labels = allocated(pools.layers, least(lambda n: width(n) <= 0.5 * alike.first, 10**9))
    weights, covered = pools.weights(labels), []
    for share in (1.0, 0.5):
        means = labels * pools.layers.expected * np.where(pools.later, 1.0, share)
        truth = float(np.where(pools.later, means, -means) @ weights)
        counts = rng.poisson(means, (runs, means.size)).astype(np.float64)
        found = gaps(pools, labels, counts, level=0.95, interval=interval)
        covered.append(float(np.mean((found.low <= truth) & (truth <= found.high))))
    return Needed(int(labels.sum()), min(covered))


def _layers(
    of: World, alike: Pair, rho: float, noise: float, defence: float, pilot_size: int, rng: np.random.Generator
) -> tuple[Layers, NDArray[np.float64]]:
    """Strata by the fit, and what fails in them, known by failures' strata. Prompts cost no labels: no stratum ends."""
    logits, second, bad = pilot(of, Second(rho), pilot_size, rng)
    model = fitted(features_of(logits, second), bad)
    every, fails = differing_outputs(of, rho, noise, 100_000, rng)
    score, failing = (model.chances(np.column_stack((side.logits, side.second))) for side in (every, fails))
    drawn = score[rng.choice(score.size, 200_000, p=every.weights)]
    layers = layers_of(drawn, 1e-4, defence=defence, unseen=0.0)
    mass = layers.sizes / drawn.size
    share = np.bincount(codes_of(failing, layers.lows), weights=fails.weights, minlength=mass.size)
    expected = (alike.ahead[0] + alike.behind[0]) / alike.differing * share / mass
    return layers._replace(sizes=layers.sizes * 10_000), np.asarray(expected, dtype=np.float64)
