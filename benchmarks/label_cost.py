"""How many labels does a failure rate near 3 in 100,000 cost, known to +-50 %, and the difference of two filters?

The population has the paper's rates (`_rare_world.py`). One rate, by stratified labels on several second opinions, each
fitted to 102,000 unfiltered validation labels, against: random sampling of the deployed filter, the paper's protocol
(unfiltered pairs, weighted by 1 / P(accept)), and strata by the classifier's own score. Both intervals: the design's,
and the certificate's that trusts no score. "planned" is what the design's plan says from its pilot alone; "needed" is
where the mean half-width is 50 % in truth. Then the difference of two filters on one stream, by labels spread as
`manage.py evaluate --against ID --design stratified` spreads them and by pairs as it does without, against two separate
tests and one shared, fully labelled set; "x" is how many times as many labels each of the two takes. Coverage is
measured beside every number of labels and aims at 95 %.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import numpy as np  # noqa: E402
from _common import finish  # noqa: E402
from _rare_world import Second, World, failures, outputs, paper_ratio, pilot, truth, world  # noqa: E402
from _stratified_difference import by_score  # noqa: E402
from _two_filters import better_by_half, pair  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from engine.evaluation.designs import DESIGNS, Wanted  # noqa: E402
from engine.evaluation.designs.planning import least, plain_outputs  # noqa: E402
from engine.evaluation.designs.scores import sampling_score, with_pilot  # noqa: E402
from engine.evaluation.designs.strata import allocated, chance, codes_of, layers_of, mean_half_width  # noqa: E402
from engine.evaluation.designs.stratified import DEFENCE, SAFE_DEFENCE  # noqa: E402
from engine.evaluation.difference_plan import mcnemar_power, mean_mover_width  # noqa: E402
from engine.evaluation.rates import fay_feuer, garwood  # noqa: E402

PILOT, MOST = 102_000, 10**9
OPINIONS: dict[str, Second | None] = {
    "own score": None,
    "second, rho .9": Second(0.9),
    "second, rho .7": Second(0.7),
    "second, rho .5": Second(0.5),
    "second, rho .3": Second(0.3),
    "judge, rho .3": Second(0.3, 1.2),
    "rho .5, 10 % blind": Second(0.5, blind=0.1),
    "rho .5, 30 % blind": Second(0.5, blind=0.3),
}
QUICK = ("own score", "second, rho .5", "rho .5, 10 % blind")
TARGETS = {"single_rate_at_rho_half": 3.5, "two_tests": 10, "shared_set": 4, "coverage": 0.95}


class Cost(NamedTuple):
    """Labels for one interval."""

    planned: int
    needed: int
    covered: float


def main() -> None:
    """Prints a line an opinion, then a line a pair of filters; medians over seeds."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="3 opinions, 1 seed, a pool of 800,000, 500 runs")
    quick = options.parse_args().quick
    seeds, pool_size, runs = (range(1), 800_000, 500) if quick else (range(5), 2_000_000, 4000)
    of = world()
    rate = truth(of)
    plain = plain_outputs(0.5, rate, 0.95)
    paper = paper_ratio(of) * plain
    garwood_covers = _plain_coverage(plain * rate, runs)
    print(f"failure rate {rate:.3g}; to +-50 % of it, at random: {plain:,} labels, covered {garwood_covers:.3f}")
    print(f"the paper's protocol, at the same variance: {paper:,.0f}\n")
    print(f"{'':20}{'design: planned':>16}{'needed':>10}{'x':>6}{'x paper':>8}{'covered':>9}", end="")
    print(f"{'certificate':>14}{'x':>6}{'covered':>9}")
    found = {name: _opinion(of, name, plain, paper, seeds, pool_size, runs) for name in (QUICK if quick else OPINIONS)}
    compared = _comparisons(of, runs, quick)
    half, own = found["second, rho .5"], found["own score"]
    finish(
        "label_cost",
        ours={"labels": half[0].needed, "covered": half[0].covered, "certificate": half[1].needed},
        peer={"random": plain, "covered": garwood_covers, "paper": round(paper), "own_score": own[0].needed},
        ratio=plain / half[0].needed,
        target=TARGETS,
        difference=compared,
    )


def _plain_coverage(mean: float, runs: int) -> float:
    counts = np.random.default_rng(1).poisson(mean, runs)
    return float(np.mean([garwood(int(k), 1).low <= mean <= garwood(int(k), 1).high for k in counts]))


def _opinion(of: World, name: str, plain: int, paper: float, seeds: range, size: int, runs: int) -> tuple[Cost, Cost]:
    costs = [_costs(of, OPINIONS[name], seed, size, runs) for seed in seeds]
    median = [
        Cost(*(float(np.median([cost[which][part] for cost in costs])) for part in range(3)))  # type: ignore[arg-type]
        for which in (0, 1)
    ]
    design, sure = median
    print(f"{name:20}{design.planned:16,.0f}{design.needed:10,.0f}{plain / design.needed:6.2f}", end="")
    print(f"{paper / design.needed:8.2f}{design.covered:9.3f}", end="")
    print(f"{sure.needed:14,.0f}{plain / sure.needed:6.2f}{sure.covered:9.3f}", flush=True)
    return design, sure


def _costs(of: World, second: Second | None, seed: int, size: int, runs: int) -> list[Cost]:
    """Planned, needed and coverage of both intervals; what fails in truth is known by 400,000 failures' strata."""
    rng = np.random.default_rng([seed, 71])
    rate = truth(of)
    shown = pilot(of, second, PILOT, rng)
    pool = with_pilot(outputs(of, second, size, rng)[0], *shown)
    failing = with_pilot(failures(of, second, 400_000, rng), *shown)
    found = []
    for interval, defence in (("estimate", DEFENCE), ("certificate", SAFE_DEFENCE)):
        wanted = Wanted(guess=rate, interval=interval)  # type: ignore[arg-type]
        layers = layers_of(sampling_score(pool), rate, defence=defence, unseen=0.0)
        planned = DESIGNS["stratified"].plan(pool, wanted, seed).outputs if interval == "estimate" else 0
        mass = layers.sizes / size
        share = np.bincount(codes_of(sampling_score(failing), layers.lows), minlength=mass.size) / 400_000
        real = layers._replace(sizes=layers.sizes * 1000, expected=rate * share / mass)
        uniform = chance(real, rng)
        n = least(lambda n: mean_half_width(real, allocated(real, n), wanted, uniform) <= 0.5, MOST)  # noqa: B023
        labels = allocated(real, n)
        covered = _coverage(mass / labels, labels * real.expected, rate, interval, runs, rng)
        found.append(Cost(planned, int(labels.sum()), covered))
    return found


def _coverage(
    weights: NDArray[np.float64], means: NDArray[np.float64], rate: float, of: str, runs: int, rng: np.random.Generator
) -> float:
    covered = 0
    for counts in rng.poisson(means, (runs, means.size)):
        hit = counts > 0
        top = weights[hit].max() if of == "estimate" and hit.any() else weights.max()
        limits = fay_feuer(np.repeat(weights, counts), float(top), n=1)
        covered += limits.low <= rate <= limits.high
    return covered / runs


def _comparisons(of: World, runs: int, quick: bool) -> dict[str, dict[str, float]]:
    """Labels to know F_A - F_B to +-50 % of F_A, filters alike; and for 80 % power where B fails half as often."""
    print(f"\n{'two filters':16}{'differ':>7}{'two tests':>11}{'shared':>9}{'design':>9}{'x':>6}{'x':>5}", end="")
    print(f"{'covered':>9}{'certificate':>13}{'x':>6}{'x':>5}{'covered':>9}{'by pairs':>10}{'x':>6}{'x':>5}", end="")
    print(f"{'80 % power':>12}{'x':>6}{'x':>5}")
    found = {}
    for rho, noise in ((0.9, 0.25),) if quick else ((0.95, 0.0), (0.9, 0.0), (0.95, 0.25), (0.9, 0.25), (0.8, 0.25)):
        name = f"rho {rho}" + (", noise" if noise else "")
        found[name] = _compared(of, name, rho, noise, runs)
    return found


def _compared(of: World, name: str, rho: float, noise: float, runs: int) -> dict[str, float]:
    """`design` and `certificate` label outputs by both scores, as evaluations with the design `stratified` do, `by
    pairs` both outputs of prompts at random, as those with `simple_random` do."""
    alike, half = pair(of, rho, noise=noise), better_by_half(of, rho, noise)
    n = _for_width(alike.only_first, alike.only_second, alike.first)
    apart = 2 * _for_width(alike.first, alike.second, alike.first)
    pairs, shared = math.ceil(2 * n * alike.differing), math.ceil(n * (1 + alike.differing))
    design, sure = (
        by_score(of, alike, rho, noise, interval, pilot_size=PILOT, runs=runs)
        for interval in ("estimate", "certificate")  # type: ignore[arg-type]
    )
    m = least(lambda n: mcnemar_power(n * half.only_first, n * half.only_second, 0.95) >= 0.8, MOST)
    two = 2 * least(lambda n: mcnemar_power(n * half.first, n * half.second, 0.95) >= 0.8, MOST)
    power, power_shared = math.ceil(2 * m * half.differing), math.ceil(m * (1 + half.differing))
    print(
        f"{name:16}{100 * alike.differing:5.1f} %{apart:11,}{shared:9,}{_against(design.labels, apart, shared)}", end=""
    )
    print(f"{design.covered:9.3f}    {_against(sure.labels, apart, shared)}{sure.covered:9.3f} ", end="")
    print(f"{_against(pairs, apart, shared)}   {_against(power, two, power_shared)}", flush=True)
    return {
        "labels": design.labels,
        "two_tests": apart / design.labels,
        "shared_set": shared / design.labels,
        "covered": design.covered,
        "certificate": sure.labels,
        "certificate_covered": sure.covered,
        "by_pairs": pairs,
        "power_labels": power,
        "power_two_tests": two / power,
        "power_shared": power_shared / power,
    }


def _against(ours: int, two_tests: int, shared: int) -> str:
    return f"{ours:9,}{two_tests / ours:6.1f}{shared / ours:5.1f}"


def _for_width(first: float, second: float, rate: float) -> int:
    return least(lambda n: mean_mover_width(n * first, n * second, 0.95) / n <= 0.5 * rate, MOST)


if __name__ == "__main__":
    main()
