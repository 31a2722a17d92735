"""The project's own queue: annotators and vendors pull tasks over REST or the labeling page; nothing is sent out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from labeling_adapters.base import IncomingLabel, InHouse, OutgoingBatch, OutgoingTask, Settings


class PullQueue(InHouse):
    """Tasks wait until somebody leases them; labels arrive through the API."""

    name = "pull"
    simulated = False
    poll_seconds: float | None = None

    def __init__(self, settings: Settings) -> None:
        del settings

    def collect(self, batch: OutgoingBatch, tasks: Sequence[OutgoingTask]) -> Iterator[IncomingLabel]:
        """Nothing to fetch."""
        return iter(())
