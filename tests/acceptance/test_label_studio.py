"""The whole round trip with a real Label Studio: out, judged by two people there, back in; everything twice."""

from __future__ import annotations

import threading
import urllib.error
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from engine.policies import load_policy
from engine.snippets import Snippet
from labeling_adapters import adapter_named
from labeling_adapters import label_studio_backend as backend
from labeling_adapters.base import (
    AdapterError,
    Delivery,
    IncomingLabel,
    LabelingAdapter,
    OutgoingBatch,
    OutgoingTask,
    Said,
)
from labeling_adapters.sending import send
from tests.acceptance.label_studio import Running, label_studio, missing
from tests.labeling_adapters.http_server import Reply, Request, http_server

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing())]

POLICY = load_policy("injury")
PROMPT = "He took the knife. She cut the bread. They sat down."
TEXTS = [
    "The knife slipped and <i>wounded</i> his hand.",
    "“Naïve”, 雪 fell & all slept.",
    '{{prompt}} $completion "so".',
]
TASKS = [
    OutgoingTask(str(uuid.uuid4()), Snippet(PROMPT, f"{TEXTS[i % 3]} Number {i}."), wanted=2, score=i / 20)
    for i in range(20)
]
CHOICES = ["Yes", "No", "Unsure"]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with label_studio(tmp_path_factory.mktemp("label-studio")) as server:
        yield server


@pytest.fixture
def adapter(running: Running, monkeypatch: pytest.MonkeyPatch) -> LabelingAdapter:
    return adapter_for(running, monkeypatch)


def adapter_for(running: Running, monkeypatch: pytest.MonkeyPatch, **config: Any) -> LabelingAdapter:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", running.alice)
    monkeypatch.setenv("LABEL_STUDIO_WEBHOOK_SECRET", "hook-secret")
    settings = {
        "url": running.url,
        "auth": "legacy",
        "webhook_secret_variable": "LABEL_STUDIO_WEBHOOK_SECRET",
        **config,
    }
    return adapter_named("label_studio", POLICY, config=settings)


def annotate(running: Running, token: str, task: OutgoingTask, choice: str, **more: Any) -> int:
    """As the labeling page does it; the annotation's id."""
    value = {"from_name": "answer", "to_name": "completion", "type": "choices", "value": {"choices": [choice]}}
    body = {"result": [value], "lead_time": 3.5, **more}
    return int(running.ask(token, "POST", f"/api/tasks/{task.remote_id}/annotations/", body)["id"])


def sent(adapter: LabelingAdapter, batch: OutgoingBatch, tasks: list[OutgoingTask]) -> list[OutgoingTask]:
    by_id = {one.task_id: one.remote_id for one in send(adapter, batch, tasks)}
    return [replace(task, remote_id=by_id[task.task_id]) for task in tasks]


def seen(adapter: LabelingAdapter, batch: OutgoingBatch, tasks: list[OutgoingTask]) -> list[tuple[Any, ...]]:
    labels = adapter.collect(batch, tasks)
    return sorted((one.task_id, one.annotator, one.choice, one.seconds, one.external_id) for one in labels)


def test_twenty_out_twelve_judged_by_two_and_nothing_doubled(running: Running, adapter: LabelingAdapter) -> None:
    """The callback asks Label Studio back while that still waits for its answer, and has a second to do so."""
    calls: list[Request] = []
    brought: list[list[IncomingLabel]] = []
    called = threading.Semaphore(0)

    def callback(request: Request) -> Reply:
        calls.append(request)
        brought.append(adapter.receive(batch, Delivery(request.body, request.headers)))
        called.release()
        return Reply(204)

    with http_server(callback) as ours:
        batch = OutgoingBatch(str(uuid.uuid4()), "seed", POLICY, overlap=2, callback_url=f"{ours.base_url}/cb/token")
        batch = replace(batch, remote_id=adapter.open(batch))
        first = sent(adapter, batch, TASKS[:13])
        tasks = sent(adapter, batch, TASKS)
        assert (adapter.open(batch), sent(adapter, batch, TASKS)) == (batch.remote_id, tasks)
        assert tasks[:13] == first
        assert sorted(one.task_id for one in adapter.held(batch)) == sorted(task.task_id for task in TASKS)
        assert seen(adapter, batch, tasks) == []

        me = {
            token: str(running.ask(token, "GET", "/api/current-user/whoami")["id"])
            for token in (running.alice, running.bob)
        }
        given = []
        for number, task in enumerate(tasks[:12]):
            token, choice = (running.alice, running.bob)[number % 2], CHOICES[number % 3]
            given.append((task.task_id, me[token], choice, 3.5, str(annotate(running, token, task, choice))))
        assert seen(adapter, batch, tasks) == seen(adapter, batch, TASKS) == sorted(given)
        assert seen(adapter, batch, tasks[5:7]) == sorted(given[5:7])
        assert all(called.acquire(timeout=10) for _ in range(12))

    assert [(call.verb, call.path) for call in calls] == [("POST", "/cb/token")] * 12
    assert [adapter.receive(batch, Delivery(call.body, call.headers)) for call in calls] == brought
    assert [(one.task_id, one.annotator, one.choice, one.seconds, one.external_id) for (one,) in brought] == given
    with pytest.raises(AdapterError, match="wrong X-Gauntlet-Secret"):
        adapter.receive(batch, Delivery(calls[0].body, {**calls[0].headers, "x-gauntlet-secret": "guess"}))


def test_changed_and_skipped_answers_and_a_second_person(running: Running, adapter: LabelingAdapter) -> None:
    batch = OutgoingBatch(str(uuid.uuid4()), "seed", POLICY, overlap=2)
    batch = replace(batch, remote_id=adapter.open(batch))
    tasks = sent(adapter, batch, TASKS[:3])
    first = annotate(running, running.alice, tasks[0], "Yes")
    changed = [{"from_name": "answer", "to_name": "completion", "type": "choices", "value": {"choices": ["Unsure"]}}]
    running.ask(running.alice, "PATCH", f"/api/annotations/{first}/", {"result": changed})
    second = annotate(running, running.bob, tasks[0], "No")
    skipped = f"/api/tasks/{tasks[1].remote_id}/annotations/?was_cancelled=1"
    running.ask(running.bob, "POST", skipped, {"result": [], "was_cancelled": True})
    found = seen(adapter, batch, tasks)
    assert [(task, choice, label) for task, _, choice, _, label in found] == [
        (tasks[0].task_id, "Unsure", str(first)),
        (tasks[0].task_id, "No", str(second)),
    ]
    again = replace(tasks[0], answered_by=frozenset({found[0][1]}))
    assert [label for *_, label in seen(adapter, batch, [again])] == [str(second)]
    taken = [replace(again, said=frozenset({Said(str(first), choice)})) for choice in ("Yes", "Unsure")]
    assert [[label for *_, label in seen(adapter, batch, [one])] for one in taken] == [
        [str(first), str(second)],
        [str(second)],
    ]


def next_task(running: Running, token: str, batch: OutgoingBatch) -> str | None:
    """Our id of what the labeling page gives this user next; None where nothing is left."""
    try:
        found = running.ask(token, "POST", f"/api/dm/actions/?id=next_task&project={batch.remote_id}", {})
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        return None
    return str(found["data"]["task"])


def test_a_deepened_task_alone_is_given_out_again_to_somebody_else(running: Running, adapter: LabelingAdapter) -> None:
    batch = OutgoingBatch(str(uuid.uuid4()), "seed", POLICY, overlap=1)
    batch = replace(batch, remote_id=adapter.open(batch))
    tasks = sent(adapter, batch, TASKS[:2])
    for task in tasks:
        annotate(running, running.alice, task, "Unsure")
    assert next_task(running, running.bob, batch) is None
    deeper = replace(tasks[1], total=2, more=1)
    for _ in range(2):
        assert [(one.task_id, one.error) for one in adapter.deepen(batch, [deeper])] == [(deeper.task_id, None)]
        assert next_task(running, running.bob, batch) == deeper.task_id
        assert next_task(running, running.alice, batch) is None
    annotate(running, running.bob, deeper, "No")
    assert [one.error for one in adapter.deepen(batch, [deeper])] == [None]
    assert next_task(running, running.bob, batch) is None
    assert [choice for _, _, choice, *_ in seen(adapter, batch, tasks[1:])] == ["Unsure", "No"]
    overlaps = [running.ask(running.alice, "GET", f"/api/tasks/{task.remote_id}/")["overlap"] for task in tasks]
    assert overlaps == [1, 2]


def test_scores_are_shown_only_where_labels_are_not_blind(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    for shown in (False, True):
        adapter = adapter_for(running, monkeypatch, send_scores=shown)
        batch = OutgoingBatch(str(uuid.uuid4()), "seed", POLICY)
        batch = replace(batch, remote_id=adapter.open(batch))
        tasks = sent(adapter, batch, [TASKS[3], TASKS[15]])
        found = [running.ask(running.bob, "GET", f"/api/tasks/{task.remote_id}/")["predictions"] for task in tasks]
        guesses = [[(one["score"], one["result"][0]["value"]["choices"]) for one in each] for each in found]
        assert guesses == ([[(0.15, ["No"])], [(0.75, ["Yes"])]] if shown else [[], []])


def test_a_personal_token_and_a_cancelled_batch(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    token = running.ask(running.alice, "POST", "/api/token/", {})["token"]
    monkeypatch.setenv("PERSONAL", token)
    adapter = adapter_for(running, monkeypatch, auth="pat", key_variable="PERSONAL", delete_on_cancel=True)
    batch = OutgoingBatch(str(uuid.uuid4()), "seed", POLICY)
    batch = replace(batch, remote_id=adapter.open(batch))
    tasks = sent(adapter, batch, TASKS[:4])
    annotate(running, running.bob, tasks[1], "No")
    published = []
    for move in ("launch", "pause", "resume", "cancel", "cancel"):
        adapter.move(batch, move)
        published.append(running.ask(running.alice, "GET", f"/api/projects/{batch.remote_id}/")["is_published"])
    assert published == [True, False, True, False, False]
    assert [one.task_id for one in adapter.held(batch)] == [tasks[1].task_id]
    assert [label[0] for label in seen(adapter, batch, tasks)] == [tasks[1].task_id]


def test_a_project_asks_our_classifier(running: Running, adapter: LabelingAdapter) -> None:
    logits = {TASKS[0].snippet: 2.0, TASKS[1].snippet: -2.0}
    asked_for: list[str] = []

    def classifier(request: Request) -> Reply:
        asked_for.append(request.path)
        match request.path:
            case "/health":
                return Reply(200, backend.health("classifier-7"))
            case "/setup":
                return Reply(200, backend.setup(POLICY, request.json(), "classifier-7"))
            case "/predict":
                snippets, tags = backend.asked(POLICY, request.json())
                found = [logits[snippet] for snippet in snippets]
                return Reply(200, backend.predictions(POLICY, tags, found, threshold=0.5, version="classifier-7"))
        return Reply(200, backend.webhook())

    batch = OutgoingBatch(str(uuid.uuid4()), "seed", POLICY)
    batch = replace(batch, remote_id=adapter.open(batch))
    tasks = sent(adapter, batch, TASKS[:2])
    with http_server(classifier) as ours:
        model = {"project": int(batch.remote_id), "url": ours.base_url, "title": "Gauntlet"}
        running.ask(running.alice, "POST", "/api/ml/", model)
        everything = {"selectedItems": {"all": True, "excluded": []}}
        path = f"/api/dm/actions/?id=retrieve_tasks_predictions&project={batch.remote_id}"
        running.ask(running.alice, "POST", path, everything)
    assert {"/health", "/setup", "/predict"} <= set(asked_for)
    stored = [running.ask(running.alice, "GET", f"/api/tasks/{task.remote_id}/")["predictions"] for task in tasks]
    assert [[(one["model_version"], one["result"][0]["value"]["choices"]) for one in each] for each in stored] == [
        [("classifier-7", ["Yes"])],
        [("classifier-7", ["No"])],
    ]
    assert [each[0]["score"] for each in stored] == pytest.approx([0.880797, 0.119203], abs=1e-6)
