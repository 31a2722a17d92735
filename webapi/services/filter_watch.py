"""What the filter decided in this process, counted, and how far its logits are from those of its evaluation."""

from __future__ import annotations

import math
import uuid
from collections import deque
from collections.abc import Iterable, Iterator
from threading import Lock

from prometheus_client import Counter, Histogram, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from engine.evaluation.drift import Drift, drift
from webapi.models import Evaluation

KEPT = 2000
"""The latest logits of each classifier that drift is told from."""
WATCHED = 8
"""Classifiers whose logits are kept at a time, the latest used."""

DECISIONS = Counter(
    "gauntlet_filter_decisions", "Texts that the filter judged, proposals among them.", ["classifier", "decision"]
)
LOGITS = Histogram(
    "gauntlet_filter_logit",
    "Logits of the texts that the filter judged.",
    ["classifier"],
    buckets=(-12, -10, -8, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 10, 12),
)
_lock = Lock()
_latest: dict[uuid.UUID, deque[float]] = {}


def note(classifier: uuid.UUID, logits: Iterable[float], accepted: Iterable[bool]) -> None:
    """Counts decisions. An empty completion, which is never scored, comes as +inf: counted, but no logit."""
    name = str(classifier)
    found = list(zip(logits, accepted, strict=True))
    yes = sum(one for _, one in found)
    DECISIONS.labels(name, "accepted").inc(yes)
    DECISIONS.labels(name, "rejected").inc(len(found) - yes)
    scored = [logit for logit, _ in found if math.isfinite(logit)]
    for logit in scored:
        LOGITS.labels(name).observe(logit)
    with _lock:
        kept = _latest.pop(classifier, None) or deque(maxlen=KEPT)
        kept.extend(scored)
        _latest[classifier] = kept
        while len(_latest) > WATCHED:
            del _latest[next(iter(_latest))]


def drifts() -> Iterator[tuple[uuid.UUID, Drift]]:
    """Of each classifier that judged lately and was evaluated, against its in-distribution test set."""
    with _lock:
        kept = {key: list(values) for key, values in _latest.items()}
    for key, logits in kept.items():
        rows = Evaluation.objects.filter(classifier=key, results__has_key="histogram").order_by("-pk")
        found = rows.values_list("results__histogram", flat=True).first()
        told = drift(found, logits) if found else None
        if told is not None:
            yield key, told


class FilterDrift(Collector):
    """Drift as figures for Prometheus. Of this process: with several, each tells its own when it is asked."""

    def collect(self) -> Iterable[Metric]:
        """The figures of now."""
        families = {
            name: GaugeMetricFamily(f"gauntlet_filter_drift_{name}", says, labels=["classifier"])
            for name, says in _FIGURES.items()
        }
        for key, told in drifts():
            for name, family in families.items():
                family.add_metric([str(key)], float(getattr(told, name)))
        return families.values()


_FIGURES = {
    "psi": "Population stability index of the latest logits against the classifier's evaluation.",
    "psi_by_chance": "What the index exceeds once in twenty where nothing moved.",
    "ks": "Kolmogorov-Smirnov distance of the same two, at the histogram's edges.",
    "n": "Logits that the drift is told from.",
}
