"""The threshold at which filtering costs a given KL divergence, from the classifier's logits alone.

Keeping only accepted completions conditions the generator, so KL(filtered || unfiltered) given a prompt is
-log P(accept). With K completions of which k are accepted, H_K - H_k (harmonic numbers) estimates it: unbiased up to
truncation at K, and H_K, not infinity, where none is accepted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import digamma, expit

from engine.errors import BadInput
from engine.evaluation.rates import Rate, RateDict

Floats = NDArray[np.float64]
LogitRows = NDArray[np.float32] | NDArray[np.float64] | Sequence[ArrayLike]
"""Logits per prompt: a (prompts, K) array, or one array per prompt where they have different numbers."""
GRID = 512
"""Candidate thresholds at which the bootstrap looks for its own choice."""


class Completions(NamedTuple):
    """The logits of several completions of each prompt, flat; prompts may differ in how many they have."""

    logits: NDArray[np.float32]
    """(n,), grouped by prompt; within one in any order."""
    sizes: NDArray[np.int64]
    """(prompts,), each at least 1; sums to n."""

    @property
    def prompts(self) -> NDArray[np.int64]:
        """The prompt of each completion, (n,)."""
        return np.repeat(np.arange(self.sizes.size), self.sizes)

    def accepted(self, logit: float) -> NDArray[np.int64]:
        """How many completions of each prompt have a logit below `logit`, (prompts,)."""
        below = self.logits < np.float32(logit)
        return np.bincount(self.prompts[below], minlength=self.sizes.size).astype(np.int64)


class KlCurve(NamedTuple):
    """KL as a step function of the threshold: at `logit[i]`, which rejects scores from there up, it is `kl[i]`.

    Between `logit[i - 1]` (excluded) and `logit[i]` (included) KL is constant; above the last it is 0.
    """

    logit: NDArray[np.float32]
    """(m,), distinct scores, ascending."""
    kl: Floats
    """(m,), nats, not increasing."""


class ThresholdDict(TypedDict):
    """A `ThresholdChoice` as JSON."""

    threshold: float
    logit: float
    logit_low: float
    logit_high: float
    target: float
    kl: RateDict
    median_kl: float
    accept_rate: RateDict
    none_accepted: int
    prompts: int
    completions: int
    curve: list[tuple[float, float]]


class ThresholdChoice(NamedTuple):
    """A threshold and what it costs. A completion is accepted iff its logit is below `logit`."""

    threshold: float
    """Score, sigmoid(logit), in [0, 1]."""
    logit: float
    """Exact in float32."""
    logit_low: float
    """Prompt-bootstrap interval of the choice itself."""
    logit_high: float
    target: float
    """KL aimed at, nats."""
    kl: Rate
    """Mean KL over prompts at the threshold, nats; `failures` is the prompts with none accepted, `n` the prompts."""
    median_kl: float
    accept_rate: Rate
    """Mean share of a prompt's completions that are accepted; `failures` counts the accepted."""
    none_accepted: int
    """Prompts of which no completion was accepted; each counts H_K."""
    prompts: int
    completions: int
    curve: tuple[tuple[float, float], ...]
    """Some (logit, KL) points of the curve, for a plot."""

    def as_dict(self) -> ThresholdDict:
        """Plain JSON types."""
        return ThresholdDict(
            threshold=self.threshold,
            logit=self.logit,
            logit_low=self.logit_low,
            logit_high=self.logit_high,
            target=self.target,
            kl=self.kl.as_dict(),
            median_kl=self.median_kl,
            accept_rate=self.accept_rate.as_dict(),
            none_accepted=self.none_accepted,
            prompts=self.prompts,
            completions=self.completions,
            curve=list(self.curve),
        )


def completions_of(logits: LogitRows) -> Completions:
    """Logits per prompt as `Completions`: a (prompts, K) array, or a sequence of one array per prompt.

    Raises BadInput for no prompts, a prompt without completions, or a logit that is not finite.
    """
    if isinstance(logits, np.ndarray) and logits.ndim == 2:
        flat = logits.astype(np.float32).ravel()
        sizes = np.full(logits.shape[0], logits.shape[1], dtype=np.int64)
    else:
        rows = [np.asarray(row, dtype=np.float32).ravel() for row in logits]
        flat = np.concatenate(rows) if rows else np.empty(0, dtype=np.float32)
        sizes = np.array([row.size for row in rows], dtype=np.int64)
    if not sizes.size or sizes.min() == 0:
        raise BadInput("every prompt needs at least one completion, and there must be a prompt", where="logits")
    if not np.isfinite(flat).all():
        raise BadInput("a logit is not finite", where="logits")
    return Completions(flat, sizes)


def kl_from_counts(accepted: ArrayLike, drawn: ArrayLike) -> Floats:
    """H_drawn - H_accepted, the estimate of -log P(accept) in nats; H_drawn where none was accepted. O(n)."""
    k, total = np.asarray(accepted, dtype=np.float64), np.asarray(drawn, dtype=np.float64)
    return np.asarray(digamma(total + 1) - digamma(k + 1), dtype=np.float64)


def kl_curve(logits: LogitRows | Completions) -> KlCurve:
    """KL at every threshold at once: each rejected completion adds 1/(its rank among its prompt's).

    O(n log n); ten million scores take seconds and some 400 MB beside themselves.
    """
    data = _ascending(logits if isinstance(logits, Completions) else completions_of(logits))
    order = np.argsort(data.logits)
    above = _steps(data)[order]
    np.cumsum(above[::-1], out=above[::-1])
    above /= data.sizes.size
    scores = data.logits[order]
    first = np.concatenate(([True], scores[1:] > scores[:-1]))
    return KlCurve(scores[first], above[first])


def kl_at(logits: LogitRows, at: float, *, level: float = 0.95, seed: int = 0, resamples: int = 1000) -> Rate:
    """KL at the logit threshold `at`, nats, with its bootstrap interval over prompts; counts as in `ThresholdChoice`.

    Raises BadInput as `completions_of` does, and for a threshold that is not a number. O(n + resamples * prompts).
    """
    if math.isnan(at):
        raise BadInput("is not a number", where="at")
    data = completions_of(logits)
    accepted = data.accepted(at)
    weights = prompt_weights(data.sizes.size, resamples, seed)
    kl = kl_from_counts(accepted, data.sizes)
    return _mean_rate(kl, weights, level, int((accepted == 0).sum()), data.sizes.size)


def threshold_at_kl(
    logits: LogitRows,
    target: float = 0.5,
    *,
    level: float = 0.95,
    seed: int = 0,
    resamples: int = 1000,
) -> ThresholdChoice:
    """The lowest threshold whose mean KL over prompts is at most `target` nats (paper, A.7, with KL for quality).

    `logits` (prompts, K), or one array per prompt, score completions drawn from the unfiltered generator; prompts must
    be those of deployment, and are the unit of the bootstrap. The threshold is put in the middle of its gap between
    two scores. Raises BadInput for a target that is not positive. O(n log n + resamples * prompts * GRID).
    """
    if not 0 < target < math.inf:
        raise BadInput(f"must be a positive number of nats, not {target}", where="target")
    data = _ascending(completions_of(logits))
    curve = kl_curve(data)
    logit = _lowest(curve, target)
    accepted = data.accepted(logit)
    kl = kl_from_counts(accepted, data.sizes)
    share = accepted / data.sizes
    weights = prompt_weights(data.sizes.size, resamples, seed)
    low, high = _choice_interval(data, curve, target, weights, level)
    none = int((accepted == 0).sum())
    return ThresholdChoice(
        threshold=float(expit(logit)),
        logit=logit,
        logit_low=min(low, logit),
        logit_high=max(high, logit),
        target=target,
        kl=_mean_rate(kl, weights, level, none, data.sizes.size),
        median_kl=float(np.median(kl)),
        accept_rate=_mean_rate(share, weights, level, int(accepted.sum()), int(data.sizes.sum())),
        none_accepted=none,
        prompts=data.sizes.size,
        completions=int(data.sizes.sum()),
        curve=thin(curve),
    )


def thin(curve: KlCurve, points: int = 200) -> tuple[tuple[float, float], ...]:
    """At most `points` of the curve, evenly over its KL so that the steep part keeps its shape."""
    if curve.logit.size <= points:
        kept = np.arange(curve.logit.size)
    else:
        wanted = np.linspace(curve.kl[0], curve.kl[-1], points)
        kept = np.unique(np.searchsorted(-curve.kl, -wanted).clip(0, curve.kl.size - 1))
    return tuple((float(curve.logit[i]), float(curve.kl[i])) for i in kept)


def prompt_weights(prompts: int, resamples: int, seed: int) -> NDArray[np.float32]:
    """Bootstrap weights over prompts, (resamples, prompts); each row sums to 1. O(resamples * prompts) memory."""
    rng, alike = np.random.default_rng([seed, 5]), np.full(prompts, 1 / prompts)
    weights = np.empty((resamples, prompts), dtype=np.float32)
    for row in weights:  # whole numbers of all resamples at once would take twice the memory of what is kept
        row[:] = rng.multinomial(prompts, alike) / prompts
    return weights


def _ascending(data: Completions) -> Completions:
    """The same completions, ascending within each prompt. Rows of one length are sorted together: far quicker than
    sorting by prompt and score."""
    sizes = np.unique(data.sizes)
    if sizes.size == 1:
        return Completions(np.sort(data.logits.reshape(-1, sizes[0]), axis=1).ravel(), data.sizes)
    logits, starts = np.empty_like(data.logits), np.cumsum(data.sizes) - data.sizes
    for size in sizes:
        places = starts[data.sizes == size][:, None] + np.arange(size)
        logits[places] = np.sort(data.logits[places], axis=1)
    return Completions(logits, data.sizes)


def _steps(data: Completions) -> Floats:
    """What rejecting each completion adds to its prompt's KL, given that all above it are rejected: 1 / rank.

    Prompts must be in ascending order.
    """
    starts = np.cumsum(data.sizes) - data.sizes
    rank = np.arange(1, data.logits.size + 1) - np.repeat(starts, data.sizes)
    return np.reciprocal(rank, dtype=np.float64)


def _lowest(curve: KlCurve, target: float) -> float:
    """The middle, in float32, of the lowest interval of thresholds with KL at most `target`."""
    first = int(np.searchsorted(-curve.kl, -target * (1 + 1e-12)))
    if first == curve.logit.size:
        return float(np.nextafter(curve.logit[-1], np.float32(np.inf)))
    if first == 0:
        raise BadInput(f"rejecting everything costs only {curve.kl[0]:.3f} nats by this sample", where="target")
    below, at = curve.logit[first - 1], curve.logit[first]
    middle = np.float32(float(below) / 2 + float(at) / 2)
    return float(middle if below < middle <= at else at)


def _choice_interval(
    data: Completions, curve: KlCurve, target: float, weights: NDArray[np.float32], level: float
) -> tuple[float, float]:
    """Percentile interval of the threshold each resample of prompts would have chosen, on a grid of scores."""
    picks = np.unique(np.linspace(0, curve.logit.size - 1, GRID).round().astype(int))
    candidates = curve.logit[picks]
    last_rejecting = np.searchsorted(candidates, data.logits, side="right") - 1
    cells = data.prompts * candidates.size + last_rejecting
    added = np.bincount(cells, weights=_steps(data), minlength=data.sizes.size * candidates.size)
    kl = np.cumsum(added.reshape(data.sizes.size, -1)[:, ::-1], axis=1)[:, ::-1]
    cheap = weights @ kl.astype(np.float32) <= target
    chosen = np.where(cheap.any(axis=1), cheap.argmax(axis=1), candidates.size - 1)
    tail = (1 - level) / 2
    low, high = np.quantile(candidates[chosen], [tail, 1 - tail], method="inverted_cdf")
    return float(low), float(high)


def _mean_rate(values: Floats, weights: NDArray[np.float32], level: float, failures: int, n: int) -> Rate:
    tail = (1 - level) / 2
    low, high = np.quantile(weights @ values.astype(np.float32), [tail, 1 - tail])
    mean = float(values.mean())
    method = f"bootstrap of {values.size} prompts"
    return Rate(mean, min(float(low), mean), max(float(high), mean), level, method, failures, n)
