"""How the contract suite meets a vendor: from the outside, where people answer and things break."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, Self

from labeling_adapters.base import Delivery, IncomingLabel, LabelingAdapter, OutgoingBatch, OutgoingTask
from tests.labeling_adapters.http_server import HttpServer


class Harness:
    """A fresh, empty vendor, alive while it is entered: `with HARNESSES[name](tmp_path) as vendor`.

    A subclass sets the class variables that hold for its vendor and answers the questions that they bring; what a
    vendor is not, it need not answer.
    """

    sends: ClassVar[bool] = False
    """Tasks leave the house: `holds`, `batches`, `received`, `answer`, `wants` and `keeps_out` are asked."""
    gold: ClassVar[bool] = False
    """The vendor has a gold feature of its own: `golds` is asked."""
    moves: ClassVar[bool] = False
    """A batch has a state at the vendor, launched by wish alone: `state` is asked."""
    changes: ClassVar[bool] = False
    """People may change what they answered: `change` is asked."""
    refuses: ClassVar[str] = ""
    """A task whose completion holds this is refused, alone, by the vendor. Empty: it takes everything."""
    http: ClassVar[bool] = False
    """The adapter asks a server: `self.server` is one of `http_server`, which has faults."""
    environment: ClassVar[Mapping[str, str]] = {}
    """Variables that the adapter reads, keys among them."""
    key_variable: ClassVar[str] = ""
    """The one of them that holds the key."""
    steps: ClassVar[tuple[tuple[object, str], ...]] = ()
    """The functions, as owner and name, through which the adapter changes the world: a crash comes before or after
    each of their calls."""

    config: Mapping[str, Any] = {}
    """The adapter's settings for this vendor. Those over HTTP give up after 0.3 seconds of silence."""
    server: HttpServer

    def __init__(self, folder: Path) -> None:
        """Starts what the vendor needs; what must end again is entered in `self.stack`."""
        self.folder, self.stack = folder, ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stack.close()

    def holds(self) -> list[str]:
        """Our ids of the tasks that the vendor has, with repeats if any came twice."""
        raise NotImplementedError

    def batches(self) -> int:
        """How many projects, queues or the like the vendor has."""
        raise NotImplementedError

    def received(self) -> bytes:
        """All that the vendor was ever sent, as it can read it."""
        raise NotImplementedError

    def answer(self, task_id: str, annotator: str, choice: str) -> None:
        """A person at the vendor answers the task. Each answers a task once."""
        raise NotImplementedError

    def change(self, task_id: str, annotator: str, choice: str) -> None:
        """Who answered the task answers it otherwise."""
        raise NotImplementedError

    def wants(self, task_id: str) -> int:
        """How many answers to the task the vendor comes to by itself, those given among them."""
        raise NotImplementedError

    def keeps_out(self, task_id: str) -> set[str]:
        """The vendor's ids of those who, as far as it knows or its files say, must not give the task's next answer."""
        raise NotImplementedError

    def id_of(self, annotator: str) -> str:
        """The vendor's id of that person; ids sort as names do."""
        return annotator

    def golds(self) -> dict[str, str]:
        """The vendor's gold answers by our task ids."""
        raise NotImplementedError

    def state(self) -> str:
        """Of the one batch: unlaunched, in_progress, paused or canceled, whatever the vendor calls it."""
        raise NotImplementedError

    def announcement(self, task_id: str) -> Delivery | None:
        """What the vendor posts to the callback address about the task's answers. None: it never calls."""
        return None

    def forgeries(self, task_id: str) -> list[Delivery]:
        """Callbacks about the task that are not the vendor's own; they must be refused for good."""
        return []

    def labels(
        self, adapter: LabelingAdapter, batch: OutgoingBatch, tasks: Sequence[OutgoingTask]
    ) -> list[IncomingLabel]:
        """The labels that have reached us, by polling; a vendor that only calls back hands its callbacks over."""
        return list(adapter.collect(batch, tasks))


class InHouseHarness(Harness):
    """Tasks that never leave the house: there is no vendor to look at."""
