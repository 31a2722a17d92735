"""A vendor that speaks signed webhooks, faked, under the contract."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from labeling_adapters.base import Delivery
from labeling_adapters.http import JsonClient
from tests.labeling_adapters.harness import Harness
from tests.labeling_adapters.webhook_vendor_server import REFUSED, SECRET, delivery, webhook_vendor_server


class WebhookVendorHarness(Harness):
    sends = True
    moves = True
    changes = True
    http = True
    refuses = REFUSED
    environment = {"WEBHOOK_VENDOR_SECRET": SECRET}
    key_variable = "WEBHOOK_VENDOR_SECRET"
    steps = ((JsonClient, "ask"),)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.fake, self.server = self.stack.enter_context(webhook_vendor_server())
        self.config = {
            "url": f"{self.server.base_url}/in?source=gauntlet",
            "status_url": f"{self.server.base_url}/status",
            "timeout_s": 0.3,
        }

    def holds(self) -> list[str]:
        return list(self.fake.tasks)

    def batches(self) -> int:
        return len(self.fake.batches)

    def received(self) -> bytes:
        return json.dumps(self.fake.taken, ensure_ascii=False).encode()

    def answer(self, task_id: str, annotator: str, choice: str) -> None:
        self.fake.label(task_id, annotator, choice)

    def change(self, task_id: str, annotator: str, choice: str) -> None:
        self.fake.change(task_id, annotator, choice)

    def wants(self, task_id: str) -> int:
        task = self.fake.tasks[task_id]
        return int(task.get("total", task["wanted"]))

    def keeps_out(self, task_id: str) -> set[str]:
        return set(self.fake.tasks[task_id]["answered_by"])

    def state(self) -> str:
        (state,) = self.fake.states.values()
        return state

    def announcement(self, task_id: str) -> Delivery:
        return self.fake.callback(task_id)

    def forgeries(self, task_id: str) -> list[Delivery]:
        true = self.announcement(task_id)
        body = json.loads(true.body)
        return [
            Delivery(true.body, {}),
            replace(true, body=true.body.replace(b"Yes", b"No")),
            delivery(body, secret="whsec_" + "A" * 40),
            delivery(body, age=600),
        ]
