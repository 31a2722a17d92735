"""Batches sent out by hand, and their life at a vendor over real HTTP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rest_framework.test import APIClient

from tests.labeling_adapters.webhook_vendor_harness import WebhookVendorHarness
from webapi.models import Batch, Job, Label, Policy, Snippet, User
from workers.execute import execute

Api = Callable[..., APIClient]


def run_jobs(kind: str) -> None:
    for pk in Job.objects.filter(kind=kind, state="queued").values_list("pk", flat=True):
        execute(pk)


def test_a_batch_goes_out_is_launched_once_and_its_labels_come_in(
    rita: User,
    api: Api,
    policy: Policy,
    make_snippets: Callable[..., list[Snippet]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in WebhookVendorHarness.environment.items():
        monkeypatch.setenv(name, value)
    one, two = make_snippets(2)
    with WebhookVendorHarness(tmp_path) as vendor:
        body = {"policy": "harm", "name": "n", "snippets": [str(one.pk), str(two.pk)], "adapter": "webhook_vendor"}
        made = api(rita).post("/api/v1/batches", {**body, "config": dict(vendor.config)})
        assert made.status_code == 201, made.content
        path = f"/api/v1/batches/{made.json()['id']}"
        launched = [api(rita).post(f"{path}/launch") for _ in range(2)]
        assert [one.status_code for one in launched] == [200, 200]
        assert Job.objects.filter(kind="move_batch").count() == 1
        run_jobs("send_batch")
        run_jobs("move_batch")
        assert (len(vendor.holds()), vendor.state()) == (2, "in_progress")
        for task_id in vendor.holds():
            vendor.answer(task_id, "ann", "Yes")
        run_jobs("collect_labels")
    shown = api(rita).get(path).json()
    assert (shown["state"], shown["vendor"]["state"], shown["vendor"]["sent"]) == ("done", "launched", 2)
    assert list(Label.objects.values_list("choice", "annotator__external_id")) == [("Yes", "ann")] * 2
    assert api(rita).post(f"{path}/pause").json()["code"] == "batch_finished"


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ({"adapter": "mturk"}, "unknown_name", "csv_dropbox, label_studio, pull"),
        ({"adapter": "surge", "config": {"key_variable": "NO_SUCH_KEY"}}, "bad_input", "NO_SUCH_KEY is not set"),
        ({"snippets": []}, "bad_input", "nothing to label"),
        ({"snippets": ["0193a5f2-7c1e-7b3a-9d2f-4e5a6b7c8d9e"]}, "invalid", "1 of 1 snippets"),
        ({"pairs": []}, "invalid", "Give one of"),
    ],
)
def test_a_wrong_batch_writes_nothing(
    rita: User,
    api: Api,
    make_snippets: Callable[..., list[Snippet]],
    change: dict[str, Any],
    code: str,
    says: str,
) -> None:
    body = {"policy": "harm", "name": "n", "snippets": [str(make_snippets(1)[0].pk)], **change}
    answer = api(rita).post("/api/v1/batches", body)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert says in answer.json()["detail"]
    assert (Batch.objects.count(), Job.objects.count()) == (0, 0)


def test_a_paused_batch_gives_nothing_out(alice: User, rita: User, api: Api, make_batch: Callable[..., Batch]) -> None:
    batch = make_batch(1)
    api(rita).post(f"/api/v1/batches/{batch.pk}/pause")
    assert api(alice).post("/api/v1/tasks/lease", {"count": 1}).json()["tasks"] == []
    api(rita).post(f"/api/v1/batches/{batch.pk}/resume")
    assert len(api(alice).post("/api/v1/tasks/lease", {"count": 1}).json()["tasks"]) == 1
    cancelled = [api(rita).post(f"/api/v1/batches/{batch.pk}/cancel").json()["state"] for _ in range(2)]
    assert cancelled == ["cancelled", "cancelled"]
