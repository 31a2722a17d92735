"""A fake vendor that keeps to docs/webhook_vendor.openapi.yaml. It verifies and signs with the public library alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from labeling_adapters.base import Delivery
from tests.labeling_adapters.http_server import HttpServer, Reply, Request, http_server

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
REFUSED = "UNPRINTABLE"
"""A completion that holds this is refused."""
PAGE = 3


@dataclass
class WebhookVendorServer:
    """What it holds."""

    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    labels: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    seen: dict[str, Reply] = field(default_factory=dict)
    """Answers by webhook-id."""
    taken: list[dict[str, Any]] = field(default_factory=list)
    """Messages that were no repeats."""
    secret: str = SECRET
    plain: bool = False
    """Answers 204 instead of for each task."""

    def answer(self, request: Request) -> Reply:
        try:
            Webhook(self.secret).verify(request.body, dict(request.headers), json_parse=False)
        except WebhookVerificationError as error:
            return Reply(401, {"detail": str(error)})
        if request.verb == "GET":
            return self.status(request)
        name = request.headers["webhook-id"]
        if name not in self.seen:
            message = json.loads(request.body)
            self.taken.append(message)
            self.seen[name] = self.take(message["type"], message["data"])
        return self.seen[name]

    def take(self, kind: str, data: dict[str, Any]) -> Reply:
        batch = data["batch"]["id"]
        state = self.states.setdefault(batch, "unlaunched")
        if kind == "tasks.created":
            self.batches[batch] = data["batch"]
            results = [self.take_task(batch, task) for task in data["tasks"]]
            return Reply(204) if self.plain else Reply(200, {"results": results})
        if kind == "tasks.deepened":
            results = [self.deepen(task) for task in data["tasks"]]
            return Reply(204) if self.plain else Reply(200, {"results": results})
        after = {
            ("batch.launched", "unlaunched"): "in_progress",
            ("batch.paused", "in_progress"): "paused",
            ("batch.resumed", "paused"): "in_progress",
        }
        self.states[batch] = "canceled" if kind == "batch.cancelled" else after.get((kind, state), state)
        return Reply(204)

    def take_task(self, batch: str, task: dict[str, Any]) -> dict[str, Any]:
        if REFUSED in task["completion"]:
            return {"id": task["id"], "status": "refused", "error": "cannot be shown"}
        status = "duplicate" if task["id"] in self.tasks else "accepted"
        remote = self.tasks.get(task["id"], {}).get("remote_id") or f"T-{1001 + len(self.tasks)}"
        self.tasks[task["id"]] = {**task, "batch": batch, "remote_id": remote}
        return {"id": task["id"], "status": status, "remote_id": remote}

    def deepen(self, task: dict[str, Any]) -> dict[str, Any]:
        held = self.tasks.get(task["id"])
        if held is None:
            return {"id": task["id"], "status": "refused", "error": "no such task"}
        status = "accepted" if task["total"] > held.get("total", held["wanted"]) else "duplicate"
        held["total"] = max(task["total"], held.get("total", held["wanted"]))
        held["answered_by"] = task["answered_by"]
        return {"id": task["id"], "status": status}

    def status(self, request: Request) -> Reply:
        start = int(request.query.get("cursor", ["0"])[0])
        mine = [task for task in self.tasks.values() if task["batch"] == request.query["batch"][0]]
        page = [
            {"id": task["id"], "remote_id": task["remote_id"], "labels": self.labels.get(task["id"], [])}
            for task in mine[start : start + PAGE]
        ]
        return Reply(200, {"tasks": page, "next": str(start + PAGE) if len(mine) > start + PAGE else None})

    def label(self, task_id: str, annotator: str, choice: str) -> None:
        """A person answers."""
        number = 90001 + sum(map(len, self.labels.values()))
        one = {"annotator": annotator, "choice": choice, "seconds": 8.5, "id": f"L-{number}"}
        self.labels.setdefault(task_id, []).append(one)

    def change(self, task_id: str, annotator: str, choice: str, **more: Any) -> None:
        """The label keeps its id."""
        (one,) = (one for one in self.labels[task_id] if one["annotator"] == annotator)
        one.update(choice=choice, **more)

    def callback(self, task_id: str) -> Delivery:
        """Its labels, as it posts them."""
        labels = [{"task": task_id, **one} for one in self.labels[task_id]]
        return delivery({"type": "labels.created", "data": {"labels": labels}})


def delivery(body: object, *, secret: str = SECRET, age: float = 0.0, **headers: str) -> Delivery:
    """A signed callback."""
    text = body if isinstance(body, str) else json.dumps(body)
    at = datetime.now(UTC) - timedelta(seconds=age)
    signed = {
        "webhook-id": "msg_v1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign("msg_v1", at, text),
    }
    return Delivery(text.encode(), {**signed, **headers})


@contextmanager
def webhook_vendor_server() -> Iterator[tuple[WebhookVendorServer, HttpServer]]:
    fake = WebhookVendorServer()
    with http_server(fake.answer) as server:
        yield fake, server
