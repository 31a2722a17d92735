"""Callbacks of vendors over real HTTP: taken once each, whoever fails, repeats or forges."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx2
import pytest
from django.utils import timezone
from pytest_django.live_server_helper import LiveServer
from rest_framework.test import APIClient

from labeling_adapters.base import Delivery
from tests.labeling_adapters.harness import Harness
from tests.labeling_adapters.http_server import FAULTS, Fault
from tests.labeling_adapters.test_contract import HARNESSES
from tests.labeling_adapters.test_webhook_vendor import breaches
from tests.labeling_adapters.webhook_vendor_server import delivery as signed
from webapi.models import Batch, Job, Label, Policy, Snippet, User
from webapi.services.batches import BatchOrder, batch_create
from workers.execute import execute
from workers.vendors import callback_url

Api = Callable[..., APIClient]
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

    def begin(self, *lines: str, path: str = "") -> socket.socket:
        """A post whose head is sent, and no body yet."""
        url = urlsplit(self.address)
        assert url.hostname
        caller = socket.create_connection((url.hostname, url.port or 80), timeout=5)
        head = [f"POST {path or url.path} HTTP/1.1", f"Host: {url.netloc}", "Connection: close", *lines]
        caller.sendall("\r\n".join([*head, "", ""]).encode())
        return caller


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
        (200, {"counts": {"recorded": 1}, "refused": []}),
        (200, {"counts": {"duplicate": 1}, "refused": []}),
        (200, {"counts": {"duplicate": 1}, "refused": []}),
    ]
    (label,) = Label.objects.select_related("annotator")
    assert (label.choice, label.annotator.external_id) == (choice, bench.vendor.id_of("ann"))
    assert (label.annotator.vendor, label.counted) == (bench.batch.adapter, True)


def test_the_same_callback_many_times_at_once_is_one_label(bench: Bench) -> None:
    bench.vendor.answer(bench.task, "ann", bench.batch.policy.rules.failure)
    delivery = announced(bench)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: bench.post(delivery), range(4)))
    assert [one.status_code for one in answers] == [200] * 4
    counts = [one.json()["counts"] for one in answers]
    assert sorted(counts, key=str) == [{"duplicate": 1}] * 3 + [{"recorded": 1}]
    assert Label.objects.count() == 1


CHANGING = [name for name in CALLING if HARNESSES[name].changes]


@pytest.mark.parametrize("bench", CHANGING, indirect=True)
def test_a_changed_answer_is_a_revision_until_its_batch_ends(bench: Bench, rita: User, api: Api) -> None:
    def posted() -> dict[str, int]:
        answer = bench.post(announced(bench))
        assert answer.status_code == 200
        return dict(answer.json()["counts"])

    bench.vendor.answer(bench.task, "ann", "Yes")
    assert posted() == {"recorded": 1}
    bench.vendor.change(bench.task, "ann", "No")
    assert [posted(), posted()] == [{"recorded": 1}, {"duplicate": 1}]
    shown = api(rita).get("/api/v1/labels").json()["results"]
    assert sorted((one["revision"], one["choice"]) for one in shown) == [(0, "Yes"), (1, "No")]
    assert len({one["external_id"] for one in shown}) == 1
    bench.vendor.answer(bench.task, "bob", "No")
    assert posted() == {"duplicate": 1, "recorded": 1}
    bench.batch.refresh_from_db()
    assert bench.batch.state == "done"
    bench.vendor.change(bench.task, "ann", "Unsure")
    assert posted() == {"duplicate": 2}
    assert Label.objects.count() == 3


@pytest.mark.parametrize("bench", CHANGING, indirect=True)
def test_a_change_whose_callback_was_lost_is_found_by_looking(bench: Bench) -> None:
    bench.vendor.answer(bench.task, "ann", "Yes")
    looking = Job.objects.get(kind="collect_labels")
    for choice in ("Yes", "No", "No", "Unsure"):
        bench.vendor.change(bench.task, "ann", choice)
        Job.objects.update(not_before=timezone.now())
        assert execute(looking.pk)
    rows = Label.objects.order_by("revision").values_list("choice", "counted")
    assert list(rows) == [("Yes", True), ("No", True), ("Unsure", True)]


@pytest.mark.parametrize("bench", ["webhook_vendor"], indirect=True)
def test_good_labels_are_taken_and_the_bad_beside_them_listed(bench: Bench) -> None:
    good = {"task": bench.task, "annotator": "ann", "choice": "Yes", "id": "L1"}
    bad: list[tuple[object, str]] = [
        ({**good, "choice": "Maybe"}, "choice: not one of Yes, Unsure, No"),
        ({**good, "annotator": "bo", "note": "a\0b"}, "note: holds a null character or half a surrogate pair"),
        ({**good, "annotator": "b\0"}, "annotator: holds a null character or half a surrogate pair"),
        ({**good, "annotator": "bo", "id": "\0"}, "id: holds a null character or half a surrogate pair"),
        ({**good, "task": "0193a5f2-7c1e-7b3a-9d2f-4e5a6b7c8d9e"}, "task: none of this batch"),
        ({**good, "task": "\ud800"}, "task: Input should be a valid string"),
        ("a label", "all: Input should be a valid dictionary"),
    ]
    labels = [one for one, _ in bad] + [good]
    answer = bench.post(signed({"type": "labels.created", "data": {"labels": labels}}))
    assert answer.status_code == 200
    assert answer.json()["counts"] == {"recorded": 1, "refused": len(bad)}
    assert breaches("Taken", answer.json()) == []
    for place, (shown, (label, reason)) in enumerate(zip(answer.json()["refused"], bad, strict=True)):
        assert shown["index"] == place
        assert shown["reason"].startswith(reason)
        assert shown["task"] == (label["task"].replace("\ud800", "?") if isinstance(label, dict) else "")
    assert list(Label.objects.values_list("annotator__external_id", "choice")) == [("ann", "Yes")]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_what_a_callback_calls_itself_is_not_looked_at(bench: Bench, kind: str) -> None:
    bench.vendor.answer(bench.task, "ann", bench.batch.policy.rules.failure)
    delivery = announced(bench)
    headers = {**delivery.headers, "content-type": kind, "accept": "text/html"}
    answer = bench.post(replace(delivery, headers=headers))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == {"counts": {"recorded": 1}, "refused": []}


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
    with caplog.at_level(logging.INFO):
        near = [f"{bench.address}/", f"{bench.address}/x", bench.address.replace(str(bench.batch.pk), "batch")]
        assert [bench.post(announced(bench), address).json() for address in near] == [wrong.json()] * 3
        verbs = [httpx2.request(verb, bench.address).status_code for verb in ("GET", "PUT", "DELETE", "OPTIONS")]
    assert verbs == [405] * 4
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


def test_a_strangers_body_is_not_waited_for(bench: Bench) -> None:
    path = urlsplit(bench.address).path
    with bench.begin("Content-Length: 1000", path=path[:-1] + ("0" if path[-1] != "0" else "1")) as stranger:
        assert stranger.recv(4096).startswith(b"HTTP/1.1 404 ")


def test_a_sender_that_stalls_holds_nobody_up_and_brings_nothing(bench: Bench) -> None:
    bench.vendor.answer(bench.task, "ann", bench.batch.policy.rules.failure)
    delivery = announced(bench)
    lines = [f"{name}: {value}" for name, value in delivery.headers.items()]
    with bench.begin(*lines, f"Content-Length: {len(delivery.body)}") as stalling:
        stalling.sendall(delivery.body[:-1])
        assert bench.post(delivery).json()["counts"] == {"recorded": 1}
        Label.objects.all().delete()
        stalling.shutdown(socket.SHUT_WR)
        answer = stalling.recv(4096)
    assert answer.partition(b"\r\n")[0].split()[1] in (b"400", b"401")
    assert not Label.objects.exists()


@pytest.mark.parametrize("bench", ["surge"], indirect=True)
@pytest.mark.parametrize("adapter", ["pull", "csv_dropbox"])
def test_vendors_that_never_call_have_no_address(bench: Bench, adapter: str, tmp_path: Path) -> None:
    Batch.objects.update(adapter=adapter, config={"folder": str(tmp_path)} if adapter == "csv_dropbox" else {})
    answer = bench.post(Delivery(b"{}", {}))
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_what_this_server_lacks_is_not_the_vendors_fault(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.vendor.answer(bench.task, "ann", bench.batch.policy.rules.failure)
    delivery = announced(bench)
    with monkeypatch.context() as patched:
        patched.delenv(bench.vendor.key_variable)
        answer = bench.post(delivery)
        assert (answer.status_code, answer.json()["code"]) == (503, "vendor_unavailable")
        assert bench.vendor.key_variable not in answer.text
    assert bench.post(delivery).json()["counts"] == {"recorded": 1}


@pytest.mark.parametrize("bench", [name for name in CALLING if name != "webhook_vendor"], indirect=True)
@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_a_vendor_that_fails_when_asked_back_is_told_to_call_again(bench: Bench, fault: str) -> None:
    bench.vendor.answer(bench.task, "ann", bench.batch.policy.rules.failure)
    delivery = announced(bench)
    bench.vendor.server.faults.append(Fault(FAULTS[fault]))
    away = bench.post(delivery)
    assert (away.status_code, away.json()["code"]) == (503, "vendor_unavailable")
    assert away.headers.get("Retry-After") == FAULTS[fault].headers.get("Retry-After")
    assert not Label.objects.exists()
    assert bench.post(delivery).json()["counts"] == {"recorded": 1}


@pytest.mark.parametrize("bench", ["surge"], indirect=True)
def test_a_task_that_the_vendor_does_not_have_is_refused_for_good(bench: Bench) -> None:
    answer = bench.post(Delivery(b'{"id": "0193a5f2-7c1e-7b3a-9d2f-4e5a6b7c8d9e"}', {}))
    assert (answer.status_code, answer.json()["code"]) == (400, "callback_refused")
