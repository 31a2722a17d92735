"""Label Studio: a project a batch; tasks in by import, annotations out by looking, or sooner by webhook.

Tried with Community 1.23. What it cannot do: it has no assignment, so that an annotator who judged a text before may
meet it again, and no state of a project that keeps annotators out. Pause and cancel set `is_published`, which only
Enterprise heeds; with `delete_on_cancel` a cancelled batch's tasks that nobody answered are deleted, which ends the
work in either. A batch's overlap holds for all its tasks until one is deepened, which has an overlap of its own from
then on: answers beyond what a task wants are not counted here.
It calls back to no private address unless it is started with SSRF_PROTECTION_ENABLED=false; looking needs nothing.
"""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pydantic import Field, HttpUrl

from engine.config import checked
from labeling_adapters import label_studio_shapes as shapes
from labeling_adapters.base import (
    AdapterError,
    Delivery,
    Forged,
    IncomingLabel,
    Move,
    OutgoingBatch,
    OutgoingTask,
    Pushed,
    Settings,
    is_new,
)
from labeling_adapters.http import HttpRefusal, JsonClient, key_in
from labeling_adapters.shapes import Answer, Config, answered

NAME = "label_studio"
WHERE = f"adapter {NAME}"
PAGE = 500
LOOKED_AT_ONCE = 100
"""Tasks whose annotations are asked for in one request: their ids stand in its address."""
ACCESS_SECONDS = 240.0
"""A personal access token buys access for five minutes."""
ACTIONS = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED")
SECRET_HEADER = "X-Gauntlet-Secret"  # noqa: S105


class LabelStudioConfig(Config):
    """Where Label Studio is and how to use it."""

    url: HttpUrl
    key_variable: str = "LABEL_STUDIO_API_KEY"
    """The environment variable that holds the token."""
    auth: Literal["legacy", "pat"] = "pat"
    """`pat`: a personal access token; `legacy`: a legacy token, where the organisation allows it."""
    title_prefix: str = Field("Gauntlet", min_length=1, max_length=shapes.TITLE_CHARS - shapes.ID_CHARS - 1)
    """A project's title is this and the batch's id."""
    send_scores: bool = False
    """Show annotators the classifier's opinion, where the caller gives it: it does not if labels are blind."""
    webhook: bool = True
    """Ask to be told of answers, where there is a callback address. Label Studio tells once and waits one second."""
    webhook_secret_variable: str = ""
    """The environment variable that holds a secret which the webhook sends along."""
    delete_on_cancel: bool = False
    poll_seconds: float = Field(60.0, ge=1)
    timeout_s: float = Field(30.0, gt=0)


class LabelStudio:
    """A Label Studio server."""

    name = NAME
    simulated = False
    deepens = True
    compares = False

    def __init__(self, settings: Settings) -> None:
        """Raises BadInput for a wrong setting or an environment variable that is not set."""
        config = checked(LabelStudioConfig, settings.config, where=WHERE)
        self._config = config
        self.poll_seconds: float | None = config.poll_seconds
        self._url = str(config.url).rstrip("/")
        self._key = key_in(config.key_variable, where=WHERE)
        variable = config.webhook_secret_variable
        self._webhook_secret = key_in(variable, where=WHERE) if variable else ""
        self._client = self._with(f"Token {self._key}")
        self._access_until = 0.0

    def open(self, batch: OutgoingBatch) -> str:
        """The batch's project, made if there is none with its id; then its webhook and its overlap are as wanted."""
        found = self._known(batch) or self._made(batch)
        if found.maximum_annotations != batch.overlap:
            self._ask("PATCH", f"/api/projects/{found.id}/", body={"maximum_annotations": batch.overlap})
        if batch.callback_url and self._config.webhook:
            self._hook(found.id, batch.callback_url)
        return str(found.id)

    def held(self, batch: OutgoingBatch) -> Iterator[Pushed]:
        """The project's tasks that carry an id of ours, page by page."""
        for task in self._tasks(batch, fields="task_only", include="id,data"):
            if task.task_id:
                yield Pushed(task.task_id, str(task.id))

    def push(self, batch: OutgoingBatch, tasks: Sequence[OutgoingTask]) -> list[Pushed]:
        """Imports tasks. Label Studio takes all or none, so what it refuses is found by halving."""
        if not tasks:
            return []
        body = [shapes.imported(task, batch.policy, with_score=self._config.send_scores) for task in tasks]
        path = f"/api/projects/{batch.remote_id}/import"
        try:
            answer = self._ask("POST", path, params={"return_task_ids": "true"}, body=body)
        except HttpRefusal as refusal:
            if refusal.status not in {400, 413}:
                raise
            if len(tasks) == 1:
                return [Pushed(tasks[0].task_id, error=refusal)]
            half = len(tasks) // 2
            return self.push(batch, tasks[:half]) + self.push(batch, tasks[half:])
        ids = answered(shapes.Imported, answer, where=f"{NAME}: {path}").task_ids
        if len(ids) == len(tasks):
            return [Pushed(task.task_id, str(remote)) for task, remote in zip(tasks, ids, strict=True)]
        return self._found(batch, tasks)

    def deepen(self, batch: OutgoingBatch, tasks: Sequence[OutgoingTask]) -> list[Pushed]:
        """Raises the tasks' own overlap where it is lower and gives them out again, one request each.

        Who judged a text in this project is not given it again; who did so in another may be (see above).
        """
        there: dict[str, shapes.Task] = {}
        for ids in _by_hundreds(tasks):
            query, include = _query(("id", "in_list", "List", ids)), "id,data,overlap,is_labeled,total_annotations"
            found = self._tasks(batch, fields="task_only", include=include, query=query)
            there |= {str(one.id): one for one in found}
        return [self._deepened(task, there.get(task.remote_id)) for task in tasks]

    def collect(self, batch: OutgoingBatch, tasks: Sequence[OutgoingTask]) -> Iterator[IncomingLabel]:
        """Each user's latest annotation of these tasks; of those who judged the text before, only what they changed.

        A change is seen here while its task still wants answers, since such a task is read whole anyway; one to a task
        that has what it wants comes by webhook alone.

        One request for a hundred tasks, whatever the project holds; a task whose remote id is not known costs a walk
        through all that are answered.
        """
        wanted = {task.task_id: task for task in tasks}
        for query in _answered_among(tasks):
            for found in self._tasks(batch, fields="all", query=query):
                if task := wanted.get(found.task_id):
                    yield from (one for one in shapes.labels_of(found) if is_new(one, task))

    def receive(self, batch: OutgoingBatch, delivery: Delivery) -> list[IncomingLabel]:
        """The labels of the task that a webhook names, as Label Studio has them when asked again: it signs nothing."""
        given = delivery.headers.get(SECRET_HEADER.lower(), "")
        if self._webhook_secret and not hmac.compare_digest(given.encode(), self._webhook_secret.encode()):
            raise Forged(f"{NAME}: a webhook with a wrong {SECRET_HEADER}")
        try:
            body = json.loads(delivery.body)
        except (ValueError, RecursionError):
            raise AdapterError(f"{NAME}: a webhook whose body is no JSON", permanent=True) from None
        announced = answered(shapes.Announcement, body, where=f"{NAME}: webhook")
        if announced.action not in ACTIONS or announced.task is None:
            return []
        path = f"/api/tasks/{announced.task.id}/"
        try:
            task = answered(shapes.Task, self._ask("GET", path), where=f"{NAME}: {path}")
        except HttpRefusal as refusal:
            if refusal.status == 404:
                return []
            raise
        if str(task.project) != batch.remote_id or not task.task_id:
            raise AdapterError(f"{NAME}: a webhook for a task of another project", permanent=True)
        return shapes.labels_of(task)

    def move(self, batch: OutgoingBatch, move: Move) -> None:
        """Publishes the project or takes it back; deletes what nobody answered if the settings say so."""
        path = f"/api/projects/{batch.remote_id}/"
        self._ask("PATCH", path, body={"is_published": move in {"launch", "resume"}})
        if move == "cancel" and self._config.delete_on_cancel:
            body = {"filters": _filters(_UNANSWERED), "selectedItems": {"all": True, "excluded": []}}
            params = {"id": "delete_tasks", "project": batch.remote_id}
            if next(self._tasks(batch, fields="task_only", query=_query(_UNANSWERED)), None):
                self._ask("POST", "/api/dm/actions/", params=params, body=body)

    def _deepened(self, task: OutgoingTask, found: shapes.Task | None) -> Pushed:
        if found is None:
            gone = AdapterError(f"{NAME}: somebody deleted task {task.remote_id}", permanent=True)
            return Pushed(task.task_id, error=gone)
        lacking = found.total_annotations < task.total
        if found.overlap < task.total or (found.is_labeled and lacking):
            # Label Studio does not look again by itself whether a task with another overlap is done.
            body = {"overlap": max(found.overlap, task.total)} | ({"is_labeled": False} if lacking else {})
            self._ask("PATCH", f"/api/tasks/{found.id}/", body=body)
        return Pushed(task.task_id, task.remote_id)

    def _known(self, batch: OutgoingBatch) -> shapes.Project | None:
        """By its id; else the oldest that carries the batch's: two openings at once may have made two."""
        if batch.remote_id:
            path = f"/api/projects/{batch.remote_id}/"
            return answered(shapes.Project, self._ask("GET", path), where=f"{NAME}: {path}")
        params: dict[str, str | int] = {
            "title": batch.batch_id[: shapes.ID_CHARS],
            "include": "id,description,maximum_annotations",
            "ordering": "id",
            "page_size": 100,
            "page": 1,
        }
        found: list[shapes.Project] = []
        while True:
            page = answered(
                shapes.Projects, self._ask("GET", "/api/projects/", params=params), where=f"{NAME}: projects"
            )
            found += [one for one in page.results if one.description == shapes.marker(batch)]
            if not page.next:
                return min(found, key=lambda one: one.id, default=None)
            params["page"] = int(params["page"]) + 1

    def _made(self, batch: OutgoingBatch) -> shapes.Project:
        body = shapes.project(batch, prefix=self._config.title_prefix, show_predictions=self._config.send_scores)
        return answered(shapes.Project, self._ask("POST", "/api/projects/", body=body), where=f"{NAME}: new project")

    def _hook(self, project: int, url: str) -> None:
        for one in self._ask("GET", "/api/webhooks/", params={"project": project}) or []:
            if answered(shapes.Hook, one, where=f"{NAME}: webhooks").url == url:
                return
        headers = {SECRET_HEADER: self._webhook_secret} if self._webhook_secret else {}
        hook = {
            "url": url,
            "project": project,
            "send_payload": True,
            "send_for_all_actions": False,
            "actions": list(ACTIONS),
            "headers": headers,
        }
        self._ask("POST", "/api/webhooks/", body=hook)

    def _tasks(self, batch: OutgoingBatch, **params: str) -> Iterator[shapes.Task]:
        """The project's tasks, in order of their making. A page beyond the last is 404, so they are counted."""
        seen, page = 0, 1
        while True:
            asked = {"project": batch.remote_id, "page": page, "page_size": PAGE, **params}
            answer = answered(shapes.Tasks, self._ask("GET", "/api/tasks/", params=asked), where=f"{NAME}: tasks")
            yield from answer.tasks
            seen, page = seen + len(answer.tasks), page + 1
            if not answer.tasks or seen >= answer.total:
                return

    def _found(self, batch: OutgoingBatch, tasks: Sequence[OutgoingTask]) -> list[Pushed]:
        """Where the import names no ids (Enterprise works it off later): what is there by now."""
        there = {one.task_id: one for one in self.held(batch)}
        late = AdapterError(f"{NAME}: imported, but not there yet", permanent=False)
        return [there.get(task.task_id) or Pushed(task.task_id, error=late) for task in tasks]

    def _ask(self, verb: str, path: str, **rest: Any) -> Any:
        if self._config.auth == "pat" and time.monotonic() >= self._access_until:
            self._refresh()
        return self._client.ask(verb, path, **rest)

    def _refresh(self) -> None:
        """Buys access with the personal access token."""
        asked = time.monotonic()
        answer = self._with("").ask("POST", "/api/token/refresh/", body={"refresh": self._key})
        access = answered(_Access, answer, where=f"{NAME}: token").access
        self._client, self._access_until = self._with(f"Bearer {access}"), asked + ACCESS_SECONDS

    def _with(self, authorization: str) -> JsonClient:
        headers = {"Authorization": authorization} if authorization else {}
        kept = (self._key, self._webhook_secret)
        return JsonClient(NAME, self._url, headers=headers, secrets=kept, timeout_s=self._config.timeout_s)


class _Access(Answer):
    access: str


def _answered_among(tasks: Sequence[OutgoingTask]) -> Iterator[str]:
    """Queries that together find these tasks where they are answered."""
    if not all(task.remote_id for task in tasks):
        yield _query(_ANSWERED)
        return
    for ids in _by_hundreds(tasks):
        yield _query(("id", "in_list", "List", ids), _ANSWERED)


def _by_hundreds(tasks: Sequence[OutgoingTask]) -> Iterator[list[int]]:
    for start in range(0, len(tasks), LOOKED_AT_ONCE):
        yield [int(task.remote_id) for task in tasks[start : start + LOOKED_AT_ONCE]]


_Filter = tuple[str, str, str, Any]
_ANSWERED: _Filter = ("total_annotations", "greater", "Number", 0)
_UNANSWERED: _Filter = ("total_annotations", "equal", "Number", 0)


def _filters(*filters: _Filter) -> dict[str, Any]:
    """Filters of the data manager: column, operator, type and value, all of which must hold."""
    items = [
        {"filter": f"filter:tasks:{column}", "operator": operator, "type": kind, "value": value}
        for column, operator, kind, value in filters
    ]
    return {"conjunction": "and", "items": items}


def _query(*filters: _Filter) -> str:
    return json.dumps({"filters": _filters(*filters)}, separators=(",", ":"))
