"""Logistic regression for few failures: Newton's method, slopes held by a prior, covariance for what follows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.special import expit, logit

from engine.errors import BadInput

Floats = NDArray[np.float64]
STEPS = 100


class Logistic(NamedTuple):
    """log odds = intercept + slopes * (features - means) / scales."""

    coefficients: Floats
    """(d + 1,), the intercept first."""
    covariance: Floats
    """(d + 1, d + 1) of the coefficients, by the observed information."""
    means: Floats
    scales: Floats
    """(d,) each."""

    def design(self, features: Floats) -> Floats:
        """(n, d + 1) that multiplies the coefficients."""
        return np.column_stack((np.ones(len(features)), (features - self.means) / self.scales))

    def chances(self, features: Floats) -> Floats:
        """(n,) of features (n, d)."""
        return np.asarray(expit(self.design(features) @ self.coefficients), dtype=np.float64)


def fitted(features: Floats, failures: NDArray[np.bool_]) -> Logistic:
    """Maximum likelihood with slopes held to 0 by a standard normal prior, so that separated classes have a fit too.

    `features` (n, d) are standardised first; `failures` (n,). Raises BadInput without both outcomes. O(n d^2) a step.
    """
    if not failures.any() or failures.all():
        raise BadInput("needs failures and sound outputs", where="failures")
    means, scales = features.mean(axis=0), features.std(axis=0)
    scales = np.where(scales > 0, scales, 1.0)
    rows = np.column_stack((np.ones(failures.size), (features - means) / scales))
    prior = np.diag([0.0] + [1.0] * features.shape[1])
    start = np.zeros(rows.shape[1])
    start[0] = logit(failures.mean())
    found = _newton(rows, failures.astype(np.float64), prior, start)
    chances = expit(rows @ found)
    information = (rows * (chances * (1 - chances))[:, None]).T @ rows + prior
    return Logistic(found, np.asarray(linalg.inv(information), np.float64), means, scales)


def _newton(rows: Floats, hits: Floats, prior: Floats, start: Floats) -> Floats:
    """Halves a step that makes things worse: with few failures full steps overshoot."""

    def loss(at: Floats) -> float:
        odds = rows @ at
        return float(np.logaddexp(0, odds).sum() - hits @ odds + at @ prior @ at / 2)

    at, value = start, loss(start)
    for _ in range(STEPS):
        chances = expit(rows @ at)
        slope = rows.T @ (chances - hits) + prior @ at
        curve = (rows * (chances * (1 - chances))[:, None]).T @ rows + prior
        step = linalg.solve(curve, slope, assume_a="pos")
        while loss(at - step) > value + 1e-12 * abs(value) and np.abs(step).max() > 1e-10:
            step = step / 2
        at = at - step
        value = loss(at)
        if np.abs(step).max() < 1e-8:
            break
    return np.asarray(at, dtype=np.float64)
