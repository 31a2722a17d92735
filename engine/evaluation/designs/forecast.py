"""The failure rate by a logistic model of the scores: a forecast, which no certificate is.

A model sees what the scores see. Failures that look like anything else to both classifiers it cannot extrapolate from,
and in simulation its mean lies a quarter to a third above the truth (methods, D.4).
"""

from __future__ import annotations

import math

import numpy as np
from scipy import stats
from scipy.special import logit

from engine.evaluation.designs.base import Answers, OutputPool
from engine.evaluation.designs.logistic import fitted
from engine.evaluation.designs.scores import LEAST, features_of, sampling_score, second_adds
from engine.evaluation.rates import Rate

FEWEST = 3
"""Failures, and sound outputs, from which a model is fitted."""


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
