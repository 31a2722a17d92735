"""Any platform that speaks HTTP: signed pushes of tasks out, signed callbacks of labels in.

docs/webhook_vendor.openapi.yaml is the contract, for the vendor to read. A repeat has the same `webhook-id` as what it
repeats, and a task keeps its id, so that a vendor who keeps either in mind takes nothing twice. A vendor with a
`status_url` is asked what it holds and which labels it has, so that what was lost on the way is found; without one
there is no asking, and all rests on the vendor's keeping our ids and repeating its callbacks until they are taken.
Gold tasks look like all others.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, HttpUrl, ValidationError

from engine.config import checked
from engine.errors import BadInput
from labeling_adapters.base import (
    AdapterError,
    Delivery,
    Forged,
    IncomingLabel,
    Move,
    OutgoingBatch,
    OutgoingTask,
    Pushed,
    RefusedLabel,
    Settings,
    is_new,
)
from labeling_adapters.choices import as_choice
from labeling_adapters.http import JsonClient, key_in
from labeling_adapters.shapes import Answer, Config, answered, problems
from labeling_adapters.signing import SEPARATOR, SignatureError, sign, verify

NAME = "webhook_vendor"
WHERE = f"adapter {NAME}"
MAX_LABELS = 1000
"""In one callback."""
EVENTS: dict[Move, str] = {
    "launch": "batch.launched",
    "pause": "batch.paused",
    "resume": "batch.resumed",
    "cancel": "batch.cancelled",
}


class WebhookVendorConfig(Config):
    """Where the vendor listens, and the name of the secret that both sides sign with."""

    url: HttpUrl
    secret_variable: str = "WEBHOOK_VENDOR_SECRET"  # noqa: S105
    """The environment variable that holds `whsec_...`; two, with a comma between, while they change over."""
    status_url: HttpUrl | None = None
    events: tuple[Literal["batch.launched", "batch.paused", "batch.resumed", "batch.cancelled"], ...] = (
        "batch.launched",
        "batch.paused",
        "batch.resumed",
        "batch.cancelled",
    )
    """Which moves the vendor is told of; of tasks it is always told."""
    poll_seconds: float = Field(300.0, ge=1)
    """Between two looks for labels that no callback brought; only with a `status_url`."""
    timeout_s: float = Field(30.0, gt=0)


class WebhookVendor:
    """A vendor behind an address."""

    name = NAME
    simulated = False
    deepens = True
    compares = False

    def __init__(self, settings: Settings) -> None:
        """Raises BadInput for a wrong setting, an environment variable that is not set, or a secret that is none."""
        config = checked(WebhookVendorConfig, settings.config, where=WHERE)
        self._config = config
        self.poll_seconds: float | None = config.poll_seconds if config.status_url else None
        self._secret = _secret(config.secret_variable)
        self._inbox = _Address(config.url, self._secret, config.timeout_s)
        status = config.status_url
        self._book = _Address(status, self._secret, config.timeout_s) if status else None

    def open(self, batch: OutgoingBatch) -> str:
        """Nothing to make: the batch travels with its tasks."""
        return batch.batch_id

    def held(self, batch: OutgoingBatch) -> Iterator[Pushed]:
        """What the vendor says it holds; nothing where it cannot be asked."""
        for task in self._status(batch):
            yield Pushed(task.id, task.remote_id or task.id)

    def push(self, batch: OutgoingBatch, tasks: Sequence[OutgoingTask]) -> list[Pushed]:
        """One message with all tasks. A vendor answers for each, or for all by an empty or any other JSON 2xx."""
        return self._tell("tasks.created", {"batch": _batch(batch), "tasks": [_task(task) for task in tasks]}, tasks)

    def deepen(self, batch: OutgoingBatch, tasks: Sequence[OutgoingTask]) -> list[Pushed]:
        """One message with all tasks, answered as a push is. It names totals, so that a repeat asks for nothing more,
        even where labels that came between make it another message."""
        deeper = [_deeper(task) for task in tasks]
        return self._tell("tasks.deepened", {"batch": {"id": batch.batch_id}, "tasks": deeper}, tasks)

    def collect(self, batch: OutgoingBatch, tasks: Sequence[OutgoingTask]) -> Iterator[IncomingLabel]:
        """The labels that the vendor reports where it can be asked; of who judged the text before, only changes."""
        wanted = {task.task_id: task for task in tasks}
        for held in self._status(batch) if wanted else ():
            task = wanted.get(held.id)
            labels = labels_in([{"task": held.id, **one} for one in held.labels], batch)
            good = [one for one in labels if isinstance(one, IncomingLabel)]
            yield from (one for one in good if task and is_new(one, task))

    def receive(self, batch: OutgoingBatch, delivery: Delivery) -> list[IncomingLabel | RefusedLabel]:
        """The labels of a callback, the bad ones with why they are bad. Raises Forged for a forged or an old one."""
        try:
            verify(self._secret, delivery.body, delivery.headers)
        except SignatureError as error:
            raise Forged(f"{NAME}: {error}") from None
        try:
            body = json.loads(delivery.body)
        except (ValueError, RecursionError):
            raise AdapterError(f"{NAME}: a callback whose body is no JSON", permanent=True) from None
        message = answered(_Message, body, where=f"{NAME}: callback")
        if message.type != "labels.created":
            return []
        return labels_in(answered(_Labels, message.data, where=f"{NAME}: callback: data").labels, batch)

    def move(self, batch: OutgoingBatch, move: Move) -> None:
        """Tells the vendor, if it wants to know. A move may be made again later, so each has an id of its own."""
        if EVENTS[move] in self._config.events:
            data = {"batch": {"id": batch.batch_id}}
            self._post(EVENTS[move], data, message_id=f"msg_{uuid.uuid4().hex}")

    def _tell(self, kind: str, data: dict[str, Any], tasks: Sequence[OutgoingTask]) -> list[Pushed]:
        answer = self._post(kind, data, message_id=message_id(kind, data))
        if not isinstance(answer, dict) or "results" not in answer:
            return [Pushed(task.task_id, task.remote_id or task.task_id) for task in tasks]
        results = answered(_Results, answer, where=NAME).results
        by_id = {result.id: result for result in results}
        return [_pushed(task, by_id.get(task.task_id)) for task in tasks]

    def _post(self, kind: str, data: dict[str, Any], *, message_id: str) -> Any:
        timestamp = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        body = json.dumps({"type": kind, "timestamp": timestamp, "data": data}).encode()
        return self._inbox.ask("POST", message_id, content=body)

    def _status(self, batch: OutgoingBatch) -> Iterator[_HeldTask]:
        """What the vendor has of the batch, page by page. The request is signed, with an empty body."""
        cursor: str | None = ""
        while self._book and cursor is not None:
            params = {"batch": batch.batch_id, **({"cursor": cursor} if cursor else {})}
            answer = self._book.ask("GET", f"msg_{uuid.uuid4().hex}", params=params)
            page = answered(_Status, answer, where=f"{NAME}: status")
            yield from page.tasks
            if page.next == cursor:
                raise AdapterError(f"{NAME}: status: the cursor does not move", permanent=True)
            cursor = page.next or None


class _Address:
    """An address to which signed requests go."""

    def __init__(self, url: HttpUrl, secret: str, timeout_s: float) -> None:
        parts = urlsplit(str(url))
        self._secret, self._path, self._query = secret, parts.path, dict(parse_qsl(parts.query))
        base = f"{parts.scheme}://{parts.netloc}"
        self._client = JsonClient(NAME, base, secrets=secret.split(SEPARATOR), timeout_s=timeout_s)

    def ask(self, verb: str, message_id: str, *, content: bytes = b"", params: Mapping[str, str] | None = None) -> Any:
        """The JSON that it answers; None if nothing."""
        headers = sign(self._secret, message_id, content)
        params = {**self._query, **(params or {})} or None
        return self._client.ask(verb, self._path, params=params, content=content or None, headers=headers)


class _Result(Answer):
    id: str
    status: Literal["accepted", "duplicate", "refused"]
    remote_id: str = ""
    error: str = ""
    permanent: bool = True


class _Results(Answer):
    results: list[_Result]


class _HeldTask(Answer):
    id: str
    remote_id: str = ""
    labels: list[dict[str, Any]] = []


class _Status(Answer):
    tasks: list[_HeldTask]
    next: str | None = None


class _Message(Answer):
    type: str
    data: dict[str, Any] = {}


class _Labels(Answer):
    labels: list[Any] = Field(min_length=1, max_length=MAX_LABELS)


class _Label(Answer):
    task: str = Field(min_length=1, max_length=200)
    annotator: str = Field(min_length=1, max_length=200)
    choice: str
    seconds: float | None = Field(None, ge=0, le=86_400 * 30, allow_inf_nan=False)
    id: str = Field("", max_length=200)
    note: str = Field("", max_length=5000)


def message_id(kind: str, data: Mapping[str, Any]) -> str:
    """The same for the same content, on any machine and in any year."""
    canonical = json.dumps([kind, data], sort_keys=True, separators=(",", ":"))
    return f"msg_{hashlib.sha256(canonical.encode()).hexdigest()[:32]}"


def labels_in(labels: Sequence[object], batch: OutgoingBatch) -> list[IncomingLabel | RefusedLabel]:
    """Labels one by one: the good are taken, whatever the others are."""
    return [_label(raw, batch.policy.choices) for raw in labels]


def _label(raw: object, choices: Sequence[str]) -> IncomingLabel | RefusedLabel:
    try:
        one = _Label.model_validate(raw)
    except ValidationError as error:
        return RefusedLabel(str(raw.get("task", "")) if isinstance(raw, dict) else "", problems(error))
    choice = as_choice(one.choice, choices)
    if choice not in choices:
        return RefusedLabel(one.task, f"choice: not one of {', '.join(choices)}")
    return IncomingLabel(one.task, one.annotator, choice, one.seconds, one.id, one.note)


def _batch(batch: OutgoingBatch) -> dict[str, Any]:
    """The batch's name stays here: it can tell where the texts come from."""
    policy = batch.policy
    return {
        "id": batch.batch_id,
        "question": policy.question,
        "choices": list(policy.choices),
        "guidelines": policy.guidelines,
        "overlap": batch.overlap,
        "callback_url": batch.callback_url,
    }


def _task(task: OutgoingTask) -> dict[str, Any]:
    return {
        "id": task.task_id,
        "prompt": task.snippet.prompt,
        "completion": task.snippet.completion,
        "wanted": task.wanted,
        "answered_by": sorted(task.answered_by),
    }


def _deeper(task: OutgoingTask) -> dict[str, Any]:
    return {"id": task.task_id, "total": task.total, "answered_by": sorted(task.answered_by)}


def _pushed(task: OutgoingTask, result: _Result | None) -> Pushed:
    if result is None:
        error = AdapterError(f"{NAME}: the answer says nothing of task {task.task_id}", permanent=False)
        return Pushed(task.task_id, error=error)
    if result.status == "refused":
        reason = result.error[:200] or "refused"
        return Pushed(task.task_id, error=AdapterError(f"{NAME}: {reason}", permanent=result.permanent))
    return Pushed(task.task_id, result.remote_id or task.remote_id or task.task_id)


def _secret(variable: str) -> str:
    """One secret or two. Raises BadInput that names the variable."""
    secret = key_in(variable, where=WHERE)
    try:
        sign(secret, "msg_check", b"")
    except BadInput as error:
        raise BadInput(f"the environment variable {variable}: {error}", where=WHERE) from None
    return secret
