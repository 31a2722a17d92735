"""A fake Label Studio: the few endpoints that the adapter asks, as Community 1.23.2 was seen to answer them.

Checked against the real one by tests/acceptance/test_label_studio.py, which runs the same adapter.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.labeling_adapters.http_server import HttpServer, Reply, Request, http_server

KEY = "legacy-0123456789abcdef"
PAT = "personal-access-token-0123"
ACCESS = "access-token-9876543210"
REFUSED = "UNPRINTABLE"
"""A completion that holds this is refused, as the real one refuses a task that lacks a key of the label config."""


def fails(status: int, detail: str, **more: Any) -> Reply:
    return Reply(status, {"id": "e1", "status_code": status, "version": "1.23.2", "detail": detail, **more})


@dataclass
class LabelStudioServer:
    """What it holds. `users` are annotators by name; ids are given in order."""

    projects: dict[int, dict[str, Any]] = field(default_factory=dict)
    tasks: dict[int, dict[str, Any]] = field(default_factory=dict)
    hooks: list[dict[str, Any]] = field(default_factory=list)
    users: list[str] = field(default_factory=list)
    refreshed: int = 0
    names_ids: bool = True
    """Enterprise answers an import without the ids."""
    clock: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    annotations: int = 0

    def annotate(self, task: dict[str, Any], user: str, choice: str, **more: Any) -> dict[str, Any]:
        """A user submits, or skips, a task."""
        if user not in self.users:
            self.users.append(user)
        self.annotations += 1
        self.clock += timedelta(seconds=1)
        value = {"choices": [choice]}
        one = {
            "id": self.annotations,
            "completed_by": self.users.index(user) + 1,
            "result": [{"from_name": "answer", "to_name": "completion", "type": "choices", "value": value}],
            "was_cancelled": False,
            "ground_truth": False,
            "lead_time": 2.5,
            "created_at": self.now(),
            "updated_at": self.now(),
            **more,
        }
        task["annotations"].append(one)
        self.look_at(task)
        return one

    def change(self, task: dict[str, Any], user: str, choice: str) -> None:
        """The user's annotation is edited and keeps its id."""
        self.clock += timedelta(seconds=1)
        (one,) = (one for one in task["annotations"] if one["completed_by"] == self.users.index(user) + 1)
        one["result"] = [{**one["result"][0], "value": {"choices": [choice]}}]
        one["updated_at"] = self.now()

    def now(self) -> str:
        return self.clock.isoformat().replace("+00:00", "Z")

    def look_at(self, task: dict[str, Any]) -> None:
        """Counts its annotations, as happens when one is made: then alone it is seen whether it is done."""
        task["total_annotations"] = sum(not one["was_cancelled"] for one in task["annotations"])
        task["is_labeled"] = task["total_annotations"] >= task["overlap"]

    def next_for(self, user: str) -> list[int]:
        """What a user is given to label: what is not done and what they did not answer."""
        me = self.users.index(user) + 1 if user in self.users else 0
        return [
            pk
            for pk, task in self.tasks.items()
            if not task["is_labeled"] and me not in {one["completed_by"] for one in task["annotations"]}
        ]

    def answer(self, request: Request) -> Reply:
        """Who asks, then what."""
        if request.path == "/api/token/refresh/":
            self.refreshed += 1
            good = request.json() == {"refresh": PAT}
            return Reply(200, {"access": ACCESS}) if good else fails(401, "Token is invalid")
        if request.headers.get("authorization") not in {f"Token {KEY}", f"Bearer {ACCESS}"}:
            return fails(401, "Invalid token.")
        match [request.verb, *request.path.strip("/").split("/")]:
            case ["GET", "api", "projects"]:
                return self.list_projects(request)
            case ["POST", "api", "projects"]:
                return self.make_project(request)
            case ["GET", "api", "projects", pk] if int(pk) in self.projects:
                return Reply(200, self.projects[int(pk)])
            case ["PATCH", "api", "projects", pk] if int(pk) in self.projects:
                self.projects[int(pk)].update(json.loads(request.body))
                return Reply(200, self.projects[int(pk)])
            case ["POST", "api", "projects", pk, "import"] if int(pk) in self.projects:
                return self.import_tasks(int(pk), json.loads(request.body))
            case ["GET", "api", "tasks"]:
                return self.list_tasks(request)
            case ["GET", "api", "tasks", pk] if int(pk) in self.tasks:
                return Reply(200, self.single(self.tasks[int(pk)]))
            case ["PATCH", "api", "tasks", pk] if int(pk) in self.tasks:
                change = json.loads(request.body)
                assert change.keys() <= {"overlap", "is_labeled"}
                self.tasks[int(pk)].update(change)
                return Reply(200, self.tasks[int(pk)])
            case ["GET", "api", "webhooks"]:
                return Reply(200, [one for one in self.hooks if str(one["project"]) == request.query["project"][0]])
            case ["POST", "api", "webhooks"]:
                self.hooks.append(json.loads(request.body))
                return Reply(201, self.hooks[-1])
            case ["POST", "api", "dm", "actions"] if request.query["id"] == ["delete_tasks"]:
                return self.delete_tasks(request)
        return fails(404, "Not found.")

    def list_projects(self, request: Request) -> Reply:
        size, page = int(request.query["page_size"][0]), int(request.query["page"][0])
        wanted = request.query["title"][0].lower()
        found = [one for one in self.projects.values() if wanted in one["title"].lower()]
        shown = request.query["include"][0].split(",")
        part = [{key: one[key] for key in shown} for one in found[(page - 1) * size : page * size]]
        following = "http://elsewhere/?page=2" if len(found) > page * size else None
        return Reply(200, {"count": len(found), "next": following, "previous": None, "results": part})

    def make_project(self, request: Request) -> Reply:
        body = json.loads(request.body)
        if not 3 <= len(body["title"]) <= 50:
            return fails(400, "Validation error", validation_errors={"title": ["between 3 and 50 characters"]})
        pk = len(self.projects) + 1
        self.projects[pk] = {"id": pk, "maximum_annotations": 1, **body}
        return Reply(201, self.projects[pk])

    def import_tasks(self, project: int, body: list[dict[str, Any]]) -> Reply:
        bad = [REFUSED in one["data"]["completion"] for one in body]
        if any(bad):
            errors = [f"Error at item {i}: no" if wrong else {} for i, wrong in enumerate(bad)]
            return fails(400, "Validation error", validation_errors={"non_field_errors": errors})
        first = max(self.tasks, default=0) + 1
        for pk, one in enumerate(body, first):
            counted = {"overlap": self.projects[project]["maximum_annotations"], "is_labeled": False}
            self.tasks[pk] = {"id": pk, "project": project, "annotations": [], "predictions": [], **counted, **one}
            self.tasks[pk]["total_annotations"] = 0
        ids = {"task_ids": list(range(first, first + len(body)))} if self.names_ids else {"import": 1}
        return Reply(201, {"task_count": len(body), **ids})

    def list_tasks(self, request: Request) -> Reply:
        query = json.loads(request.query.get("query", ["{}"])[0])
        found = self.filtered(int(request.query["project"][0]), query.get("filters", {"items": []}))
        size, page = int(request.query["page_size"][0]), int(request.query["page"][0])
        part = found[(page - 1) * size : page * size]
        if page > 1 and not part:
            return fails(404, "Invalid page.")
        shown = request.query.get("include", [""])[0].split(",")
        rows = [{key: value for key, value in one.items() if key in shown or shown == [""]} for one in part]
        if request.query["fields"] == ["task_only"]:
            rows = [{key: value for key, value in row.items() if key != "annotations"} for row in rows]
        return Reply(200, {"total": len(found), "total_annotations": 0, "total_predictions": 0, "tasks": rows})

    def filtered(self, project: int, filters: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            one
            for one in self.tasks.values()
            if one["project"] == project and all(self.passes(one, item) for item in filters["items"])
        ]

    def passes(self, task: dict[str, Any], item: dict[str, Any]) -> bool:
        counted = sum(not one["was_cancelled"] for one in task["annotations"])
        column = {"filter:tasks:id": task["id"], "filter:tasks:total_annotations": counted}[item["filter"]]
        match item["operator"], item["type"]:
            case "in_list", "List":
                return column in item["value"]
            case "greater", "Number":
                return column > item["value"]
            case "equal", "Number":
                return column == item["value"]
        raise AssertionError(f"no such filter: {item}")

    def delete_tasks(self, request: Request) -> Reply:
        body = json.loads(request.body)
        assert body["selectedItems"] == {"all": True, "excluded": []}
        gone = self.filtered(int(request.query["project"][0]), body["filters"])
        for one in gone:
            del self.tasks[one["id"]]
        return Reply(200, {"processed_items": len(gone), "detail": f"Deleted {len(gone)} tasks"})

    def single(self, task: dict[str, Any]) -> dict[str, Any]:
        """A task by itself has whole users where a list has their ids."""
        annotations = [{**one, "completed_by": {"id": one["completed_by"]}} for one in task["annotations"]]
        return {**task, "annotations": annotations}


@contextmanager
def label_studio_server() -> Iterator[tuple[LabelStudioServer, HttpServer]]:
    fake = LabelStudioServer()
    with http_server(fake.answer) as server:
        yield fake, server
