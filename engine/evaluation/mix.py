"""Choosing among trainings by what they miss on a validation mix: failures of several sources, weighed alike.

The best of many trainings looks better than it is (the winner's curse). So the mix is halved: one half chooses, and the
other, which had no say, tells how much the chosen one misses.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import BadInput
from engine.evaluation.rates import Rate, RateDict, clustered, fay_feuer


class Mix(NamedTuple):
    """Labelled snippets of several sources, each in one half."""

    sources: NDArray[np.str_]
    """(n,), such as `in distribution` or `paraphrase`."""
    failures: NDArray[np.bool_]
    """(n,), the labels."""
    clusters: NDArray[np.str_]
    """(n,): which descend from the same snippet."""
    choosing: NDArray[np.bool_]
    """(n,): in the half that chooses; the others confirm."""

    @property
    def weighed(self) -> tuple[str, ...]:
        """The sources with failures in both halves, in order: those that count, with equal weights."""
        found = [
            {str(name) for name in np.unique(self.sources[self.failures & half])}
            for half in (self.choosing, ~self.choosing)
        ]
        return tuple(sorted(found[0] & found[1]))


class MixRatesDict(TypedDict):
    """`MixRates` as JSON."""

    fnr: RateDict
    by_source: dict[str, RateDict]
    log_loss: float
    n: int


class MixRates(NamedTuple):
    """What one classifier does on one half of a mix, at its threshold."""

    fnr: Rate
    """Mean over sources of the share of failures that are accepted; `failures` and `n` are raw counts."""
    by_source: dict[str, Rate]
    log_loss: float
    """Mean over sources of the cross entropy, nats a snippet, of failures and harmless ones."""
    n: int
    """Snippets, failures or not."""

    def as_dict(self) -> MixRatesDict:
        """Plain JSON types."""
        by_source = {name: rate.as_dict() for name, rate in self.by_source.items()}
        return MixRatesDict(fnr=self.fnr.as_dict(), by_source=by_source, log_loss=self.log_loss, n=self.n)


def halved(sources: Sequence[str], failures: ArrayLike, clusters: Sequence[str], *, seed: int) -> Mix:
    """A mix of two halves. What descends from one snippet stays together; of clusters alike in sources and labels every
    other one goes to each half, in an order that the seed decides. O(n log n).

    Raises BadInput where no source has failures in both halves: then nothing can be chosen by what is missed.
    """
    names, positive = np.asarray(sources, dtype=np.str_), np.asarray(failures, dtype=bool)
    groups = np.asarray(clusters, dtype=np.str_)
    kinds: dict[str, set[tuple[str, bool]]] = defaultdict(set)
    for cluster, source, failure in zip(groups.tolist(), names.tolist(), positive.tolist(), strict=True):
        kinds[cluster].add((source, failure))
    alike: dict[frozenset[tuple[str, bool]], list[str]] = defaultdict(list)
    for cluster in sorted(kinds, key=lambda one: hashlib.sha256(f"{seed} {one}".encode()).digest()):
        alike[frozenset(kinds[cluster])].append(cluster)
    first: set[str] = set()
    turn = 0
    for kind in sorted(alike, key=sorted):
        for cluster in alike[kind]:
            if turn % 2 == 0:
                first.add(cluster)
            turn += 1
    mix = Mix(names, positive, groups, np.array([one in first for one in groups.tolist()], dtype=bool))
    if not mix.weighed:
        raise BadInput(
            f"{int(positive.sum())} failures among {positive.size} snippets: some source needs failures of two "
            "different origins, one to choose by and one to confirm with",
            where="validation mix",
        )
    return mix


def mix_rates(mix: Mix, logits: ArrayLike, at: float, *, choosing: bool, level: float = 0.95) -> MixRates:
    """What a classifier that accepts logits below `at` does on one half. `logits` (n,), of all of the mix.

    The mean's interval is Fay and Feuer's for weighted counts, a cluster's misses taken as one event of their summed
    weight: conservative, and right where all re-tellings of a seed pass together. Raises BadInput for logits that do
    not fit or are not finite. O(n log n).
    """
    margins = np.asarray(logits, dtype=np.float32).ravel()
    if margins.size != mix.failures.size or not np.isfinite(margins).all():
        raise BadInput(f"needs {mix.failures.size} finite logits", where="logits")
    half = mix.choosing == choosing
    counted, missed = mix.weighed, margins < np.float32(at)
    weights = np.zeros(margins.size)
    by_source, losses = {}, []
    for name in counted:
        rows = half & (mix.sources == name)
        positives = rows & mix.failures
        weights[positives] = 1 / (len(counted) * positives.sum())
        by_source[name] = clustered(missed[positives], mix.clusters[positives], level=level)
        losses.append(_log_loss(margins[rows], mix.failures[rows]))
    within = half & np.isin(mix.sources, np.array(counted))
    fnr = _weighted(weights, missed & within & mix.failures, within & mix.failures, mix.clusters, level)
    return MixRates(fnr, by_source, float(np.mean(losses)), int(within.sum()))


def lowest(scores: Sequence[tuple[float, float]]) -> int:
    """The index of the lowest (FNR, log loss); of equal ones the first. Raises BadInput for none. O(n)."""
    if not scores:
        raise BadInput("nothing to choose from", where="scores")
    return min(range(len(scores)), key=lambda i: scores[i])


def _weighted(
    weights: NDArray[np.float64],
    missed: NDArray[np.bool_],
    positives: NDArray[np.bool_],
    clusters: NDArray[np.str_],
    level: float,
) -> Rate:
    codes = np.unique(clusters, return_inverse=True)[1]
    events = np.bincount(codes, weights=weights * missed)
    most = np.bincount(codes, weights=weights * positives).max()
    found = fay_feuer(events[events > 0], float(most), n=int(positives.sum()), level=level)
    share = float((weights * missed).sum())
    return found._replace(
        estimate=share,
        high=min(1.0, found.high),
        low=min(found.low, share),
        failures=int(missed.sum()),
        method=f"{found.method} over {int((events > 0).sum())} clusters with misses",
    )


def _log_loss(logits: NDArray[np.float32], failures: NDArray[np.bool_]) -> float:
    signed = np.where(failures, -logits, logits).astype(np.float64)
    return float(np.logaddexp(0, signed).mean())
