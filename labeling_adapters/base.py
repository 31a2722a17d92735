"""What every labeling vendor looks like from here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.snippets import Snippet


class AdapterError(Exception):
    """A vendor could not be reached or refused. `permanent`: trying again is pointless."""

    def __init__(self, message: str, *, permanent: bool) -> None:
        self.permanent = permanent
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class OutgoingTask:
    """A task as a vendor gets it: the text and how many more labels it wants, never its source, score or target."""

    task_id: str
    snippet: Snippet
    wanted: int
    answered_by: frozenset[str] = frozenset()
    """The vendor's annotators who judged this snippet before and must not again."""


@dataclass(frozen=True, slots=True)
class IncomingLabel:
    """One answer as a vendor gives it."""

    task_id: str
    annotator: str
    """The vendor's own id of who answered; stable."""
    choice: str
    seconds: float | None = None
    external_id: str = ""


class LabelingAdapter(Protocol):
    """A labeling vendor. Each call may be repeated with the same tasks and then changes nothing."""

    name: str
    simulated: bool
    poll_seconds: float | None
    """How long to wait between two looks for labels; None: labels come in by themselves."""

    def push(self, batch_id: str, tasks: Sequence[OutgoingTask]) -> None:
        """Sends tasks out. Raises AdapterError."""

    def collect(self, batch_id: str, tasks: Sequence[OutgoingTask]) -> Iterator[IncomingLabel]:
        """Labels given to these open tasks so far. Raises AdapterError."""
