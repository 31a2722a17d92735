"""How often something very rare happens, by adaptive multilevel splitting, and what it looks like (methods, D.4).

For events that a machine decides: a score, and a level that it must reach. Particles are drawn from the generator;
those above a level are copied, and the copies moved by a kernel that leaves the generator's own distribution as it is
and never falls below the level; so on from level to level (Au and Beck 2001; adaptive levels as in 1811.07209). A pilot
chooses the levels; further runs with those levels fixed are each unbiased, whatever the number of particles, ties
among discrete scores or none (a product of the shares kept: Del Moral 2004; 1507.00919 for discrete scores), and
their spread gives the interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from engine.errors import BadInput
from engine.evaluation.rates import Rate, clopper_pearson
from engine.progress import Progress, silent

States = NDArray[Any]
"""Particles along the first axis; texts lie in an array of objects."""
Score = Callable[[States], NDArray[np.float64]]
"""(n,) scores of n states; the event is a score of at least the level asked for. -inf for what can never be it."""


class Kernel(Protocol):
    """The generator, as something to draw from and to move in."""

    def draw(self, n: int, chance: np.random.Generator) -> States:
        """`n` independent states of the generator's distribution."""
        ...

    def move(self, states: States, chance: np.random.Generator) -> States:
        """A proposal for each state, reversible with respect to the generator's distribution: it is taken where its
        score keeps above the level."""
        ...


class Settings(NamedTuple):
    """How much is spent."""

    particles: int = 1000
    """In the pilot, and in all runs together."""
    keep: float = 0.5
    """Share kept from one level to the next in the pilot."""
    moves: int = 10
    """Proposals for each particle at each level."""
    runs: int = 10
    """Independent runs at the pilot's levels; their spread is the interval's."""
    most_levels: int = 200


class Splitting(NamedTuple):
    """What was found."""

    probability: Rate
    """Of the event for one draw of the generator. `failures` counts final particles in it, `n` all runs' draws."""
    levels: tuple[float, ...]
    """A particle passed one when its score was above."""
    reached: bool
    """Whether the pilot climbed to the event; else nothing is known but an upper limit."""
    score_calls: int
    """States scored, the pilot's among them."""
    effective: float
    """Independent ancestors that the final particles stand for: 1 / sum of squared shares, summed over the runs."""
    found: States
    """Final particles in the event, the pilot's too; each once where they can be compared, at least `repr` apart."""
    scores: NDArray[np.float64]
    """(found,) their scores."""

    @property
    def direct_calls(self) -> float:
        """Score calls that direct sampling would need for the same relative error; inf without an estimate."""
        p, half = self.probability.estimate, self.relative_error
        return (1 - p) / (p * half**2) if p and half else math.inf

    @property
    def relative_error(self) -> float:
        """Standard error over estimate, from the interval; inf without an estimate."""
        rate = self.probability
        if not rate.estimate or rate.low <= 0:
            return math.inf
        return math.log(rate.high / rate.low) / (2 * float(stats.norm.ppf((1 + rate.level) / 2)))


class _Swarm(NamedTuple):
    states: States
    scores: NDArray[np.float64]
    ancestors: NDArray[np.int64]


class _Ended(NamedTuple):
    share: float
    """Unbiased where the levels were fixed beforehand."""
    swarm: _Swarm
    """Final particles; those that reach the event are among them."""
    calls: int


def checked(wanted: Settings) -> Settings:
    """The settings themselves. Raises BadInput for such as make no sense."""
    if not (0 < wanted.keep < 1 and wanted.moves >= 1 and wanted.runs >= 2 and wanted.most_levels >= 1):
        raise BadInput("needs 0 < keep < 1, moves >= 1, runs >= 2 and most_levels >= 1", where="settings")
    if wanted.particles // wanted.runs < 2:
        raise BadInput(f"{wanted.particles} particles are too few for {wanted.runs} runs", where="settings")
    return wanted


def split(
    kernel: Kernel,
    score: Score,
    level: float,
    *,
    settings: Settings | None = None,
    confidence: float = 0.95,
    seed: int = 0,
    progress: Progress = silent,
) -> Splitting:
    """The probability that a draw's score is at least `level`, and particles for which it is.

    The estimate is the mean of the runs; its interval is Student's on the logarithm of it, or, where no run got there,
    Clopper-Pearson of the runs' first draws. `progress` counts runs, the pilot first. Raises BadInput for settings
    that make no sense and for NaN scores. O(levels * particles * moves) score calls for the pilot, and as many for all
    runs together.
    """
    wanted = checked(settings or Settings())
    if not math.isfinite(level) or not 0 < confidence < 1:
        raise BadInput(f"needs a finite level and 0 < confidence < 1, not {level} and {confidence}", where="split")
    own = wanted.particles // wanted.runs
    chance = np.random.default_rng([seed, 20])
    pilot, levels = _pilot(kernel, score, level, wanted, chance)
    progress(1, wanted.runs + 1)
    reached = bool((pilot.swarm.scores >= level).any())
    ended, calls = [], pilot.calls
    for number in range(wanted.runs if reached else 0):
        ended.append(_run(kernel, score, level, levels, own, wanted.moves, np.random.default_rng([seed, 21, number])))
        calls += ended[-1].calls
        progress(number + 2, wanted.runs + 1)
    shares = np.array([one.share for one in ended])
    hits = [one.swarm.scores >= level for one in ended]
    draws = own * wanted.runs if reached else wanted.particles
    swarms = [pilot.swarm, *(one.swarm for one in ended)]
    states, scores = _distinct(swarms, level)
    return Splitting(
        _rate(shares, sum(int(hit.sum()) for hit in hits), draws, confidence),
        tuple(levels),
        reached,
        calls,
        sum(_effective(one.swarm.ancestors[hit]) for one, hit in zip(ended, hits, strict=True)),
        states,
        scores,
    )


def _pilot(
    kernel: Kernel, score: Score, level: float, wanted: Settings, chance: np.random.Generator
) -> tuple[_Ended, list[float]]:
    """Levels, each the score that about `keep` of the particles are above; stops where nobody is above any more."""
    swarm = _drawn(kernel, score, wanted.particles, chance)
    levels: list[float] = []
    share, calls = 1.0, wanted.particles
    while len(levels) < wanted.most_levels:
        ordered = np.sort(swarm.scores)
        at = float(ordered[int((1 - wanted.keep) * wanted.particles)])
        if at >= level:
            break
        if not (swarm.scores > at).any():
            below = ordered[ordered < at]  # all the best are tied: the level is just below them
            if not below.size or (levels and below[-1] <= levels[-1]):
                break
            at = float(below[-1])
        levels.append(at)
        share *= float((swarm.scores > at).mean())
        swarm, made = _climbed(kernel, score, swarm, at, wanted.moves, chance)
        calls += made
    return _Ended(share * float((swarm.scores >= level).mean()), swarm, calls), levels


def _run(
    kernel: Kernel, score: Score, level: float, levels: list[float], n: int, moves: int, chance: np.random.Generator
) -> _Ended:
    swarm = _drawn(kernel, score, n, chance)
    share, calls = 1.0, n
    for at in levels:
        share *= float((swarm.scores > at).mean())
        if share == 0:
            return _Ended(0.0, swarm, calls)
        swarm, made = _climbed(kernel, score, swarm, at, moves, chance)
        calls += made
    return _Ended(share * float((swarm.scores >= level).mean()), swarm, calls)


def _drawn(kernel: Kernel, score: Score, n: int, chance: np.random.Generator) -> _Swarm:
    states = kernel.draw(n, chance)
    return _Swarm(states, _scores(score, states), np.arange(n))


def _climbed(
    kernel: Kernel, score: Score, swarm: _Swarm, at: float, moves: int, chance: np.random.Generator
) -> tuple[_Swarm, int]:
    """As many particles above the level as there were: survivors copied evenly, then all moved. Some survive."""
    n, alive = swarm.scores.size, np.flatnonzero(swarm.scores > at)
    # Each survivor is copied n / alive times, the rest by chance: less is left to chance than where all are drawn.
    extra = chance.choice(alive, size=n % alive.size, replace=False)
    chosen = np.concatenate([np.repeat(alive, n // alive.size), extra])
    states, scores = swarm.states[chosen].copy(), swarm.scores[chosen]
    for _ in range(moves):
        proposed = kernel.move(states, chance)
        found = _scores(score, proposed)
        keep = found > at
        states[keep], scores[keep] = proposed[keep], found[keep]
    return _Swarm(states, scores, swarm.ancestors[chosen]), n * moves


def _scores(score: Score, states: States) -> NDArray[np.float64]:
    found = np.asarray(score(states), dtype=np.float64)
    if found.shape != (len(states),) or np.isnan(found).any():
        raise BadInput(f"needs {len(states)} scores that are numbers", where="score")
    return found


def _rate(shares: NDArray[np.float64], hits: int, draws: int, level: float) -> Rate:
    mean = float(shares.mean()) if shares.size else 0.0
    if not mean:
        limit = clopper_pearson(0, draws, level=level)
        return limit._replace(method="Clopper-Pearson of the first draws: splitting did not get there")
    spread = float(shares.std(ddof=1)) / math.sqrt(shares.size) / mean
    half = float(stats.t.ppf((1 + level) / 2, shares.size - 1)) * spread
    method = f"multilevel splitting, log-t over {shares.size} runs"
    return Rate(mean, mean * math.exp(-half), min(1.0, mean * math.exp(half)), level, method, hits, draws)


def _effective(ancestors: NDArray[np.int64]) -> float:
    if not ancestors.size:
        return 0.0
    counts = np.unique(ancestors, return_counts=True)[1]
    return float(ancestors.size**2 / (counts**2).sum())


def _distinct(swarms: list[_Swarm], level: float) -> tuple[States, NDArray[np.float64]]:
    states = np.concatenate([one.states[one.scores >= level] for one in swarms])
    scores = np.concatenate([one.scores[one.scores >= level] for one in swarms])
    first = {repr(state): place for place, state in reversed(list(enumerate(states)))}
    keep = np.sort(np.fromiter(first.values(), dtype=np.int64, count=len(first)))
    return states[keep], scores[keep]
