"""The project's own queue: annotators and vendors pull tasks over REST or the labeling page; nothing is sent out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine.policies import Policy
from labeling_adapters.base import IncomingLabel, OutgoingTask


class PullQueue:
    """Tasks wait until somebody leases them; labels arrive through the API."""

    name = "pull"
    simulated = False
    poll_seconds: float | None = None

    def __init__(self, policy: Policy, seed: int) -> None:
        del policy, seed

    def push(self, batch_id: str, tasks: Sequence[OutgoingTask]) -> None:
        """Nothing to send."""

    def collect(self, batch_id: str, tasks: Sequence[OutgoingTask]) -> Iterator[IncomingLabel]:
        """Nothing to fetch."""
        return iter(())
