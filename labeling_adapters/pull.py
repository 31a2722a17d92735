"""The project's own queue: annotators and vendors pull tasks over REST or the labeling page; nothing is sent out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import BaseModel, ConfigDict

from engine.config import checked
from labeling_adapters.base import IncomingLabel, InHouse, OutgoingBatch, OutgoingTask, Settings


class NoSettings(BaseModel):
    """There are none: a setting given is a mistake, and said to be."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PullQueue(InHouse):
    """Tasks wait until somebody leases them; labels arrive through the API."""

    name = "pull"
    simulated = False
    poll_seconds: float | None = None

    def __init__(self, settings: Settings) -> None:
        checked(NoSettings, settings.config, where=f"adapter {self.name}")

    def collect(self, batch: OutgoingBatch, tasks: Sequence[OutgoingTask]) -> Iterator[IncomingLabel]:
        """Nothing to fetch."""
        return iter(())
