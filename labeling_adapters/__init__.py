"""Who labels: one vendor a file, known to the rest by name. Knows nothing of the database."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from engine.errors import UnknownName
from engine.policies import Policy
from labeling_adapters import csv_dropbox, label_studio, pull, recorded, simulated, surge, webhook_vendor
from labeling_adapters.base import LabelingAdapter, Settings

ADAPTERS: dict[str, Callable[[Settings], LabelingAdapter]] = {
    "csv_dropbox": csv_dropbox.CsvDropbox,
    "label_studio": label_studio.LabelStudio,
    "pull": pull.PullQueue,
    "recorded": recorded.RecordedAnswers,
    "simulated": simulated.SimulatedVendor,
    "surge": surge.Surge,
    "webhook_vendor": webhook_vendor.WebhookVendor,
}


def compares(name: str) -> bool:
    """Whether the adapter of that name takes comparisons. Raises UnknownName."""
    if name not in ADAPTERS:
        raise UnknownName("labeling adapter", name, ADAPTERS)
    return bool(getattr(ADAPTERS[name], "compares", False))


def adapter_named(
    name: str, policy: Policy, *, seed: int = 0, config: Mapping[str, Any] | None = None
) -> LabelingAdapter:
    """The adapter of that name for a policy. Raises UnknownName, or BadInput for a wrong setting in `config`."""
    if name not in ADAPTERS:
        raise UnknownName("labeling adapter", name, ADAPTERS)
    return ADAPTERS[name](Settings(policy, seed, config or {}))
