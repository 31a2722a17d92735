"""Label Studio, faked, under the contract."""

from __future__ import annotations

import json
from pathlib import Path

from labeling_adapters.base import Delivery
from labeling_adapters.http import JsonClient
from tests.labeling_adapters.harness import Harness
from tests.labeling_adapters.label_studio_server import KEY, REFUSED, label_studio_server

SECRET = "a-secret-for-webhooks"


class LabelStudioHarness(Harness):
    sends = True
    http = True
    changes = True
    refuses = REFUSED
    environment = {"LABEL_STUDIO_API_KEY": KEY, "LABEL_STUDIO_WEBHOOK_SECRET": SECRET}
    key_variable = "LABEL_STUDIO_API_KEY"
    steps = ((JsonClient, "ask"),)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.fake, self.server = self.stack.enter_context(label_studio_server())
        self.fake.users = ["ann", "bob", "cleo", "dora"]
        self.config = {
            "url": self.server.base_url,
            "auth": "legacy",
            "webhook_secret_variable": "LABEL_STUDIO_WEBHOOK_SECRET",
            "timeout_s": 0.3,
        }

    def holds(self) -> list[str]:
        return [task["data"]["task"] for task in self.fake.tasks.values()]

    def batches(self) -> int:
        return len(self.fake.projects)

    def received(self) -> bytes:
        return json.dumps([self.fake.projects, self.fake.tasks], ensure_ascii=False).encode()

    def answer(self, task_id: str, annotator: str, choice: str) -> None:
        self.fake.annotate(self.task(task_id), annotator, choice)

    def change(self, task_id: str, annotator: str, choice: str) -> None:
        self.fake.change(self.task(task_id), annotator, choice)

    def wants(self, task_id: str) -> int:
        task = self.task(task_id)
        return task["total_annotations"] if task["is_labeled"] else task["overlap"]

    def keeps_out(self, task_id: str) -> set[str]:
        pk = self.task(task_id)["id"]
        return {self.id_of(user) for user in self.fake.users if pk not in self.fake.next_for(user)}

    def id_of(self, annotator: str) -> str:
        return str(self.fake.users.index(annotator) + 1)

    def announcement(self, task_id: str) -> Delivery:
        task = self.task(task_id)
        changed = any(one["updated_at"] != one["created_at"] for one in task["annotations"])
        action = "ANNOTATION_UPDATED" if changed else "ANNOTATION_CREATED"
        body = {"action": action, "annotation": {"id": 1}, "task": {"id": task["id"], "data": {}}}
        return Delivery(json.dumps(body).encode(), {"x-gauntlet-secret": SECRET})

    def forgeries(self, task_id: str) -> list[Delivery]:
        true = self.announcement(task_id)
        other = {"id": 999, "project": 2, "data": {"task": task_id}, "annotations": []}
        self.fake.tasks[999] = other
        foreign = json.dumps({"action": "ANNOTATION_CREATED", "task": {"id": 999}}).encode()
        return [
            Delivery(true.body, {}),
            Delivery(true.body, {"x-gauntlet-secret": "x"}),
            Delivery(foreign, true.headers),
        ]

    def task(self, task_id: str) -> dict:
        return next(task for task in self.fake.tasks.values() if task["data"]["task"] == task_id)
