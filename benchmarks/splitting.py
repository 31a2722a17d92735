"""How many score calls does a rare event's probability cost by splitting, against direct sampling?

A toy autoregressive generator (prompts from a pool, a Markov chain of tokens) whose events have exact probabilities by
dynamic programming. For events near 3e-5 and 1e-7, splitting runs over many seeds; its root mean squared relative error
against the truth says what direct sampling would have to draw for the same, (1 - p) / (p error^2), which no seed
can flatter. Bias and the coverage of the intervals stand beside it.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import numpy as np  # noqa: E402
from _common import finish  # noqa: E402

from engine.evaluation.rates import clopper_pearson  # noqa: E402
from engine.evaluation.splitting import Settings, split  # noqa: E402
from tests.engine.markov_toy import MarkovToy  # noqa: E402

TARGET = 50.0
RARE = (3e-5, 1e-7)
SETTINGS = Settings(particles=4000, moves=10, runs=10)


class Found(NamedTuple):
    """Splitting at one event over seeds."""

    truth: float
    mean: float
    error: float
    """Root mean squared, relative to the truth."""
    standard_error: float
    """Of the mean, relative."""
    covered: int
    seeds: int
    calls: float
    effective: float
    seconds: float

    @property
    def direct(self) -> float:
        """Draws that direct sampling needs for the same relative error."""
        return (1 - self.truth) / (self.truth * self.error**2)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="20 seeds instead of 200")
    chosen = options.parse_args()
    seeds = 20 if chosen.quick else 200
    toy, found = MarkovToy(), {}
    for rare in RARE:
        level, truth = toy.rarest(rare)
        found[rare] = one = measure(toy, level, truth, seeds)
        coverage = clopper_pearson(one.covered, seeds)
        print(
            f"P = {truth:.2e}: mean of {seeds} seeds {one.mean / truth:.3f} of it (+- {one.standard_error:.3f}), "
            f"relative error {one.error:.3f}, covered {one.covered} of {seeds} ({coverage.low:.3f} to "
            f"{coverage.high:.3f}), {one.effective:.0f} independent ancestors, {one.calls:,.0f} score calls against "
            f"{one.direct:,.0f} drawn directly: {one.direct / one.calls:.1f} times fewer; {one.seconds:.1f} s a run"
        )
    rarest = found[RARE[-1]]
    finish(
        "splitting",
        ours=round(rarest.calls),
        peer=round(rarest.direct),
        ratio=round(rarest.direct / rarest.calls, 1),
        target=TARGET,
        unit="score calls",
        peer_is="direct sampling at equal root mean squared relative error, by its formula",
        events={
            f"{rare:g}": {
                "truth": one.truth,
                "mean_over_truth": round(one.mean / one.truth, 3),
                "relative_error": round(one.error, 3),
                "coverage": round(one.covered / one.seeds, 3),
                "fewer": round(one.direct / one.calls, 1),
            }
            for rare, one in found.items()
        },
        seeds=seeds,
        met=rarest.direct / rarest.calls >= TARGET,
        quick=chosen.quick,
    )


def measure(toy: MarkovToy, level: int, truth: float, seeds: int) -> Found:
    """Over seeds, with the settings above."""
    started = time.perf_counter()
    runs = [split(toy, toy.score, level, settings=SETTINGS, seed=seed) for seed in range(seeds)]
    seconds = (time.perf_counter() - started) / seeds
    estimates = np.array([one.probability.estimate for one in runs])
    return Found(
        truth,
        float(estimates.mean()),
        float(np.sqrt(((estimates / truth - 1) ** 2).mean())),
        float(estimates.std(ddof=1) / np.sqrt(seeds) / truth),
        sum(one.probability.low <= truth <= one.probability.high for one in runs),
        seeds,
        float(np.mean([one.score_calls for one in runs])),
        float(np.mean([one.effective for one in runs])),
        seconds,
    )


if __name__ == "__main__":
    main()
