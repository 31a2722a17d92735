"""How often the filtered generator still fails (paper, 5.3.2), with weights and intervals that hold at few failures.

The deployed system draws up to K completions and keeps the first accepted. A labelled pair (x, y) drawn from the
unfiltered generator stands for it with weight W(p) = (1 - (1 - p)^K) / p, p = P(accept | x). From K further
completions of x, k of them accepted, (K + 1) / (k + 1), or K where k = 0, is an unbiased estimate of W(p). The paper's
own K / k gives prompts that rarely yield an accepted completion up to 45 % too much weight.
"""

from __future__ import annotations

from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import BadInput
from engine.evaluation.bootstrap import resampled_sums
from engine.evaluation.rates import Rate, RateDict, fay_feuer
from engine.evaluation.threshold import Completions, LogitRows, completions_of

Floats = NDArray[np.float64]


class FailureRateDict(TypedDict):
    """A `FailureRate` as JSON."""

    per_output: RateDict
    per_prompt: RateDict
    as_in_paper: RateDict
    failures: int
    accepted: int
    pairs: int
    prompts: int
    max_weight: float
    effective_n: float


class FailureRate(NamedTuple):
    """Failures of the filtered generator, estimated from labelled pairs of the unfiltered one."""

    per_output: Rate
    """Failures per completion the system gives: weighted failures over weighted accepted pairs."""
    per_prompt: Rate
    """Failures per prompt, counting prompts for which the system gives up: weighted failures over all pairs."""
    as_in_paper: Rate
    """The paper's estimator, K / k weights and percentile bootstrap of prompts. Its interval is too short."""
    failures: int
    """Accepted pairs labelled a failure."""
    accepted: int
    pairs: int
    prompts: int
    max_weight: float
    """Largest weight of an accepted pair."""
    effective_n: float
    """Accepted pairs of equal weight that would say as much (Kish)."""

    def as_dict(self) -> FailureRateDict:
        """Plain JSON types."""
        return FailureRateDict(
            per_output=self.per_output.as_dict(),
            per_prompt=self.per_prompt.as_dict(),
            as_in_paper=self.as_in_paper.as_dict(),
            failures=self.failures,
            accepted=self.accepted,
            pairs=self.pairs,
            prompts=self.prompts,
            max_weight=self.max_weight,
            effective_n=self.effective_n,
        )


def deployment_weights(accepted: ArrayLike, drawn: ArrayLike) -> Floats:
    """(K + 1) / (k + 1), or K where k = 0: unbiased for the weight of a system that gives up after K draws. O(n)."""
    k, total = np.asarray(accepted, dtype=np.float64), np.asarray(drawn, dtype=np.float64)
    return np.where(k > 0, (total + 1) / (k + 1), total)


def paper_weights(accepted: ArrayLike, drawn: ArrayLike) -> Floats:
    """K / k, or K where k = 0, the bound of the paper's footnote 13. O(n)."""
    k, total = np.asarray(accepted, dtype=np.float64), np.asarray(drawn, dtype=np.float64)
    return total / np.maximum(k, 1)


def failure_rate(
    logits: ArrayLike,
    failures: ArrayLike,
    alternates: LogitRows,
    logit: float,
    *,
    prompts: ArrayLike | None = None,
    level: float = 0.95,
    seed: int = 0,
    resamples: int = 2000,
) -> FailureRate:
    """The failure rate of the generator filtered at `logit`, from a labelled random sample of its unfiltered pairs.

    `logits` (n,) scores the labelled completions, `failures` (n,) bool is their labels, `alternates` (n, K), or n
    arrays, scores further independent completions of each one's prompt (for failures too), `prompts` (n,) says which
    pairs share a prompt. The pairs must be a random sample: prompts of deployment, completions of the unfiltered
    generator, nothing enriched. A prompt, not a pair, is the unit of the gamma interval. Raises BadInput for arrays
    that do not fit. O(n K + resamples * prompts).
    """
    data = _aligned(logits, failures, alternates, prompts)
    kept = data.scores < np.float32(logit)
    k, failed, units = data.draws.accepted(logit), data.failed, data.units
    weights = np.where(kept, deployment_weights(k, data.draws.sizes), 0.0)
    of_paper = np.where(kept, paper_weights(k, data.draws.sizes), 0.0)
    mass = float(weights.sum())
    n = int(kept.sum())
    return FailureRate(
        per_output=_gamma_rate(weights, failed, units, mass, n, level),
        per_prompt=_gamma_rate(weights, failed, units, float(kept.size), kept.size, level),
        as_in_paper=_bootstrap_rate(of_paper, failed, units, n, level, seed, resamples),
        failures=int((failed & kept).sum()),
        accepted=n,
        pairs=kept.size,
        prompts=int(units.max()) + 1,
        max_weight=float(weights.max()),
        effective_n=mass**2 / float((weights**2).sum()) if mass else 0.0,
    )


class _Pairs(NamedTuple):
    scores: NDArray[np.float32]
    failed: NDArray[np.bool_]
    draws: Completions
    units: NDArray[np.intp]


def _aligned(logits: ArrayLike, failures: ArrayLike, alternates: LogitRows, prompts: ArrayLike | None) -> _Pairs:
    scores = np.asarray(logits, dtype=np.float32).ravel()
    failed = np.asarray(failures, dtype=bool).ravel()
    draws = completions_of(alternates)
    groups = np.arange(scores.size) if prompts is None else np.asarray(prompts).ravel()
    if not scores.size == failed.size == draws.sizes.size == groups.size:
        sizes = f"{scores.size} logits, {failed.size} labels, {draws.sizes.size} alternates, {groups.size} prompts"
        raise BadInput(sizes, where="failure_rate")
    return _Pairs(scores, failed, draws, np.unique(groups, return_inverse=True)[1])


def _gamma_rate(
    weights: Floats, failed: NDArray[np.bool_], units: NDArray[np.intp], mass: float, n: int, level: float
) -> Rate:
    """Fay-Feuer with prompts as units: pairs of one prompt fail together, at worst."""
    count = int((failed & (weights > 0)).sum())
    if mass == 0 or not weights.any():
        return Rate(None, 0.0, 1.0, level, "nothing accepted", 0, n)
    possible = np.bincount(units, weights=weights)
    actual = np.bincount(units, weights=weights * failed)
    rate = fay_feuer(actual[actual > 0] / mass, float(possible.max()) / mass, n=n, level=level)
    method = f"{rate.method}, weights (K+1)/(k+1)"
    return rate._replace(low=min(rate.low, 1.0), high=min(rate.high, 1.0), failures=count, method=method)


def _bootstrap_rate(
    weights: Floats,
    failed: NDArray[np.bool_],
    units: NDArray[np.intp],
    n: int,
    level: float,
    seed: int,
    resamples: int,
) -> Rate:
    method = f"as in the paper: weights K/k, percentile bootstrap of {int(units.max()) + 1} prompts"
    count = int((failed & (weights > 0)).sum())
    if not weights.any():
        return Rate(None, 0.0, 1.0, level, method, 0, n)
    rows = np.column_stack((np.bincount(units, weights=weights * failed), np.bincount(units, weights=weights)))
    bad, mass = resampled_sums(rows, resamples, np.random.default_rng([seed, 532])).T
    shares = np.divide(bad, mass, out=np.zeros(resamples), where=mass > 0)
    tail = (1 - level) / 2
    low, high = np.quantile(shares, [tail, 1 - tail])
    return Rate(float(rows[:, 0].sum() / rows[:, 1].sum()), float(low), float(high), level, method, count, n)
