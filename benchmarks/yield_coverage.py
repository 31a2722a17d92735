"""Do the intervals of an attack's yields cover, at 20 to 60 seeds with 0 to 5 candidates each that are much alike?

Peer: the intervals that take candidates as independent (Clopper-Pearson per candidate, Garwood per query). Seeds have
an effect each: their candidates are failures with a probability drawn from a beta distribution whose correlation
within seeds is the column rho. Candidates come in unequal numbers; "linked" draws more of them where they more often
are failures, and a seed with more candidates stops earlier, after fewer queries. The truth is the ratio over 200,000
such seeds. Then the paired difference of seeds broken, before and after. Coverage aims at 95 %; the last line's ratio
is how many times as many truths the peer misses.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import numpy as np  # noqa: E402
from _common import finish  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from scipy import stats  # noqa: E402

from engine.evaluation.rates import Rate, clopper_pearson, garwood  # noqa: E402
from engine.evaluation.yields import Attacked, attack_yield, compare_yields  # noqa: E402

MOST, MEAN, SPREAD = 5, 2.0, 0.3
"""Candidates a seed at most and on average; correlation within seeds of whether a try becomes a candidate."""
TARGET = 0.93
"""Lowest coverage wanted of any setting, on average over its repetitions."""
Ints = NDArray[np.int64]


class Setting(NamedTuple):
    """What seeds are drawn from."""

    seeds: int
    rate: float
    rho: float
    linked: bool


class Seeds(NamedTuple):
    """(s,) each."""

    candidates: Ints
    failures: Ints
    queries: Ints


def main() -> None:
    """Prints a line a setting: coverage of each interval, and whether the truth lay below or above where it missed."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="100 repetitions a setting, not 1,000")
    repetitions = 100 if options.parse_args().quick else 1000
    rng = np.random.default_rng(7)
    print(f"{'seeds  rate  rho linked':26}{'per candidate':>24}{'independent':>13}{'per query':>24}{'independent':>13}")
    found = [_line(one, repetitions, rng) for one in _settings()]
    ours, peer = (np.array([line[which] for line in found]) for which in (0, 1))
    print("\nseeds  before after  covered: difference of seeds broken")
    differences = [_difference(n, p, q, repetitions, rng) for n, p, q in product((20, 40, 60), (0.3,), (0.1, 0.3))]
    finish(
        "yield_coverage",
        ours={"lowest": float(min(ours.min(), *differences)), "mean": float(ours.mean())},
        peer={"lowest": float(peer.min()), "mean": float(peer.mean())},
        ratio=float((1 - peer.mean()) / max(1e-9, 1 - ours.mean())),
        target={"lowest": TARGET},
        repetitions=repetitions,
    )


def _settings() -> Iterator[Setting]:
    for values in product((20, 40, 60), (0.05, 0.3, 0.8), (0.1, 0.5), (False, True)):
        yield Setting(*values)


def _draw(setting: Setting, n: int, rng: np.random.Generator) -> Seeds:
    of = stats.beta(*_beta(setting.rate, setting.rho))
    chance = of.rvs(n, random_state=rng)
    place = of.cdf(chance) if setting.linked else rng.random(n)
    candidates = rng.binomial(MOST, stats.beta(*_beta(MEAN / MOST, SPREAD)).ppf(place))
    queries = np.round((200 - 30 * candidates) * rng.uniform(0.7, 1.3, n)).astype(np.int64)
    return Seeds(candidates, rng.binomial(candidates, chance), queries)


def _beta(mean: float, correlation: float) -> tuple[float, float]:
    size = (1 - correlation) / correlation
    return mean * size, (1 - mean) * size


def _attacked(seeds: Seeds) -> Attacked:
    of = np.repeat(np.arange(seeds.candidates.size), seeds.candidates)
    place = np.concatenate([np.arange(n) for n in seeds.candidates])
    unknown = np.full(of.size, np.nan)
    return Attacked(seeds.queries, of, np.ones(of.size, bool), place < seeds.failures[of], unknown, unknown, unknown)


def _line(setting: Setting, repetitions: int, rng: np.random.Generator) -> tuple[float, float]:
    """Mean coverage of our two intervals and of the two that take candidates as independent; the lower of each."""
    large = _draw(setting, 200_000, rng)
    failures = large.failures.sum()
    truths = (failures / large.candidates.sum(), 1000 * failures / large.queries.sum())
    misses = np.zeros((4, 2))
    for _ in range(repetitions):
        drawn = _draw(setting, setting.seeds, rng)
        k, n, queries = (int(values.sum()) for values in (drawn.failures, drawn.candidates, drawn.queries))
        found = attack_yield(_attacked(drawn))
        assert found.per_1000_queries is not None
        rates = (found.per_candidate, clopper_pearson(k, n), found.per_1000_queries, garwood(k, queries / 1000))
        for row, rate in enumerate(rates):
            misses[row] += _misses(rate, truths[row // 2])
    shares = misses / repetitions
    cells = [f"{100 * (1 - low - high):6.1f} %" for low, high in shares]
    sides = [f" ({100 * low:.1f} below, {100 * high:.1f} above)" for low, high in shares]
    head = f"{setting.seeds:5}{setting.rate:6}{setting.rho:5}  {'yes' if setting.linked else 'no'}"
    print(f"{head:22}{cells[0]}{sides[0]:>23}{cells[1]}  {cells[2]}{sides[2]:>23}{cells[3]}", flush=True)
    covered = 1 - shares.sum(axis=1)
    return float(min(covered[0], covered[2])), float(min(covered[1], covered[3]))


def _misses(rate: Rate, truth: float) -> tuple[bool, bool]:
    return truth < rate.low, truth > rate.high


def _difference(n: int, before: float, after: float, repetitions: int, rng: np.random.Generator) -> float:
    """Coverage of the paired difference; a seed that is easy before is more likely easy after."""
    covered = 0
    for _ in range(repetitions):
        ease = rng.beta(1, 1, n)
        chances = (1 - (1 - ease) ** (share / (1 - share)) for share in (before, after))
        runs = [Seeds(np.ones(n, np.int64), rng.binomial(1, c), np.full(n, 100)) for c in chances]
        found = compare_yields({"attack": (_attacked(runs[0]), _attacked(runs[1]))})["attack"].seeds.difference
        covered += found.low <= after - before <= found.high
    print(f"{n:5}{before:8}{after:6}  {100 * covered / repetitions:.1f} %")
    return covered / repetitions


if __name__ == "__main__":
    main()
