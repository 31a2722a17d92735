"""A fake Surge: a real server on loopback that keeps projects, tasks and responses in memory, as the API would.

Verbs, paths, authentication and shapes are those of the official client 1.5.20 and of the API's documentation; it is
strict about them, so that a request which the real Surge may refuse is refused here. Where the two leave a thing open
(what a bad task gets, what a second launch gets) it answers with 422.
"""

from __future__ import annotations

import base64
import gzip
import itertools
import json
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2

from labeling_adapters.base import Delivery
from tests.labeling_adapters.harness import Harness
from tests.labeling_adapters.http_server import HttpServer, Reply, Request, http_server

KEY = "SURGEKEY42XW"
BAD = "unspeakable"
"""A task with this word in a field is refused."""
STATES = {
    "launch": ({"unlaunched"}, "in_progress"),
    "pause": ({"in_progress"}, "paused"),
    "resume": ({"paused"}, "in_progress"),
    "cancel": ({"unlaunched", "in_progress", "paused"}, "canceled"),
}
"""From which states a project can be moved, and to which."""
REQUIRED = {"name", "questions"}
KNOWN = REQUIRED | {
    "private_workforce",
    "instructions",
    "qualifications_required",
    "qualifications_forbidden",
    "callback_url",
    "fields_template",
    "num_workers_per_task",
    "tags",
    "description",
    "payment_per_response",
}
REPORTS = {"export_json", "export_json_aggregated", "export_csv", "export_csv_aggregated", "export_csv_flattened"}
QUESTION_READ_KEYS = {
    "preexisting_annotations": None,
    "require_tie_breaker": False,
    "shown_by_item_option_id": None,
    "hidden_by_item_option_id": None,
    "holistic": False,
}


class Refused(Exception):
    """What a request gets instead of an answer."""

    def __init__(self, status: int, message: str) -> None:
        self.reply = Reply(status, {"error": message})


@dataclass
class FakeSurge:
    """State, and how it answers. `base_url` is set once it is served."""

    base_url: str = ""
    old_shape: bool = False
    """Responses as in 2021: `response_data`, `created_at`, no worker."""
    keyed_by: str = "text"
    """What answers are keyed by: the question's `text` or `label`."""
    page_size: int = 25
    """Tasks a page, however many are asked for."""
    keeps_before_bad: bool = False
    """Of many tasks, those before a bad one stay, though the request is refused."""
    flat_report: bool = False
    """The report's rows are responses, not tasks."""
    report_states: list[str] = field(default_factory=list)
    """What the next looks at a report say before it is ready: CREATING, then IN_PROGRESS or RETRYING, or ERROR."""
    projects: dict[str, dict[str, Any]] = field(default_factory=dict)
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    teams: dict[str, dict[str, Any]] = field(default_factory=dict)
    reports: dict[str, bytes] = field(default_factory=dict)
    launches: int = 0
    clock: itertools.count[int] = field(default_factory=itertools.count)

    def answer(self, request: Request) -> Reply:
        """One request. Presigned downloads need no key, everything else does."""
        if request.path.startswith("/presigned/"):
            return self._download(request)
        if request.headers.get("authorization") != "Basic " + base64.b64encode(f"{KEY}:".encode()).decode():
            return Reply(401, {"error": "Invalid API key"})
        if request.body and request.headers.get("content-type") != "application/json":
            return Reply(415, {"error": "not JSON"})
        for verb, pattern, action in self.routes():
            found = re.fullmatch(f"/api{pattern}", request.path)
            if found and request.verb in verb.split("|"):
                try:
                    return Reply(200, action(request, *found.groups()))
                except Refused as refused:
                    return refused.reply
        return Reply(404, {"error": f"no route for {request.verb} {request.path}"})

    def routes(self) -> list[tuple[str, str, Callable[..., object]]]:
        one = "([0-9a-f-]{36})"
        return [
            ("POST", "/projects", self.create_project),
            ("GET", "/projects", self.list_projects),
            ("GET", f"/projects/{one}", lambda request, pid: self.project(pid)),
            ("GET", f"/projects/{one}/delete", self.delete_project),
            ("PUT|POST", f"/projects/{one}/(launch|pause|resume|cancel)", self.move),
            ("POST", f"/projects/{one}/tasks", self.create_task),
            ("POST", f"/projects/{one}/tasks/create_tasks", self.create_tasks),
            ("GET", f"/projects/{one}/tasks", self.list_tasks),
            ("GET", f"/tasks/{one}", lambda request, tid: self.shown(self.task(tid))),
            ("POST", f"/tasks/{one}/gold-standards", self.set_gold),
            ("POST", f"/tasks/{one}/create-response", self.create_response),
            ("POST", f"/projects/{one}/report", self.report),
            ("GET", f"/projects/{one}/report_status", self.report_status),
            ("GET", "/teams/list", lambda request: list(self.teams.values())),
            ("POST", "/teams", self.create_team),
            ("POST", f"/teams/{one}/add_surgers", self.add_surgers),
        ]

    def create_project(self, request: Request) -> object:
        body = mapping(request)
        if missing := REQUIRED - body.keys():
            raise Refused(422, f"missing: {sorted(missing)}")
        if unknown := body.keys() - KNOWN:
            raise Refused(422, f"unknown: {sorted(unknown)}")
        if not all(q.get("text") and len(q.get("options") or ()) >= 2 for q in body["questions"]):
            raise Refused(422, "a question wants a text and options")
        questions = [{**QUESTION_READ_KEYS, **question, "id": self.new_id()} for question in body["questions"]]
        project = {"num_workers_per_task": 1, **body, "questions": questions, "status": "unlaunched"}
        project |= {"id": self.new_id(), "created_at": self.now()}
        self.projects[project["id"]] = project
        return project

    def create_team(self, request: Request) -> object:
        body = mapping(request)
        if body.keys() != {"name", "members", "description"}:
            raise Refused(422, "name, members and description are wanted")
        team = {"id": self.new_id(), "created_at": self.now(), **body}
        self.teams[team["id"]] = team
        return team

    def add_surgers(self, request: Request, team_id: str) -> object:
        if team_id not in self.teams:
            raise Refused(404, "no such team")
        team = self.teams[team_id]
        team["members"] = sorted({*team["members"], *mapping(request)["surger_ids"]})
        return team

    def kept_out(self, project: dict[str, Any]) -> set[str]:
        """The members of the teams to which a project is forbidden."""
        teams = [self.teams[key] for key in project.get("qualifications_forbidden", ()) if key in self.teams]
        return {member for team in teams for member in team["members"]}

    def list_projects(self, request: Request) -> object:
        newest_first = list(self.projects.values())[::-1]
        return page_of(newest_first, request, 100)

    def delete_project(self, request: Request, project_id: str) -> object:
        del self.projects[self.project(project_id)["id"]]
        return {"success": True}

    def move(self, request: Request, project_id: str, move: str) -> object:
        project, (sources, target) = self.project(project_id), STATES[move]
        if project["status"] not in sources:
            raise Refused(422, f"cannot {move} a project that is {project['status']}")
        self.launches += move == "launch"
        project["status"] = target
        return project

    def create_task(self, request: Request, project_id: str) -> object:
        return self.shown(self.add_task(project_id, mapping(request)["fields"]))

    def create_tasks(self, request: Request, project_id: str) -> object:
        body = mapping(request)
        if body.keys() != {"tasks", "launch"} or not body["tasks"]:
            raise Refused(422, "tasks and launch are wanted")
        if body["launch"]:
            self.move(request, project_id, "launch")
        for fields in body["tasks"] if not self.keeps_before_bad else []:
            self.check_fields(fields)
        return [self.shown(self.add_task(project_id, fields)) for fields in body["tasks"]]

    def check_fields(self, fields: object) -> None:
        if not isinstance(fields, dict) or not all(isinstance(value, str) for value in fields.values()):
            raise Refused(422, "fields must be texts")
        if any(BAD in value for value in fields.values()):
            raise Refused(422, "a field holds what is not allowed")

    def add_task(self, project_id: str, fields: dict[str, str]) -> dict[str, Any]:
        self.check_fields(fields)
        if self.project(project_id)["status"] == "canceled":
            raise Refused(422, "the project is canceled")
        task = {"id": self.new_id(), "project_id": project_id, "status": "created", "created_at": self.now()}
        task |= {"fields": fields, "is_gold_standard": False, "gold_standards_data": None, "responses": []}
        self.tasks[task["id"]] = task
        return task

    def list_tasks(self, request: Request, project_id: str) -> object:
        project = self.project(project_id)
        tasks = [self.shown(task) for task in self.tasks.values() if task["project_id"] == project["id"]]
        return page_of(tasks, request, min(self.page_size, int(request.query.get("per_page", ["25"])[0])))

    def set_gold(self, request: Request, task_id: str) -> object:
        body, task = mapping(request), self.task(task_id)
        if body.keys() != {"is_gold_standard", "answers", "explanations"}:
            raise Refused(422, "is_gold_standard, answers and explanations are wanted")
        self.check_answers(task, body["answers"])
        task["is_gold_standard"], task["gold_standards_data"] = body["is_gold_standard"], body["answers"]
        return self.shown(task)

    def create_response(self, request: Request, task_id: str) -> object:
        body = mapping(request)
        return self.respond(self.task(task_id), body["answers"], body["worker_id"])

    def respond(self, task: dict[str, Any], answers: list[str], worker: str | None) -> dict[str, Any]:
        """A worker's response; the task is complete with as many as the project wants."""
        self.check_answers(task, answers)
        project = self.project(task["project_id"])
        if worker in self.kept_out(project):
            raise Refused(422, "the project is forbidden to this worker")
        data = {q[self.keyed_by] or q["text"]: a for q, a in zip(project["questions"], answers, strict=True) if a}
        response = {"id": self.new_id(), "data": data, "completed_at": self.now(), "worker_id": worker}
        task["responses"].append(response)
        if len(task["responses"]) >= project["num_workers_per_task"]:
            task["status"] = "completed"
        return response

    def check_answers(self, task: dict[str, Any], answers: list[str]) -> None:
        questions = self.project(task["project_id"])["questions"]
        if len(answers) != len(questions):
            raise Refused(422, "one answer for each question")
        if any(answer and answer not in q["options"] for q, answer in zip(questions, answers, strict=True)):
            raise Refused(422, "an answer is none of the options")

    def shown(self, task: dict[str, Any]) -> dict[str, Any]:
        responses = task["responses"]
        if self.old_shape:
            responses = [
                {"id": r["id"], "response_data": r["data"], "created_at": r["completed_at"]} for r in responses
            ]
        return {**task, "responses": responses, "is_complete": task["status"] == "completed"}

    def report(self, request: Request, project_id: str) -> object:
        if mapping(request).get("report_type") not in REPORTS:
            raise Refused(422, "no such report")
        tasks = [self.shown(task) for task in self.tasks.values() if task["project_id"] == project_id]
        if not any(task["responses"] for task in tasks):
            return {"error": "Project has no responses"}
        if self.flat_report:
            tasks = [
                {
                    **task["fields"],
                    **r["data"],
                    "task_id": task["id"],
                    "response_id": r["id"],
                    "worker_id": r["worker_id"],
                }
                for task in tasks
                for r in task["responses"]
            ]
        self.reports[project_id] = gzip.compress(json.dumps(tasks).encode())
        if self.report_states:
            return {"status": self.report_states.pop(0), "job_id": f"job-{project_id}"}
        return {"status": "READY", **self.presigned(project_id)}

    def report_status(self, request: Request, project_id: str) -> object:
        if request.query.get("job_id") != [f"job-{project_id}"]:
            raise Refused(404, "no such job")
        state = self.report_states.pop(0) if self.report_states else "COMPLETED"
        if state == "ERROR":
            raise Refused(400, "ERROR")
        return {"status": state, **(self.presigned(project_id) if state == "COMPLETED" else {})}

    def presigned(self, project_id: str) -> dict[str, object]:
        return {"url": f"{self.base_url}/presigned/{project_id}.gz?signature=s1gned", "expires_in_seconds": 60}

    def _download(self, request: Request) -> Reply:
        if request.query.get("signature") != ["s1gned"] or "authorization" in request.headers:
            return Reply(403, "<?xml version='1.0'?><Error>AccessDenied</Error>")
        return Reply(200, self.reports[request.path.removeprefix("/presigned/").removesuffix(".gz")])

    def project(self, project_id: str) -> dict[str, Any]:
        if project_id not in self.projects:
            raise Refused(404, "no such project")
        return self.projects[project_id]

    def task(self, task_id: str) -> dict[str, Any]:
        if task_id not in self.tasks:
            raise Refused(404, "no such task")
        return self.tasks[task_id]

    def new_id(self) -> str:
        return str(uuid.UUID(int=next(self.clock) + (1 << 100)))

    def now(self) -> str:
        return (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=next(self.clock))).isoformat()


def mapping(request: Request) -> dict[str, Any]:
    body = request.json()
    if not isinstance(body, dict):
        raise Refused(400, "an object is wanted")
    return body


def page_of(rows: list[dict[str, Any]], request: Request, size: int) -> list[dict[str, Any]]:
    start = (int(request.query.get("page", ["1"])[0]) - 1) * size
    return rows[start : start + size]


class SurgeHarness(Harness):
    """The fake Surge, its workers and its faults."""

    sends = gold = moves = http = True
    refuses = BAD
    environment = {"SURGE_API_KEY": KEY}
    key_variable = "SURGE_API_KEY"
    steps = ((httpx2.HTTPTransport, "handle_request"),)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.surge = FakeSurge(page_size=3)
        self.server: HttpServer = self.stack.enter_context(http_server(self.surge.answer))
        self.surge.base_url = self.server.base_url
        self.config = {"base_url": f"{self.server.base_url}/api", "timeout_s": 0.3}

    def holds(self) -> list[str]:
        fields = [task["fields"] for task in self.surge.tasks.values()]
        return [each["gauntlet_task"] for each in fields if "gauntlet_answer" not in each]

    def batches(self) -> int:
        return len([one for one in self.surge.projects.values() if not one["name"].endswith(", more]")])

    def copies(self, task_id: str) -> list[dict[str, Any]]:
        """The task and its copies, in order of their making."""
        return [task for task in self.surge.tasks.values() if task["fields"]["gauntlet_task"] == task_id]

    def wants(self, task_id: str) -> int:
        projects = [self.surge.project(task["project_id"]) for task in self.copies(task_id)]
        return sum(project["num_workers_per_task"] for project in projects)

    def keeps_out(self, task_id: str) -> set[str]:
        return self.surge.kept_out(self.surge.project(self.copies(task_id)[-1]["project_id"]))

    def received(self) -> bytes:
        return b"\n".join(request.body for request in self.server.requests)

    def task(self, task_id: str) -> dict[str, Any]:
        return self.copies(task_id)[0]

    def answer(self, task_id: str, annotator: str, choice: str) -> None:
        waiting = [task for task in self.copies(task_id) if task["status"] != "completed"]
        self.surge.respond((waiting or [self.task(task_id)])[0], [choice], annotator)

    def golds(self) -> dict[str, str]:
        golds = [task for task in self.surge.tasks.values() if task["is_gold_standard"]]
        return {task["fields"]["gauntlet_task"]: task["gold_standards_data"][0] for task in golds}

    def state(self) -> str:
        first, *_ = self.surge.projects.values()
        return str(first["status"])

    def announcement(self, task_id: str) -> Delivery:
        """Of the task or the copy that was answered last."""
        answered = [task for task in self.copies(task_id) if task["responses"]]
        return Delivery(json.dumps(self.surge.shown((answered or self.copies(task_id))[-1])).encode())

    def forgeries(self, task_id: str) -> list[Delivery]:
        """Tasks that are not there, that are another project's, and ids that would be another path."""
        project, *_ = self.surge.projects.values()
        other = self.surge.create_project(Request("POST", "", {}, {}, json.dumps(ANOTHER).encode()))
        foreign = self.surge.add_task(other["id"], {"gauntlet_task": task_id})  # type: ignore[index]
        ids = [str(uuid.UUID(int=7)), foreign["id"], f"../projects/{project['id']}/delete", "", None, {"id": 1}]
        return [Delivery(json.dumps({"id": each, "responses": []}).encode()) for each in ids]


ANOTHER = {"name": "Another's", "questions": [{"text": "Which?", "label": "", "options": ["Yes", "No"]}]}
