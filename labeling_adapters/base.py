"""What every labeling vendor looks like from here. An adapter knows one vendor and nothing of the database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from engine.policies import Policy
from engine.snippets import Snippet

Move = Literal["launch", "pause", "resume", "cancel"]
"""What one may ask of a batch that a vendor holds. `launch` costs money and is never done by itself."""


class AdapterError(Exception):
    """A vendor could not be reached or refused. `permanent`: trying again is pointless.

    `retry_after`: seconds that the vendor asked to be left alone for.
    """

    def __init__(self, message: str, *, permanent: bool, retry_after: float | None = None) -> None:
        self.permanent = permanent
        self.retry_after = retry_after
        super().__init__(message)


class Forged(AdapterError):
    """A callback that is not, or not provably, the vendor's: its signature or secret is missing, wrong or old."""

    def __init__(self, message: str) -> None:
        super().__init__(message, permanent=True)


class NoCallbacks(AdapterError):
    """This vendor never calls."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} takes no callbacks", permanent=True)


class Said(NamedTuple):
    """An answer of a vendor's as it was taken last."""

    external_id: str
    choice: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class OutgoingBatch:
    """The tasks that go out together: a vendor's project, file or queue."""

    batch_id: str
    """Ours. A vendor's project carries it, so that it can be found again after a crash."""
    name: str
    """Ours. It can tell where the texts come from, so no vendor gets it."""
    policy: Policy
    remote_id: str = ""
    """The vendor's own id of it, as `open` gave it; empty before."""
    overlap: int = 1
    """How many annotators should judge each task."""
    callback_url: str = ""
    """Where the vendor may announce answers; holds a secret. Empty: none."""


@dataclass(frozen=True, slots=True)
class OutgoingTask:
    """A task as a vendor gets it: the text and how many more labels it wants, never its source, score or target."""

    task_id: str
    snippet: Snippet
    wanted: int
    answered_by: frozenset[str] = frozenset()
    """The vendor's annotators who judged this snippet before and must not again."""
    said: frozenset[Said] = frozenset()
    """Their answers to this task."""
    remote_id: str = ""
    """The vendor's own id of it, once it was sent."""
    gold: str | None = None
    """The right answer, where the task tests the annotator. Only for the vendor's own gold feature: never shown."""
    score: float | None = None
    """The classifier's score in [0, 1]; given only under a policy that is not blind."""
    total: int = 0
    """Of a task to be deepened: how many answers the vendor should come to in all, what it gave so far among them."""
    more: int = 0
    """How many of these it was not asked for yet, as far as we know."""
    rival: Snippet | None = None
    """The other completion, where two are compared: the answer is `left` (the snippet), `right` (the rival),
    `equally_good` or `equally_bad`."""


class Pushed(NamedTuple):
    """What became of one task that was sent, or was found at the vendor."""

    task_id: str
    remote_id: str = ""
    error: AdapterError | None = None
    """Why this task was refused, others of the same push notwithstanding."""
    gold: bool = True
    """False where the vendor's own gold feature knows no answer for it (yet): a task that is gold is pushed again."""


@dataclass(frozen=True, slots=True)
class IncomingLabel:
    """One answer as a vendor gives it."""

    task_id: str
    annotator: str
    """The vendor's own id of who answered; stable."""
    choice: str
    seconds: float | None = None
    external_id: str = ""
    """The vendor's own id of the answer: each is taken once, and again where the same person changes what it says."""
    note: str = ""


def is_new(label: IncomingLabel, task: OutgoingTask) -> bool:
    """Whether the answer is of somebody who did not judge the text before, or says otherwise than it did."""
    if label.annotator not in task.answered_by:
        return True
    before = {said.external_id: said for said in task.said}.get(label.external_id)
    return before is not None and (label.choice, label.note) != (before.choice, before.note)


class RefusedLabel(NamedTuple):
    """An answer that a vendor brings and that cannot be taken."""

    task_id: str
    """As the vendor names it; may be empty or anything."""
    reason: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """A request that a vendor made to our callback address, as it came."""

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""


class LabelingAdapter(Protocol):
    """A labeling vendor. Every call may be repeated, also after a crash in its middle, and then changes nothing more.

    Every call raises AdapterError, `permanent` where trying again is pointless. Adapters retry nothing themselves;
    `labeling_adapters.sending` and the jobs do.
    """

    name: str
    simulated: bool
    poll_seconds: float | None
    """How long to wait between two looks for labels; None: labels come in by themselves."""
    deepens: bool
    """Whether it must be told when a task that it holds comes to want more answers: then `deepen` is asked."""
    compares: bool
    """Whether tasks with a `rival` may be sent to it."""

    def open(self, batch: OutgoingBatch) -> str:
        """The vendor's id of the batch, which is made if the vendor has none with our `batch_id`."""

    def held(self, batch: OutgoingBatch) -> Iterator[Pushed]:
        """The tasks that the vendor has of this batch, by our ids. O(tasks); asked before sending again."""

    def push(self, batch: OutgoingBatch, tasks: Sequence[OutgoingTask]) -> list[Pushed]:
        """Sends tasks that the vendor does not hold yet, and says what became of each.

        One with a `remote_id` is there already, without its gold answer: only that is sent.
        """

    def deepen(self, batch: OutgoingBatch, tasks: Sequence[OutgoingTask]) -> list[Pushed]:
        """Asks for as many answers to tasks that the vendor holds as come to `total`; says what became of each.

        The further ones are by nobody of `answered_by`. Whoever asks twice for the same total gets it once: an adapter
        looks at what the vendor was asked for before it asks, or the vendor can tell a repeat.
        """

    def collect(self, batch: OutgoingBatch, tasks: Sequence[OutgoingTask]) -> Iterable[IncomingLabel]:
        """Labels given to these tasks so far, those collected before among them, but of nobody in `answered_by`.

        Where the vendor's people may change their answers, a changed one is among them: see `is_new`.
        """

    def receive(self, batch: OutgoingBatch, delivery: Delivery) -> Sequence[IncomingLabel | RefusedLabel]:
        """The labels that a callback brings or announces, once it is verified. Raises Forged where it is not.

        Where the callback lists them they keep its order, those that cannot be taken among them.
        """

    def move(self, batch: OutgoingBatch, move: Move) -> None:
        """Launches, pauses, resumes or cancels the batch at the vendor."""


@runtime_checkable
class Limited(Protocol):
    """An adapter that has so many annotators for a text and no more: what was recorded, say."""

    def most(self, snippet: Snippet) -> int:
        """How many different annotators it has for this text."""


class Settings(NamedTuple):
    """What an adapter is made from."""

    policy: Policy
    seed: int
    config: Mapping[str, Any]
    """The adapter's own settings, checked by it. Secrets are named by environment variable, never given."""


class InHouse:
    """The parts of the protocol that mean nothing to an adapter whose tasks never leave the house."""

    name: str
    deepens = False
    compares = True

    def open(self, batch: OutgoingBatch) -> str:
        """Nothing to make."""
        return batch.batch_id

    def held(self, batch: OutgoingBatch) -> Iterator[Pushed]:
        """Nothing is held elsewhere."""
        return iter(())

    def push(self, batch: OutgoingBatch, tasks: Sequence[OutgoingTask]) -> list[Pushed]:
        """Nothing to send: the tasks are where they are answered."""
        return [Pushed(task.task_id, task.task_id) for task in tasks]

    def deepen(self, batch: OutgoingBatch, tasks: Sequence[OutgoingTask]) -> list[Pushed]:
        """Nothing to ask: what a task wants is seen where it is answered."""
        return [Pushed(task.task_id, task.remote_id) for task in tasks]

    def receive(self, batch: OutgoingBatch, delivery: Delivery) -> list[IncomingLabel]:
        """Nobody calls back."""
        raise NoCallbacks(self.name)

    def move(self, batch: OutgoingBatch, move: Move) -> None:
        """The batch's own state is all there is."""
