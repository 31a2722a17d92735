"""Surge AI: people who label for pay. Written against the official client 1.5.20 and the published API pages.

A project gives each of its tasks to the same number of workers, and raising that number would pay for all. So where
tasks come to want more answers, a second project of the batch, with one worker a task, gets a copy of the task for each
further answer. A task cannot be kept from a worker, only a project from a team: from this one everybody is kept who
answered one of its tasks. It is launched, paused and cancelled with the first; a task that comes to a launched project
is given out at once, as the API's pages say.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from engine.config import checked
from labeling_adapters import surge_shapes as shapes
from labeling_adapters.base import (
    AdapterError,
    Delivery,
    IncomingLabel,
    Move,
    OutgoingBatch,
    OutgoingTask,
    Pushed,
    Settings,
)
from labeling_adapters.http import HttpRefusal, JsonClient, key_in
from labeling_adapters.surge_report import reported_tasks

SINGLY = 3
"""So few tasks are asked for one by one; more are found in the project's list."""
_BAD_TASK = frozenset({400, 409, 413, 422})
_DENIED = frozenset({401, 403, 429})
_LAUNCHED = frozenset({"in_progress", "completed"})
_THERE: dict[Move, set[str]] = {
    "launch": {"in_progress", "paused", "completed"},
    "pause": {"paused", "completed"},
    "resume": {"in_progress", "completed"},
    "cancel": {"canceled", "completed"},
}
"""States of a project in which a move has nothing left to do."""


class SurgeSettings(BaseModel):
    """How to ask, and whom. The number of workers a task is the batch's overlap."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: str = Field(
        default_factory=lambda: os.environ.get("SURGE_BASE_URL") or "https://app.surgehq.ai/api",
        pattern=r"^https?://[^\s]+$",
        validate_default=True,
    )
    key_variable: str = Field("SURGE_API_KEY", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """Environment variable that holds the key."""
    payment_per_response: float | None = Field(None, gt=0)
    """US dollars; none: as agreed with Surge."""
    private_workforce: bool = False
    """True: people of one's own, who are not paid through Surge."""
    qualifications_required: tuple[str, ...] = ()
    """Ids of teams."""
    qualifications_forbidden: tuple[str, ...] = ()
    tags: tuple[str, ...] = ("gauntlet",)
    poll_seconds: float = Field(300, gt=0)
    timeout_s: float = Field(30, gt=0)


class Surge:
    """A batch is a project, found again by its name; a task carries our id in a field and is found again by that."""

    name = "surge"
    simulated = False
    deepens = True
    compares = False

    def __init__(self, settings: Settings) -> None:
        where = f"adapter {self.name}"
        self._settings = checked(SurgeSettings, settings.config, where=where)
        self.poll_seconds: float | None = self._settings.poll_seconds
        key = key_in(self._settings.key_variable, where=where)
        self._http = JsonClient(self.name, self._settings.base_url, basic=(key, ""), timeout_s=self._settings.timeout_s)

    def open(self, batch: OutgoingBatch) -> str:
        """The id of the project with our batch's id in its name, which is made if there is none. O(projects)."""
        if batch.remote_id:
            return batch.remote_id
        name = f"{batch.policy.name} [gauntlet {batch.batch_id}]"
        made = self._named(name) or self._made(batch, name)
        return str(made["id"])

    def held(self, batch: OutgoingBatch) -> Iterator[Pushed]:
        """Our tasks in the project, each once."""
        seen = set()
        for task in self._tasks(batch):
            task_id = shapes.our_id(task)
            if task_id and task_id not in seen:
                seen.add(task_id)
                yield Pushed(task_id, str(task["id"]), gold=bool(task.get("is_gold_standard")))

    def push(self, batch: OutgoingBatch, tasks: Sequence[OutgoingTask]) -> list[Pushed]:
        """All in one request, never launched by it; then the gold answers, one request each."""
        made = self._create(batch, [task for task in tasks if not task.remote_id])
        return [self._with_gold(task, made.get(task.task_id) or Pushed(task.task_id, task.remote_id)) for task in tasks]

    def deepen(self, batch: OutgoingBatch, tasks: Sequence[OutgoingTask]) -> list[Pushed]:
        """Copies in the second project for the answers beyond those that the first one's workers give."""
        first = shapes.row(self._http.ask("GET", f"/projects/{_project_id(batch)}"), "projects")
        workers = shapes.workers(first)
        copies = [shapes.copied(task, batch, n) for task in tasks for n in range(workers + 1, task.total + 1)]
        if copies:
            team = self._kept_out(batch, tasks)
            second = self._named(_more(batch)) or self._made(batch, _more(batch), workers=1, forbidden=(team,))
            path = f"/projects/{second['id']}/tasks"
            there = {shapes.copy_of(task) for task in self._pages(path, "tasks", per_page=100)}
            if lacking := [copy for copy in copies if shapes.copy_of({"fields": copy}) not in there]:
                self._http.ask("POST", f"{path}/create_tasks", body={"tasks": lacking, "launch": False})
            if first.get("status") in _LAUNCHED and second.get("status") == "unlaunched":
                self._http.ask("PUT", f"/projects/{second['id']}/launch")
        return [Pushed(task.task_id, task.remote_id) for task in tasks]

    def collect(self, batch: OutgoingBatch, tasks: Sequence[OutgoingTask]) -> Iterator[IncomingLabel]:
        """From the projects' lists of tasks, or from a project's report where its list cannot be had."""
        wanted = {task.task_id: task for task in tasks}
        for found in self._wanted(batch, tasks):
            if task := wanted.get(shapes.our_id(found)):
                yield from shapes.labels(found, batch.policy, task.answered_by)

    def receive(self, batch: OutgoingBatch, delivery: Delivery) -> list[IncomingLabel]:
        """Surge signs nothing, so the body only names the task, which is fetched and must be of this batch."""
        try:
            said = json.loads(delivery.body)
        except (ValueError, RecursionError):
            said = None
        task_id = said.get("id") if isinstance(said, dict) else None
        # Whatever stands here becomes part of a path, and `GET /projects/…/delete` deletes.
        if not isinstance(task_id, str) or not re.fullmatch(r"[A-Za-z0-9-]{1,64}", task_id):
            raise AdapterError("surge: the callback names no task", permanent=True)
        task = shapes.row(self._http.ask("GET", f"/tasks/{task_id}"), "tasks")
        if not shapes.our_id(task) or (
            str(task.get("project_id")) != _project_id(batch) and shapes.batch_of(task) != batch.batch_id
        ):
            raise AdapterError("surge: the callback names a task that is not of this batch", permanent=True)
        return list(shapes.labels(task, batch.policy))

    def move(self, batch: OutgoingBatch, move: Move) -> None:
        """Asks for the project's state first: a launch costs money and must not come twice."""
        first = shapes.row(self._http.ask("GET", f"/projects/{_project_id(batch)}"), "projects")
        second = self._named(_more(batch))
        self._move(first, move)
        if second and second.get("status") != "unlaunched":
            self._move(second, move)
        elif second and move != "pause":
            self._move(second, "launch" if move == "resume" else move)

    def _move(self, project: shapes.Json, move: Move) -> None:
        if project.get("status") not in _THERE[move]:
            self._http.ask("PUT", f"/projects/{project['id']}/{move}")

    def _named(self, name: str) -> shapes.Json | None:
        """O(projects)."""
        return next((one for one in self._pages("/projects", "projects") if one.get("name") == name), None)

    def _made(
        self, batch: OutgoingBatch, name: str, *, workers: int | None = None, forbidden: tuple[str, ...] = ()
    ) -> shapes.Json:
        body = self._project(batch, name, workers or batch.overlap, forbidden)
        return shapes.row(self._http.ask("POST", "/projects", body=body), "projects")

    def _kept_out(self, batch: OutgoingBatch, tasks: Sequence[OutgoingTask]) -> str:
        """The id of the team of those who answered, as they are called in responses; made if there is none."""
        members = sorted({one for task in tasks for one in task.answered_by if not one.startswith(shapes.UNNAMED)})
        name = f"gauntlet {batch.batch_id}: answered"
        teams = shapes.rows(self._http.ask("GET", "/teams/list"), "teams")
        team = next((one for one in teams if one.get("name") == name), None)
        if team is None:
            body = {"name": name, "members": members, "description": "They get none of the same texts again."}
            team = shapes.row(self._http.ask("POST", "/teams", body=body), "teams")
        elif members:
            self._http.ask("POST", f"/teams/{team['id']}/add_surgers", body={"surger_ids": members})
        return str(team["id"])

    def _project(self, batch: OutgoingBatch, name: str, workers: int, forbidden: tuple[str, ...]) -> dict[str, Any]:
        settings = self._settings
        body: dict[str, Any] = {
            "name": name,
            "private_workforce": settings.private_workforce,
            "instructions": batch.policy.guidelines.strip() or batch.policy.question,
            "questions": [shapes.question(batch.policy)],
            "qualifications_required": list(settings.qualifications_required),
            "qualifications_forbidden": [*settings.qualifications_forbidden, *forbidden],
            "callback_url": batch.callback_url or None,
            "fields_template": shapes.TEMPLATE,
            "num_workers_per_task": workers,
            "tags": list(settings.tags),
            "description": None,
        }
        paid = settings.payment_per_response
        return body if paid is None else body | {"payment_per_response": paid}

    def _pages(self, path: str, what: str, **params: int) -> Iterator[shapes.Json]:
        """All rows of a list. A page holds as many as the vendor likes, so the one with nothing new is the last."""
        seen: set[object] = set()
        for page in itertools.count(1):
            found = shapes.rows(self._http.ask("GET", path, params={"page": page, **params}), what)
            fresh = [row for row in found if row["id"] not in seen]
            if not fresh:
                return
            seen.update(row["id"] for row in fresh)
            yield from fresh

    def _tasks(self, batch: OutgoingBatch) -> Iterator[shapes.Json]:
        return self._pages(f"/projects/{_project_id(batch)}/tasks", "tasks", per_page=100)

    def _create(self, batch: OutgoingBatch, tasks: Sequence[OutgoingTask]) -> dict[str, Pushed]:
        """What became of each. Where all are refused for the sake of some, they are sent again one by one."""
        if not tasks:
            return {}
        path = f"/projects/{_project_id(batch)}/tasks/create_tasks"
        body = {"tasks": [shapes.fields(task) for task in tasks], "launch": False}
        try:
            made = shapes.rows(self._http.ask("POST", path, body=body), "tasks")
        except HttpRefusal as error:
            if error.status not in _BAD_TASK:
                raise
            if len(tasks) == 1:
                return {tasks[0].task_id: Pushed(tasks[0].task_id, error=error)}
            # Surge does not say whether those before a bad task are kept.
            kept = {one.task_id: one for one in self.held(batch)}
            parts = [self._create(batch, [task]) for task in tasks if task.task_id not in kept]
            return kept | {task_id: one for part in parts for task_id, one in part.items()}
        remote_ids = {shapes.our_id(task): str(task["id"]) for task in made}
        if lost := [task for task in tasks if task.task_id not in remote_ids]:
            raise AdapterError(f"surge: did not say what became of {len(lost)} tasks", permanent=False)
        return {task.task_id: Pushed(task.task_id, remote_ids[task.task_id], gold=False) for task in tasks}

    def _with_gold(self, task: OutgoingTask, done: Pushed) -> Pushed:
        if task.gold is None or done.error:
            return done
        body = {"is_gold_standard": True, "answers": [task.gold], "explanations": []}
        try:
            self._http.ask("POST", f"/tasks/{done.remote_id}/gold-standards", body=body)
        except HttpRefusal as error:
            if error.status not in _BAD_TASK:
                raise
            return done._replace(error=error)
        return done._replace(gold=True)

    def _wanted(self, batch: OutgoingBatch, tasks: Sequence[OutgoingTask]) -> Iterator[shapes.Json]:
        if len(tasks) <= SINGLY and all(task.remote_id for task in tasks):
            yield from (found for task in tasks if (found := self._task(task.remote_id)))
        else:
            yield from self._listed(_project_id(batch))
        if (most := max((task.total for task in tasks), default=0)) > 1:
            first = shapes.row(self._http.ask("GET", f"/projects/{_project_id(batch)}"), "projects")
            if most > shapes.workers(first) and (second := self._named(_more(batch))):
                yield from self._listed(str(second["id"]))

    def _listed(self, project_id: str) -> Sequence[shapes.Json]:
        try:
            return list(self._pages(f"/projects/{project_id}/tasks", "tasks", per_page=100))
        except AdapterError as error:
            if isinstance(error, HttpRefusal) and error.status in _DENIED:
                raise
            return reported_tasks(self._http, project_id, error)

    def _task(self, remote_id: str) -> shapes.Json | None:
        """A task, None for one that somebody deleted at the vendor."""
        try:
            return shapes.row(self._http.ask("GET", f"/tasks/{remote_id}"), "tasks")
        except HttpRefusal as error:
            if error.status != 404:
                raise
            return None


def _more(batch: OutgoingBatch) -> str:
    """The name of the second project."""
    return f"{batch.policy.name} [gauntlet {batch.batch_id}, more]"


def _project_id(batch: OutgoingBatch) -> str:
    if not batch.remote_id:
        raise AdapterError("surge: the batch was never opened", permanent=True)
    return batch.remote_id
