"""Everything measured about one classifier at its threshold, from arrays to JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypedDict

import numpy as np

from engine.evaluation.curves import Histogram, RocPoint, Scored, error_rates, histogram, log_spaced, roc, to_score
from engine.evaluation.failure_rate import FailureRateDict, failure_rate
from engine.evaluation.rates import RateDict, beta_credible, clustered
from engine.evaluation.threshold import LogitRows


class AdversarialSet(NamedTuple):
    """Labelled snippets of an attack, scored by the classifier that is assessed."""

    data: Scored
    own_target: bool
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
    test: Scored,
    threshold_logit: float,
    *,
    alternates: LogitRows | None = None,
    adversarial: Mapping[str, AdversarialSet] | None = None,
    level: float = 0.95,
    seed: int = 0,
    resamples: int = 2000,
) -> Assessment:
    """Assess a classifier that accepts what has a logit below `threshold_logit`.

    `test` is a random sample of in-distribution snippets, `clusters` their prompts; `alternates` (n, K), or n arrays,
    scores further completions of each one's prompt and gives the failure rate its weights; `adversarial` holds sets
    by name. Labels that are unsure are the caller's to decide: here a snippet is positive or not. Raises BadInput for
    arrays that do not fit. O(n K + thresholds * n log n).
    """
    fnr, fpr = error_rates(test, threshold_logit, level=level)
    score = to_score(threshold_logit)
    kept = test.logits < np.float32(threshold_logit)
    rate = None
    if alternates is not None:
        rate = failure_rate(
            test.logits,
            test.positives,
            alternates,
            threshold_logit,
            prompts=test.clusters,
            level=level,
            seed=seed,
            resamples=resamples,
        ).as_dict()
    return Assessment(
        threshold=score,
        threshold_logit=threshold_logit,
        level=level,
        n=test.positives.size,
        positives=int(test.positives.sum()),
        negatives=int((~test.positives).sum()),
        prompts=test.positives.size if test.clusters is None else int(np.unique(test.clusters).size),
        fnr=fnr.as_dict(),
        fpr=fpr.as_dict(),
        accepted=clustered(kept, test.clusters, level=level).as_dict(),
        failure_rate=rate,
        roc=roc(test, log_spaced(around=score), level=level),
        histogram=histogram(test),
        adversarial={
            name: _assess_adversarial(one, threshold_logit, level) for name, one in (adversarial or {}).items()
        },
    )


def _assess_adversarial(one: AdversarialSet, threshold_logit: float, level: float) -> AdversarialAssessment:
    fnr = error_rates(one.data, threshold_logit, level=level).fnr
    return AdversarialAssessment(
        n=one.data.positives.size,
        positives=int(one.data.positives.sum()),
        own_target=one.own_target,
        fnr=fnr.as_dict(),
        credible=beta_credible(int(fnr.failures), int(fnr.n), level=level).as_dict(),
    )
