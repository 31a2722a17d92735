"""Callbacks of vendors over real HTTP: taken once each, whoever fails, repeats or forges."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest
from pytest_django.live_server_helper import LiveServer

from labeling_adapters.base import Delivery
from tests.labeling_adapters.harness import Harness
from tests.labeling_adapters.http_server import FAULTS, Fault
from tests.labeling_adapters.test_contract import HARNESSES
from webapi.models import Batch, Job, Label, Policy, Snippet
from webapi.services.batches import BatchOrder, batch_create
from workers.execute import execute
from workers.vendors import callback_url

pytestmark = pytest.mark.django_db(transaction=True)
CALLING = [name for name, harness in HARNESSES.items() if harness.announcement is not Harness.announcement]
"""Vendors that call back."""
REFUSED = [(401, "forged_callback"), (400, "callback_refused")]


class Bench(NamedTuple):
    """A batch of one task at a vendor that may call."""

    vendor: Harness
    batch: Batch
    address: str
    task: str

    def post(self, delivery: Delivery, address: str = "") -> httpx2.Response:
        """As the vendor posts it."""
        headers = {"content-type": "application/json", **delivery.headers}
        return httpx2.post(address or self.address, content=delivery.body, headers=headers, timeout=10)


@pytest.fixture(params=CALLING)
def bench(
    request: pytest.FixtureRequest,
    live_server: LiveServer,
    settings: Any,
    policy: Policy,
    make_snippets: Callable[..., list[Snippet]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Bench]:
    settings.PUBLIC_URL = live_server.url
    harness = HARNESSES[request.param]
    for name, value in harness.environment.items():
        monkeypatch.setenv(name, value)
    with harness(tmp_path) as vendor:
        (snippet,) = make_snippets(1)
        order = BatchOrder(policy=policy, name="n", snippets=[snippet.pk], overlap=2, adapter=request.param)
        batch = batch_create(order=replace(order, config=dict(vendor.config)))
        for job in Job.objects.filter(kind="send_batch"):
            execute(job.pk)
        batch.refresh_from_db()
        yield Bench(vendor, batch, callback_url(batch), str(batch.tasks.get().pk))


def announced(bench: Bench) -> Delivery:
    delivery = bench.vendor.announcement(bench.task)
    assert delivery is not None
    return delivery


def test_an_answer_is_taken_once_however_often_it_is_told(bench: Bench) -> None:
    choice = bench.batch.policy.rules.failure
    bench.vendor.answer(bench.task, "ann", choice)
    delivery = announced(bench)
    answers = [bench.post(delivery) for _ in range(3)]
    assert [(one.status_code, one.json()) for one in answers] == [
        (200, {"counts": {"recorded": 1}}),
        (200, {"counts": {"duplicate": 1}}),
        (200, {"counts": {"duplicate": 1}}),
    ]
    (label,) = Label.objects.select_related("annotator")
    assert (label.choice, label.annotator.external_id) == (choice, bench.vendor.id_of("ann"))
    assert (label.annotator.vendor, label.counted) == (bench.batch.adapter, True)


def test_forged_callbacks_are_refused_and_nobody_logs_the_secret(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.vendor.answer(bench.task, "ann", bench.batch.policy.rules.failure)
    with caplog.at_level(logging.INFO):
        for forged in bench.vendor.forgeries(bench.task):
            refused = bench.post(forged)
            assert (refused.status_code, refused.json()["code"]) in REFUSED
        secret = bench.address.rpartition("/")[2]
        wrong = bench.post(announced(bench), bench.address.replace(secret, "0" * len(secret)))
        nowhere = bench.post(announced(bench), bench.address.replace(str(bench.batch.pk), bench.task))
    assert [(one.status_code, one.json()["code"]) for one in (wrong, nowhere)] == [(404, "not_found")] * 2
    assert wrong.json() == nowhere.json()
    assert not Label.objects.exists()
    said = [record.getMessage() for record in caplog.records if not record.name.startswith("httpx2")]
    assert not [line for line in said if secret in line]


def test_what_is_too_large_or_no_json_is_refused(bench: Bench, settings: Any) -> None:
    garbage = bench.post(Delivery(b"\xff<html>", {}))
    assert garbage.json()["code"] in {"callback_refused", "forged_callback"}
    settings.MAX_BODY_BYTES = 1000
    large = bench.post(Delivery(json.dumps("x" * 1000).encode(), {}))
    assert (large.status_code, large.json()["code"]) == (413, "body_too_large")
    assert not Label.objects.exists()


@pytest.mark.parametrize("bench", [name for name in CALLING if name != "webhook_vendor"], indirect=True)
@pytest.mark.parametrize("fault", ["server error", "stall", "drop"])
def test_a_vendor_that_fails_when_asked_back_is_told_to_call_again(bench: Bench, fault: str) -> None:
    bench.vendor.answer(bench.task, "ann", bench.batch.policy.rules.failure)
    delivery = announced(bench)
    bench.vendor.server.faults.append(Fault(FAULTS[fault]))
    away = bench.post(delivery)
    assert (away.status_code, away.json()["code"]) == (503, "vendor_unavailable")
    assert not Label.objects.exists()
    assert bench.post(delivery).json() == {"counts": {"recorded": 1}}
