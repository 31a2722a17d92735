"""Two filters over one stream of proposals in the rare world: what share of outputs differs, and who fails alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from _rare_world import LEAK, MASS, PROMPTS, World
from numpy.typing import NDArray
from scipy.special import ndtr

Floats = NDArray[np.float64]
_X, _W = np.polynomial.legendre.leggauss(96)
_NOISE, _NOISE_MASS = np.polynomial.hermite_e.hermegauss(9)


class Pair(NamedTuple):
    """Per prompt: failures of each, failures of one alone, and outputs that differ."""

    first: float
    second: float
    only_first: float
    only_second: float
    differing: float


class _Proposal(NamedTuple):
    """Of one proposal to a prompt: chance that it is of this kind and accepted by both, by one alone."""

    both: Floats
    first: Floats
    second: Floats


def pair(of: World, rho: float, *, better: float = 1.0, noise: float = 0.0) -> Pair:
    """Filters whose scores correlate by `rho` given label and prompt; the second's d' is `better` times as large.

    `noise` is the standard deviation by which each one's score shifts from prompt to prompt on its own. Equal outputs
    are those where the first proposal that either accepts is accepted by both.
    """
    b, one, two = (part.ravel() for part in np.meshgrid(PROMPTS, noise * _NOISE, noise * _NOISE, indexing="ij"))
    each = _NOISE_MASS / _NOISE_MASS.sum()
    mass = (MASS[:, None, None] * each[:, None] * each[None, :]).ravel()
    bad = of.prevalence(b)
    limits = of.threshold - LEAK * b - one, of.threshold - LEAK * b - two
    sound = _proposal(limits, (0.0, 0.0), rho, 1 - bad)
    fails = _proposal(limits, (of.gap, better * of.gap), rho, bad)
    alone = [sound.first + fails.first, sound.second + fails.second]
    both = sound.both + fails.both
    either = both + alone[0] + alone[1]
    rates = (fails.both + fails.first) / (both + alone[0]), (fails.both + fails.second) / (both + alone[1])
    parts = (fails.first, fails.second)
    only = []
    for mine, other in ((0, 1), (1, 0)):
        ahead = parts[mine] / either * (1 - rates[other])
        behind = (alone[other] - parts[other]) / either * rates[mine]
        only.append(float(mass @ (ahead + behind)))
    differing = float(mass @ ((alone[0] + alone[1]) / either))
    return Pair(float(mass @ rates[0]), float(mass @ rates[1]), only[0], only[1], differing)


def better_by_half(of: World, rho: float, noise: float) -> Pair:
    """The second filter fails half as often: found by bisection of its d'."""
    low, high = 1.0, 1.3
    for _ in range(30):
        middle = (low + high) / 2
        found = pair(of, rho, better=middle, noise=noise)
        low, high = (middle, high) if found.second > found.first / 2 else (low, middle)
    return pair(of, rho, better=high, noise=noise)


def _proposal(limits: tuple[Floats, Floats], means: tuple[float, float], rho: float, share: Floats) -> _Proposal:
    one, two = limits[0] - means[0], limits[1] - means[1]
    both = _both_below(one, two, rho)
    return _Proposal(share * both, share * np.maximum(0, ndtr(one) - both), share * np.maximum(0, ndtr(two) - both))


def _both_below(one: Floats, two: Floats, rho: float) -> Floats:
    """P(X < one, Y < two) of standard normals with correlation `rho`, by quadrature over X."""
    low = np.minimum(one, 0) - 8
    half = (one - low) / 2
    x = low[:, None] + half[:, None] * (_X + 1)
    density = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    return np.asarray(half * ((density * ndtr((two[:, None] - rho * x) / np.sqrt(1 - rho**2))) @ _W))
