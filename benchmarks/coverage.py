"""Do the intervals of a failure rate cover at 1, 2, 5 and 20 expected failures, and does the paper's?

Peer: the percentile bootstrap, as in the paper. Plain counts are binomial, 100,000 outputs, and every count is gone
through, so that coverage is exact; weighted counts, looks at any time and differences are drawn. "below" and "above"
say how often the truth lies below and above the interval; "at zero" is the upper limit, over the rate, when nothing
failed: the bootstrap says the rate is 0. Aims at 95 %.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import numpy as np  # noqa: E402
from _common import finish  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from scipy import stats  # noqa: E402

from engine.evaluation.difference import mover  # noqa: E402
from engine.evaluation.rates import clopper_pearson, fay_feuer, garwood  # noqa: E402
from engine.evaluation.stopping import anytime, inverse_binomial  # noqa: E402

OUTPUTS, EXPECTED = 100_000, (1, 2, 5, 20)
WEIGHTS = np.geomspace(0.2, 5.0, 12)
"""Of strata of a weighted sample; failures are as often in each, and their weights are then scaled to the rate."""
Limits = tuple[float, float]


class Found(NamedTuple):
    """Shares of truths outside, and the upper limit over the truth where nothing failed (NaN: cannot happen)."""

    below: float
    above: float
    at_zero: float


def main() -> None:
    """Prints a line an interval and number of failures expected; the last line has the lowest coverage of each."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="400 draws where draws are needed, not 10,000")
    draws = 400 if options.parse_args().quick else 10_000
    intervals: dict[str, Callable[[float], Found]] = {
        "Clopper-Pearson": lambda mean: _exact(_clopper_pearson, mean),
        "Garwood": lambda mean: _exact(_garwood, mean),
        "Wilson": lambda mean: _exact(_wilson, mean),
        "bootstrap, as in the paper": lambda mean: _exact(_bootstrap, mean),
        "Fay-Feuer, weighted": lambda mean: _weighted(mean, draws, mid_p=False),
        "Fay-Feuer mid-p, weighted": lambda mean: _weighted(mean, draws, mid_p=True),
        "bootstrap, weighted": lambda mean: _weighted_bootstrap(mean, draws),
        "anytime, looked at always": lambda mean: _peeking(mean, draws, _anytime),
        "Clopper-Pearson, the same": lambda mean: _peeking(mean, draws, _clopper_pearson),
        "inverse binomial, stopped at": _inverse,
        "MOVER, two rates": lambda mean: _mover(mean, draws),
    }
    print(f"{'':30}{'expected':>9}{'covered':>9}{'below':>8}{'above':>8}{'at zero':>9}")
    lowest = {name: min(_line(name, mean, interval) for mean in EXPECTED) for name, interval in intervals.items()}
    peers = ("bootstrap, as in the paper", "bootstrap, weighted", "Clopper-Pearson, the same", "Wilson")
    finish(
        "coverage",
        ours={name: value for name, value in lowest.items() if name not in peers},
        peer={name: lowest[name] for name in peers},
        ratio=(1 - lowest["bootstrap, as in the paper"]) / max(1e-9, 1 - lowest["Clopper-Pearson"]),
        target={"lowest": 0.95, "mid_p_lowest": 0.93},
    )


def _line(name: str, mean: float, interval: Callable[[float], Found]) -> float:
    found = interval(mean)
    covered = 1 - found.below - found.above
    zero = f"{found.at_zero:9.2f}" if found.at_zero == found.at_zero else f"{'-':>9}"
    print(f"{name:30}{mean:9}{covered:9.3f}{found.below:8.3f}{found.above:8.3f}{zero}", flush=True)
    return covered


def _exact(limits: Callable[[int, int], Limits], mean: float) -> Found:
    rate = mean / OUTPUTS
    counts = np.arange(int(stats.binom.isf(1e-9, OUTPUTS, rate)) + 1)
    chances = stats.binom.pmf(counts, OUTPUTS, rate)
    low, high = np.array([limits(int(k), OUTPUTS) for k in counts]).T
    return Found(float(chances @ (rate < low)), float(chances @ (rate > high)), float(high[0] / rate))


def _clopper_pearson(k: int, n: int) -> Limits:
    return clopper_pearson(k, n)[1:3]


def _garwood(k: int, n: int) -> Limits:
    return garwood(k, n)[1:3]


def _wilson(k: int, n: int) -> Limits:
    found = stats.binomtest(k, n).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def _bootstrap(k: int, n: int) -> Limits:
    """Of infinitely many resamples: the count of each is binomial in what was seen."""
    low, high = stats.binom.ppf([0.025, 0.975], n, k / n)
    return float(low / n), float(high / n)


def _anytime(k: int, n: int) -> Limits:
    return anytime(k, n, guess=1e-4)[1:3]


def _weighted_counts(mean: float, draws: int) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
    """Failures of each stratum, in each draw; weights such that they sum to the mean on average."""
    counts = np.random.default_rng(5).poisson(mean / WEIGHTS.size, (draws, WEIGHTS.size))
    weights = WEIGHTS / WEIGHTS.mean()
    return counts, weights, mean


def _weighted(mean: float, draws: int, *, mid_p: bool) -> Found:
    counts, weights, truth = _weighted_counts(mean, draws)
    limits = np.array(
        [fay_feuer(np.repeat(weights, k), float(weights.max()), n=OUTPUTS, mid_p=mid_p)[1:3] for k in counts]
    )
    zero = fay_feuer([], float(weights.max()), n=OUTPUTS, mid_p=mid_p).high / truth
    return Found(float(np.mean(truth < limits[:, 0])), float(np.mean(truth > limits[:, 1])), zero)


def _weighted_bootstrap(mean: float, draws: int) -> Found:
    """Resampled counts of rare failures are Poisson in what was seen; 1,000 resamples a draw."""
    counts, weights, truth = _weighted_counts(mean, draws)
    rng, outside = np.random.default_rng(6), np.zeros(2)
    for seen in counts:
        low, high = np.quantile(rng.poisson(seen, (1000, seen.size)) @ weights, [0.025, 0.975])
        outside += truth < low, truth > high
    return Found(*(outside / draws).tolist(), 0.0)


def _peeking(mean: float, draws: int, limits: Callable[[int, int], Limits]) -> Found:
    """Looked at after every label: a lower limit is highest at a failure, an upper one lowest just before the next."""
    rate, rng, outside = mean / OUTPUTS, np.random.default_rng(7), np.zeros(2)
    for _ in range(draws):
        at = np.cumsum(rng.geometric(rate, int(mean + 9 * mean**0.5 + 9)))
        at = at[at <= OUTPUTS].tolist()
        low = max((limits(k + 1, int(n))[0] for k, n in enumerate(at)), default=0.0)
        ends = [*(n - 1 for n in at), OUTPUTS]
        high = min(limits(k, int(n))[1] for k, n in enumerate(ends) if n > 0)
        outside += rate < low, rate > high
    return Found(*(outside / draws).tolist(), limits(0, OUTPUTS)[1] / rate)


def _inverse(mean: float) -> Found:
    """Stopped at `mean` failures: exact over where the last one comes."""
    rate = mean / OUTPUTS
    waiting = stats.nbinom(int(mean), rate)
    ends = stats.nbinom.ppf([1e-9, 1 - 1e-9], int(mean), rate).astype(int)

    def edge(limit: Callable[[int], float]) -> int:
        left, right = int(ends[0]), int(ends[1])
        while right - left > 1:
            middle = (left + right) // 2
            left, right = (middle, right) if limit(middle + int(mean)) > rate else (left, middle)
        return left

    early = edge(lambda n: inverse_binomial(int(mean), n).low)
    late = edge(lambda n: inverse_binomial(int(mean), n).high)
    return Found(float(waiting.cdf(early)), float(waiting.sf(late)), float("nan"))


def _mover(mean: float, draws: int) -> Found:
    """The second rate is half the first."""
    rng, outside, gap = np.random.default_rng(8), np.zeros(2), mean / 2 / OUTPUTS
    for one, two in rng.poisson((mean, mean / 2), (draws, 2)).tolist():
        found = mover(garwood(one, OUTPUTS), garwood(two, OUTPUTS))
        outside += gap < found.low, gap > found.high
    return Found(*(outside / draws).tolist(), mover(garwood(0, OUTPUTS), garwood(0, OUTPUTS)).high / gap)


if __name__ == "__main__":
    main()
