"""Everything measured about one classifier at its threshold, from arrays to JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import ArrayLike

from engine.evaluation.curves import (
    Histogram,
    RocPoint,
    Scored,
    error_rates,
    histogram,
    log_spaced,
    roc,
    scored,
    to_logit,
)
from engine.evaluation.failure_rate import FailureRateDict, failure_rate
from engine.evaluation.rates import RateDict, beta_credible, clustered
from engine.evaluation.threshold import LogitRows


class AdversarialSet(NamedTuple):
    """Labelled snippets of an attack, scored by the classifier that is assessed."""

    name: str
    logits: ArrayLike
    """(n,)"""
    failures: ArrayLike
    """(n,) bool, the labels."""
    clusters: ArrayLike | None = None
    """(n,) labels of any kind: which snippets re-tell the same seed."""
    own_target: bool = False
    """Whether the attack kept only what this very classifier accepts: its FNR is then 1 by construction."""


class AdversarialAssessment(TypedDict):
    """False negatives on one adversarial set."""

    n: int
    positives: int
    own_target: bool
    fnr: RateDict
    credible: RateDict
    """As the paper's figure 5: uniform prior, snippets taken as independent."""


class Assessment(TypedDict):
    """One classifier at one threshold. Every rate has its interval and counts."""

    threshold: float
    threshold_logit: float
    level: float
    n: int
    positives: int
    negatives: int
    prompts: int
    """Clusters of the in-distribution test set; equals `n` where none are shared."""
    fnr: RateDict
    fpr: RateDict
    accepted: RateDict
    """Share of the in-distribution test snippets that are accepted."""
    failure_rate: FailureRateDict | None
    """None without alternates."""
    roc: list[RocPoint]
    histogram: Histogram
    adversarial: dict[str, AdversarialAssessment]


def assess(
    *,
    logits: ArrayLike,
    failures: ArrayLike,
    threshold: float,
    prompts: ArrayLike | None = None,
    alternates: LogitRows | None = None,
    adversarial: Sequence[AdversarialSet] = (),
    level: float = 0.95,
    seed: int = 0,
    resamples: int = 2000,
) -> Assessment:
    """Assess a classifier that accepts what scores below `threshold`, in [0, 1].

    `logits` (n,) and `failures` (n,) bool are a random sample of in-distribution snippets, `prompts` (n,) says which
    share a prompt; `alternates` (n, K), or n arrays, scores further completions of each one's prompt and gives the
    failure rate its weights. Labels that are unsure are the caller's to decide: here a snippet is a failure or not.
    Raises BadInput for arrays that do not fit or a threshold outside [0, 1]. O(n K + thresholds * n log n).
    """
    at = to_logit(threshold)
    test = scored(logits, failures, prompts)
    fnr, fpr = error_rates(test, at, level=level)
    rate = None if alternates is None else _failure_rate(test, alternates, at, level, seed, resamples)
    return Assessment(
        threshold=threshold,
        threshold_logit=at,
        level=level,
        n=test.positives.size,
        positives=int(test.positives.sum()),
        negatives=int((~test.positives).sum()),
        prompts=test.positives.size if test.clusters is None else int(np.unique(test.clusters).size),
        fnr=fnr.as_dict(),
        fpr=fpr.as_dict(),
        accepted=clustered(test.logits < np.float32(at), test.clusters, level=level).as_dict(),
        failure_rate=rate,
        roc=roc(test, log_spaced(threshold), level=level),
        histogram=histogram(test),
        adversarial={one.name: _assess_adversarial(one, at, level) for one in adversarial},
    )


def _failure_rate(
    test: Scored, alternates: LogitRows, at: float, level: float, seed: int, resamples: int
) -> FailureRateDict:
    found = failure_rate(
        test.logits,
        test.positives,
        alternates,
        at,
        prompts=test.clusters,
        level=level,
        seed=seed,
        resamples=resamples,
    )
    return found.as_dict()


def _assess_adversarial(one: AdversarialSet, at: float, level: float) -> AdversarialAssessment:
    data = scored(one.logits, one.failures, one.clusters)
    fnr = error_rates(data, at, level=level).fnr
    return AdversarialAssessment(
        n=data.positives.size,
        positives=int(data.positives.sum()),
        own_target=one.own_target,
        fnr=fnr.as_dict(),
        credible=beta_credible(int(fnr.failures), int(fnr.n), level=level).as_dict(),
    )
