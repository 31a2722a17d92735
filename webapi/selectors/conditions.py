"""Reads of conditions: what was trained and measured, as tables show it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from webapi.models import DatasetSnapshot, Evaluation


def conditions_found(trained: Mapping[str, Mapping[str, str]]) -> list[dict[str, Any]]:
    """By condition, in order: its snapshot, what its classifier's training said, and its figures."""
    return [_found(name, keys) for name, keys in trained.items()]


def _found(name: str, keys: Mapping[str, str]) -> dict[str, Any]:
    snapshot = DatasetSnapshot.objects.select_related("policy").get(pk=keys["snapshot"])
    evaluation = Evaluation.objects.select_related("classifier").get(pk=keys["evaluation"])
    rules = snapshot.policy.rules
    return {
        "name": name,
        **keys,
        "content_hash": snapshot.content_hash,
        "size": snapshot.size,
        "dropped": len(snapshot.dropped),
        "oversampled": snapshot.settings["composing"]["oversample"],
        "datasets": {
            dataset: {
                "rows": sum(counts.values()),
                "positives": sum(n for choice, n in counts.items() if rules.trains_as_positive(choice)),
                "choices": counts,
            }
            for dataset, counts in snapshot.datasets.items()
        },
        # What is the classifier's own stands with it, once.
        "results": {**evaluation.classifier.metrics, **evaluation.results},
    }
