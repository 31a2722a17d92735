"""Weighted failures of a stratified sample: two gamma intervals, one that trusts the strata and one that does not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.designs.base import Answers, Tiers
from engine.evaluation.rates import Rate, fay_feuer


def of_strata(codes: NDArray[np.int64], prompts: NDArray[np.int64], answers: Answers, level: float) -> Tiers:
    """Certificate and estimate of outputs labelled at random within strata.

    `codes` (n,) is each output's stratum, `prompts` (n,) who belongs together: a prompt's outputs fail together, at
    worst. An answer weighs its stratum's share of the pool over the answers there. Strata without an answer may fail
    wholly: their share is added to the upper limits. O(n).
    """
    strata = int(codes.max()) + 1
    share = np.bincount(codes, minlength=strata) / codes.size
    of = codes[answers.indices]
    bought = np.bincount(of, minlength=strata)
    unknown = float(share[bought == 0].sum())
    k, n = int(answers.failures.sum()), answers.indices.size
    if not n:
        nothing = Rate(None, 0.0, 1.0, level, "nothing labelled", 0, 0)
        return Tiers(nothing, nothing, None, ("Nothing is labelled yet.",))
    weights = (share / np.maximum(bought, 1))[of]
    units = np.unique(prompts[answers.indices], return_inverse=True)[1]
    most = np.bincount(units, weights=weights)
    failed = np.bincount(units, weights=weights * answers.failures)
    hit = np.isin(of, of[answers.failures])
    seen = float(np.bincount(units, weights=weights, minlength=most.size)[units[hit]].max()) if k else float(most.max())
    certificate = fay_feuer(failed[failed > 0], float(most.max()), n=n, level=level)
    trusting = fay_feuer(failed[failed > 0], seen, n=n, level=level)
    tops = {"largest weight of all strata": certificate, "largest weight of strata with a failure": trusting}
    found = [
        rate._replace(
            low=min(rate.low, 1.0), high=min(rate.high + unknown, 1.0), failures=k, method=f"{rate.method}, {top}"
        )
        for top, rate in tops.items()
    ]
    return Tiers(found[0], found[1], None, _notes(k, unknown))


def _notes(k: int, unknown: float) -> tuple[str, ...]:
    notes = [
        "The certificate holds whatever the scores are worth.",
        "The estimate's interval trusts that strata without a failure have hardly any.",
    ]
    if not k:
        notes.append("No failure was found: both intervals are upper limits, and the same.")
    if unknown:
        notes.append(f"Strata of {100 * unknown:.2g} % of the pool have no answer yet; both upper limits include them.")
    return tuple(notes)
