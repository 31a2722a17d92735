"""A vendor behind signed webhooks: the OpenAPI file is true, and what the contract suite does not ask."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from drf_spectacular.validation import validate_schema
from jsonschema import Draft202012Validator
from jsonschema import ValidationError as JsonSchemaError

from engine.errors import BadInput
from engine.policies import load_policy, policy_from_dict
from engine.snippets import Snippet
from labeling_adapters.base import (
    AdapterError,
    IncomingLabel,
    OutgoingBatch,
    OutgoingTask,
    Pushed,
    RefusedLabel,
    Settings,
)
from labeling_adapters.sending import send
from labeling_adapters.webhook_vendor import WebhookVendor, message_id
from tests.labeling_adapters.http_server import HttpServer, Reply, http_server
from tests.labeling_adapters.webhook_vendor_server import SECRET, WebhookVendorServer, delivery, webhook_vendor_server

FILE = Path(__file__).resolve().parents[2] / "docs" / "webhook_vendor.openapi.yaml"
DOC: dict[str, Any] = yaml.safe_load(FILE.read_text())
MOVES = {"launch": "batch.launched", "pause": "batch.paused", "resume": "batch.resumed", "cancel": "batch.cancelled"}

POLICY = load_policy("injury")
BATCH = OutgoingBatch("0190f3a2-batch", "seed", POLICY, overlap=2, callback_url="https://gauntlet.example/callbacks/t")
TASKS = [OutgoingTask(f"t{i}", Snippet("One. Two. Three.", f"Number {i} sat down."), wanted=2) for i in range(5)]


@pytest.fixture
def server() -> Iterator[tuple[WebhookVendorServer, HttpServer]]:
    with webhook_vendor_server() as both:
        yield both


@pytest.fixture
def fake(server: tuple[WebhookVendorServer, HttpServer]) -> WebhookVendorServer:
    return server[0]


@pytest.fixture
def http(server: tuple[WebhookVendorServer, HttpServer]) -> HttpServer:
    return server[1]


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOK_VENDOR_SECRET", SECRET)


def adapter_at(http: HttpServer, *, status: bool = False, **config: Any) -> WebhookVendor:
    asked = {"status_url": f"{http.base_url}/status"} if status else {}
    return WebhookVendor(Settings(POLICY, 0, {"url": f"{http.base_url}/in", **asked, **config}))


def example(*path: str) -> Any:
    """The value of the first example of a body in the OpenAPI file."""
    found = DOC
    for key in path:
        found = found[key]
    return next(iter(found["content"]["application/json"]["examples"].values()))["value"]


def breaches(name: str, value: object) -> list[str]:
    """What breaks the file's schema of that name."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": DOC["components"]}
    validator = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    return [error.message for error in validator.iter_errors(value)]


def test_the_file_is_valid_openapi_3_1_and_its_examples_keep_to_it() -> None:
    assert DOC["openapi"] == "3.1.0"
    validate_schema(DOC)
    requests = [(spec["post"]["requestBody"], name) for name, spec in DOC["webhooks"].items()]
    requests.append((DOC["paths"]["/"]["post"]["requestBody"], "labels.created"))
    responses = [DOC["webhooks"][name]["post"]["responses"]["200"] for name in ("tasks.created", "tasks.deepened")]
    responses.append(DOC["paths"]["/status"]["get"]["responses"]["200"])
    responses.append(DOC["paths"]["/"]["post"]["responses"]["200"])
    checked = 0
    for body in [body for body, _ in requests] + responses:
        content = body["content"]["application/json"]
        name = content["schema"]["$ref"].rpartition("/")[2]
        for one in content["examples"].values():
            assert breaches(name, one["value"]) == []
            checked += 1
    assert checked == 11
    broken = deepcopy(DOC)
    del broken["webhooks"]["tasks.created"]["post"]["responses"]["200"]["description"]
    with pytest.raises(JsonSchemaError):
        validate_schema(broken)
    assert breaches("LabelsCreated", {"type": "labels.created", "data": {"labels": [{"task": "t"}]}}) != []


def test_every_message_is_as_the_file_says(fake: WebhookVendorServer, http: HttpServer) -> None:
    adapter = adapter_at(http)
    adapter.push(BATCH, [replace(TASKS[0], gold="Yes", score=0.9, answered_by=frozenset({"w2", "w1"}))])
    answered = frozenset({"w3", "w2", "w1"})
    adapter.deepen(BATCH, [replace(TASKS[0], remote_id="T-1001", wanted=1, total=3, more=1, answered_by=answered)])
    for move in MOVES:
        adapter.move(BATCH, move)  # type: ignore[arg-type]
    kinds = ["tasks.created", "tasks.deepened", *MOVES.values()]
    assert [message["type"] for message in fake.taken] == list(DOC["webhooks"]) == kinds
    assert breaches("TasksCreated", fake.taken[0]) == breaches("TasksDeepened", fake.taken[1]) == []
    assert [breaches("Moved", message) for message in fake.taken[2:]] == [[]] * 4
    assert fake.taken[1]["data"] == {
        "batch": {"id": "0190f3a2-batch"},
        "tasks": [{"id": "t0", "total": 3, "answered_by": ["w1", "w2", "w3"]}],
    }
    assert fake.taken[0]["data"] == {
        "batch": {
            "id": "0190f3a2-batch",
            "question": POLICY.question,
            "choices": ["Yes", "Unsure", "No"],
            "guidelines": POLICY.guidelines,
            "overlap": 2,
            "callback_url": "https://gauntlet.example/callbacks/t",
        },
        "tasks": [
            {
                "id": "t0",
                "prompt": "One. Two. Three.",
                "completion": "Number 0 sat down.",
                "wanted": 2,
                "answered_by": ["w1", "w2"],
            }
        ],
    }


def test_the_files_own_tasks_are_what_would_be_sent(fake: WebhookVendorServer, http: HttpServer) -> None:
    message = example("webhooks", "tasks.created", "post", "requestBody")
    batch, tasks = message["data"]["batch"], message["data"]["tasks"]
    policy = policy_from_dict({"name": "x", **{key: batch[key] for key in ("question", "choices", "guidelines")}})
    ours = OutgoingBatch(batch["id"], "seed", policy, overlap=batch["overlap"], callback_url=batch["callback_url"])
    out = [
        OutgoingTask(one["id"], Snippet(one["prompt"], one["completion"]), one["wanted"], frozenset(one["answered_by"]))
        for one in tasks
    ]
    adapter_at(http).push(ours, out)
    assert fake.taken[0]["data"] == message["data"]


def test_the_files_own_answers_are_understood() -> None:
    results = example("webhooks", "tasks.created", "post", "responses", "200")
    status = example("paths", "/status", "get", "responses", "200")
    first, second = (one["id"] for one in results["results"])
    out = [OutgoingTask(task_id, Snippet("One. Two. Three.", "They sat down again."), 1) for task_id in (first, second)]
    with http_server(lambda request: Reply(200, results if request.verb == "POST" else status)) as http:
        adapter = adapter_at(http, status=True)
        taken, refused = adapter.push(BATCH, out)
        assert taken == Pushed(first, "T-1001")
        assert (refused.task_id, str(refused.error)) == (second, "webhook_vendor: The text is too long")
        assert list(adapter.held(BATCH)) == [Pushed(first, "T-1001"), Pushed(second, second)]
        assert list(adapter.collect(BATCH, out)) == [IncomingLabel(first, "worker-17", "Yes", 8.4, "L-90001")]
        callback = delivery(example("paths", "/", "post", "requestBody"))
        assert adapter.receive(BATCH, callback) == [
            IncomingLabel(first, "worker-17", "Yes", 8.4, "L-90001"),
            IncomingLabel(second, "worker-4", "Unsure", None, "L-90002", "It could be soup or blood."),
        ]


def test_a_repeat_has_the_same_id_and_a_vendor_that_cannot_be_asked_takes_nothing_twice(
    fake: WebhookVendorServer, http: HttpServer
) -> None:
    for _ in range(2):
        assert [one.error for one in send(adapter_at(http), BATCH, TASKS)] == [None] * 5
    assert len(fake.taken) == 1
    assert len({request.headers["webhook-id"] for request in http.requests}) == 1
    assert [one.remote_id for one in adapter_at(http).push(BATCH, TASKS[:2])] == ["T-1001", "T-1002"]
    assert (len(fake.taken), len(fake.tasks)) == (2, 5)
    assert list(adapter_at(http).held(BATCH)) == list(adapter_at(http).collect(BATCH, TASKS)) == []
    assert (adapter_at(http).poll_seconds, adapter_at(http, status=True).poll_seconds) == (None, 300.0)


def test_a_vendor_that_does_not_know_a_task_says_so_and_an_empty_answer_takes_all(
    fake: WebhookVendorServer, http: HttpServer
) -> None:
    adapter = adapter_at(http)
    adapter.push(BATCH, TASKS[:1])
    deeper = [replace(task, remote_id=f"T-{1001 + i}", total=3, more=1) for i, task in enumerate(TASKS[:2])]
    taken, refused = adapter.deepen(BATCH, deeper)
    assert taken == Pushed("t0", "T-1001")
    assert (refused.task_id, str(refused.error)) == ("t1", "webhook_vendor: no such task")
    fake.plain = True
    assert adapter.deepen(BATCH, [replace(deeper[0], total=4)]) == [Pushed("t0", "T-1001")]
    assert fake.tasks["t0"]["total"] == 4


def test_an_id_is_of_the_content_alone() -> None:
    assert message_id("a", {"x": 1, "y": [2]}) == message_id("a", {"y": [2], "x": 1})
    assert message_id("a", {"x": 1}) == "msg_a0c59a8a7d44196adc48fc7e76b2ffd4"  # sha256 of ["a",{"x":1}]
    assert len({message_id("a", {"x": 1}), message_id("b", {"x": 1}), message_id("a", {"x": 2})}) == 3


def test_the_same_move_may_be_made_again_later(fake: WebhookVendorServer, http: HttpServer) -> None:
    adapter = adapter_at(http)
    states = []
    for move in ("launch", "pause", "resume", "pause", "resume", "cancel"):
        adapter.move(BATCH, move)  # type: ignore[arg-type]
        states.append(fake.states[BATCH.batch_id])
    assert states == ["in_progress", "paused", "in_progress", "paused", "in_progress", "canceled"]
    quiet = adapter_at(http, events=["batch.cancelled"])
    for move in MOVES:
        quiet.move(BATCH, move)  # type: ignore[arg-type]
    assert [message["type"] for message in fake.taken[6:]] == ["batch.cancelled"]


def test_an_empty_answer_takes_all_and_one_that_leaves_a_task_out_leaves_it_open(
    fake: WebhookVendorServer, http: HttpServer
) -> None:
    fake.plain = True
    assert adapter_at(http).push(BATCH, TASKS[:2]) == [Pushed("t0", "t0"), Pushed("t1", "t1")]
    with http_server(lambda request: Reply(200, {"results": [{"id": "t1", "status": "duplicate"}]})) as short:
        missing, there = adapter_at(short).push(BATCH, TASKS[:2])
    assert there == Pushed("t1", "t1")
    assert missing.error
    assert not missing.error.permanent
    with (
        http_server(lambda request: Reply(200, {"results": [{"id": "t1", "status": "lost"}]})) as odd,
        pytest.raises(AdapterError, match=r"unknown shape: results.0.status: ") as refused,
    ):
        adapter_at(odd).push(BATCH, TASKS[:2])
    assert refused.value.permanent


def test_good_labels_land_and_the_bad_are_listed(http: HttpServer) -> None:
    good = {"task": "t1", "annotator": "w1", "choice": "No"}
    bad = [
        {**good, "choice": "Maybe"},
        {**good, "seconds": -1},
        {"annotator": "w1", "choice": "No"},
        "a label",
        {**good, "annotator": ""},
        {**good, "annotator": 7},
    ]
    body = {
        "type": "labels.created",
        "data": {"labels": [good, *bad, {**good, "task": "t2", "choice": " no", "id": "L1"}]},
    }
    first, *others, last = adapter_at(http).receive(BATCH, delivery(body))
    assert (first, last) == (IncomingLabel("t1", "w1", "No"), IncomingLabel("t2", "w1", "No", None, "L1"))
    refused = [one for one in others if isinstance(one, RefusedLabel)]
    assert [(one.task_id, one.reason.split(":")[0]) for one in refused] == [
        ("t1", "choice"),
        ("t1", "seconds"),
        ("", "task"),
        ("", "all"),
        ("t1", "annotator"),
        ("t1", "annotator"),
    ]
    assert refused[0] == RefusedLabel("t1", "choice: not one of Yes, Unsure, No")


def test_another_kind_of_message_is_left_alone_and_a_broken_one_refused(http: HttpServer) -> None:
    adapter = adapter_at(http)
    assert adapter.receive(BATCH, delivery({"type": "ping", "data": {}})) == []
    many = [{"task": "t", "annotator": "w", "choice": "No"}] * 1001
    for body in (
        "{",
        "[]",
        {"type": "labels.created"},
        {"type": "labels.created", "data": {"labels": []}},
        {"type": "labels.created", "data": {"labels": many}},
        {"data": {}},
    ):
        with pytest.raises(AdapterError) as refused:
            adapter.receive(BATCH, delivery(body))
        assert refused.value.permanent


def test_a_cursor_that_does_not_move_ends_the_asking() -> None:
    page = {"tasks": [{"id": "t1"}], "next": "2"}
    with http_server(lambda request: Reply(200, page)) as http:
        adapter = adapter_at(http, status=True)
        with pytest.raises(AdapterError, match="cursor does not move"):
            list(adapter.held(BATCH))
        assert len(http.requests) == 2


def test_secrets_change_over_without_a_pause(
    fake: WebhookVendorServer, http: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = "whsec_" + "B" * 40
    monkeypatch.setenv("WEBHOOK_VENDOR_SECRET", f"{new},{SECRET}")
    adapter = adapter_at(http)
    for theirs in (SECRET, new):
        fake.secret = theirs
        assert adapter.push(BATCH, TASKS[:1])[0].error is None
        body = {"type": "labels.created", "data": {"labels": [{"task": "t0", "annotator": "w", "choice": "No"}]}}
        assert len(adapter.receive(BATCH, delivery(body, secret=theirs))) == 1
    fake.secret = "whsec_" + "C" * 40
    with pytest.raises(AdapterError, match="401") as refused:
        adapter.push(BATCH, TASKS[1:2])
    assert new not in str(refused.value)


def test_a_secret_that_is_none_is_named_and_not_shown(http: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOK_VENDOR_SECRET", "hunter2hunter2")
    with pytest.raises(BadInput, match=r"^adapter webhook_vendor: .*WEBHOOK_VENDOR_SECRET: .*24 to 64") as refused:
        adapter_at(http)
    assert "hunter2" not in str(refused.value)
