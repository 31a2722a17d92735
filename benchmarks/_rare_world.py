"""A population in which a filter fails 3 times in 100,000 outputs, with the paper's table 5 rates, and second opinions.

A prompt's effect b ~ N(0, 1.5^2) moves the log odds that a completion is a failure (2.4 % of them are) and leaks 0.35 b
into every score. A classifier's logit is binormal: it rejects 25.5 % of sound completions and misses 2 of 2,447
failures. Another's has correlation `rho` with it, given label and prompt. The filter gives the first accepted
completion. Rates are computed by quadrature over b, so that the truth has no noise.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize
from scipy.special import expit, ndtr, ndtri

from engine.evaluation.designs import OutputPool

Floats = NDArray[np.float64]
SPREAD, LEAK = 1.5, 0.35
PREVALENCE, FPR, FNR = 0.024, 0.255, 2 / 2447
MOST_DRAWS = 100
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(80)
PROMPTS, MASS = SPREAD * _NODES, _WEIGHTS / _WEIGHTS.sum()


class World(NamedTuple):
    """The population's constants, solved from the rates above."""

    intercept: float
    threshold: float
    gap: float
    """Mean logit of failures above that of sound completions: d'."""

    def prevalence(self, b: Floats) -> Floats:
        """Of failures among unfiltered completions of prompts with effect `b`."""
        return expit(self.intercept + b)

    def accepted(self, b: Floats, failure: float, gap: float | None = None) -> Floats:
        """Share of sound (0) or failing (1) completions that the filter accepts."""
        return ndtr(self.threshold - LEAK * b - failure * (self.gap if gap is None else gap))

    def failing(self, b: Floats) -> Floats:
        """Share of the filter's outputs to prompts with effect `b` that are failures."""
        bad = self.prevalence(b) * self.accepted(b, 1)
        return bad / (bad + (1 - self.prevalence(b)) * self.accepted(b, 0))


class Second(NamedTuple):
    """A second opinion: correlation with the first given label and prompt, its d' over the first's, and the share of
    accepted failures that look to it like any sound output."""

    rho: float
    sharper: float = 1.0
    blind: float = 0.0


def world() -> World:
    """Solves prevalence, FPR and FNR, each an average over prompts, for the constants."""
    intercept = optimize.brentq(lambda a: MASS @ expit(a + PROMPTS) - PREVALENCE, -9, 0)
    share = expit(intercept + PROMPTS)
    sound, bad = MASS * (1 - share), MASS * share
    threshold = optimize.brentq(lambda t: sound @ ndtr(t - LEAK * PROMPTS) / sound.sum() - (1 - FPR), -5, 5)
    gap = optimize.brentq(lambda d: bad @ ndtr(threshold - d - LEAK * PROMPTS) / bad.sum() - FNR, 1, 9)
    return World(intercept, threshold, gap)


def truth(of: World) -> float:
    """Failures per output of the filter."""
    return float(MASS @ of.failing(PROMPTS))


def paper_ratio(of: World) -> float:
    """Labels of the paper's protocol, pairs of the unfiltered generator weighted by 1 / P(accept) up to 100 draws, over
    those of the filter's own outputs, at the same variance."""
    share = of.prevalence(PROMPTS)
    bad = share * of.accepted(PROMPTS, 1)
    accept = bad + (1 - share) * of.accepted(PROMPTS, 0)
    weight = (1 - (1 - accept) ** MOST_DRAWS) / accept
    return float(MASS @ (bad * weight**2) / (MASS @ (bad * weight)))


def outputs(of: World, second: Second | None, n: int, rng: np.random.Generator) -> tuple[OutputPool, NDArray[np.bool_]]:
    """A pool of the filter's outputs, one a prompt, and which are failures."""
    b = rng.normal(0, SPREAD, n)
    return _pool(of, second, b, rng.random(n) < of.failing(b), rng)


def failures(of: World, second: Second | None, n: int, rng: np.random.Generator) -> OutputPool:
    """Outputs of the filter that are failures: what strata they fall into is what a design depends on."""
    b = PROMPTS[rng.choice(PROMPTS.size, n, p=MASS * of.failing(PROMPTS) / truth(of))]
    return _pool(of, second, b, np.ones(n, bool), rng)[0]


def pilot(
    of: World, second: Second | None, n: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None, NDArray[np.bool_]]:
    """Unfiltered completions, as a validation set has them: logits, second logits, failures."""
    b = rng.normal(0, SPREAD, n)
    bad = rng.random(n) < of.prevalence(b)
    logits = rng.normal(LEAK * b + of.gap * bad)
    return logits.astype(np.float32), _second(of, second, b, bad, logits, rng), bad


def _pool(
    of: World, second: Second | None, b: Floats, bad: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[OutputPool, NDArray[np.bool_]]:
    means = LEAK * b + of.gap * bad
    logits = means + ndtri(rng.random(b.size) * ndtr(of.threshold - means))
    opinion = _second(of, second, b, bad, logits, rng)
    return OutputPool(logits.astype(np.float32), opinion, np.arange(b.size)), bad


def _second(
    of: World, second: Second | None, b: Floats, bad: NDArray[np.bool_], logits: Floats, rng: np.random.Generator
) -> NDArray[np.float32] | None:
    if second is None:
        return None
    unseen = bad & (logits < of.threshold) & (rng.random(b.size) < second.blind)
    shown = bad & ~unseen
    own = LEAK * b + of.gap * shown
    theirs = LEAK * b + second.sharper * of.gap * shown
    noise = np.sqrt(1 - second.rho**2) * rng.normal(size=b.size)
    return (theirs + second.rho * (logits - own) + noise).astype(np.float32)
