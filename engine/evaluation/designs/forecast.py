"""The failure rate by a logistic model of the scores: a forecast, which no certificate is.

A model sees what the scores see. Failures that look like anything else to both classifiers it cannot extrapolate from,
and in simulation its mean lies a quarter to a third above the truth (methods, D.4).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, stats
from scipy.special import expit, logit

from engine.errors import BadInput
from engine.evaluation.designs.base import Answers, Floats, OutputPool
from engine.evaluation.designs.scores import LEAST, finite_logits, sampling_score, second_adds
from engine.evaluation.rates import Rate

FEWEST = 3
"""Failures, and sound outputs, from which a model is fitted."""
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


def features_of(logits: NDArray[np.float32], second: NDArray[np.float32] | None) -> Floats:
    """(n, 1 or 2): the logits that there are, within +-40."""
    columns = [logits] if second is None else [logits, second]
    return np.column_stack([finite_logits(one) for one in columns])


def forecast(pool: OutputPool, answers: Answers, level: float) -> Rate | None:
    """Mean chance over the pool by a fit to what is labelled, log-normal interval; None below FEWEST of either kind.

    What a design draws depends on the scores alone, which the model knows, so that no weights are needed. Where the
    pool has fitted chances their log odds are the feature, else the logits. O(n d^2).
    """
    k, n = int(answers.failures.sum()), answers.failures.size
    if min(k, n - k) < FEWEST:
        return None
    if pool.chances is not None:
        features = np.asarray(logit(sampling_score(pool)), dtype=np.float64)[:, None]
    else:
        features = features_of(pool.logits, pool.second if second_adds(pool) else None)
    model = fitted(features[answers.indices], answers.failures)
    chances = model.chances(features)
    mean = max(float(chances.mean()), LEAST)
    gradient = (chances * (1 - chances)) @ model.design(features) / (mean * chances.size)
    error = float(stats.norm.ppf((1 + level) / 2)) * math.sqrt(float(gradient @ model.covariance @ gradient))
    method = "logistic model, a forecast and no certificate"
    return Rate(mean, mean * math.exp(-error), min(1.0, mean * math.exp(error)), level, method, k, n)
