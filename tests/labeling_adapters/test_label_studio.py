"""Label Studio: what the contract does not ask, against a fake server on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from engine.errors import BadInput
from engine.policies import load_policy, policy_from_dict
from engine.snippets import Snippet
from labeling_adapters.base import AdapterError, Delivery, IncomingLabel, OutgoingBatch, OutgoingTask, Settings
from labeling_adapters.label_studio import LabelStudio
from labeling_adapters.label_studio_shapes import label_config
from labeling_adapters.sending import send
from tests.labeling_adapters.http_server import HttpServer
from tests.labeling_adapters.label_studio_server import ACCESS, KEY, PAT, LabelStudioServer, label_studio_server

POLICY = load_policy("injury")
BATCH = OutgoingBatch("0190f3a2-1111-7222-8333-444455556666", "seed", POLICY, overlap=2)
TASKS = [OutgoingTask(f"t{i}", Snippet("One. Two. Three.", f"Number {i} sat down."), wanted=2) for i in range(5)]


@pytest.fixture
def server() -> Iterator[tuple[LabelStudioServer, HttpServer]]:
    with label_studio_server() as both:
        yield both


@pytest.fixture
def fake(server: tuple[LabelStudioServer, HttpServer]) -> LabelStudioServer:
    return server[0]


@pytest.fixture
def http(server: tuple[LabelStudioServer, HttpServer]) -> HttpServer:
    return server[1]


@pytest.fixture
def adapter_with(http: HttpServer, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", KEY)

    def make(**config: Any) -> LabelStudio:
        return LabelStudio(Settings(POLICY, 0, {"url": http.base_url, "auth": "legacy", **config}))

    return make


def opened(adapter: LabelStudio, batch: OutgoingBatch = BATCH) -> OutgoingBatch:
    return replace(batch, remote_id=adapter.open(batch))


def sent(adapter: LabelStudio, batch: OutgoingBatch, tasks: list[OutgoingTask] = TASKS) -> list[OutgoingTask]:
    return [
        replace(task, remote_id=one.remote_id) for task, one in zip(tasks, send(adapter, batch, tasks), strict=True)
    ]


def test_the_page_is_the_policys_question_whatever_stands_in_it() -> None:
    odd = policy_from_dict({"name": "odd", "question": 'Is it <b>"5 > 4"</b> & so?', "choices": list("abcdefghijk")})
    view = ElementTree.fromstring(label_config(odd))
    assert [header.get("value") for header in view.iter("Header")] == ["Completion", odd.question]
    assert [text.attrib for text in view.iter("Text")] == [
        {"name": "prompt", "value": "$prompt"},
        {"name": "completion", "value": "$completion"},
    ]
    (choices,) = view.iter("Choices")
    assert (choices.get("choice"), choices.get("required"), choices.get("toName")) == ("single", "true", "completion")
    assert [(one.get("value"), one.get("hotkey")) for one in choices] == [
        *((letter, str(digit)) for digit, letter in enumerate("abcdefghi", 1)),
        ("j", None),
        ("k", None),
    ]


def test_a_project_says_what_it_is_for_and_not_where_its_texts_come_from(adapter_with: Any, fake: Any) -> None:
    batch = opened(adapter_with())
    project = fake.projects[int(batch.remote_id)]
    assert project["title"] == f"Gauntlet {BATCH.batch_id}"
    assert project["description"] == f"gauntlet batch {BATCH.batch_id}"
    assert (project["maximum_annotations"], project["show_collab_predictions"]) == (2, False)
    assert "**Yes** when the completion introduces" in project["expert_instruction"]
    assert "seed" not in json.dumps(project)


def test_the_project_is_found_again_among_others_also_by_another_prefix(adapter_with: Any, fake: Any) -> None:
    other = adapter_with().open(replace(BATCH, batch_id=BATCH.batch_id[:-1] + "7"))
    fake.make_project(type("R", (), {"body": json.dumps({"title": BATCH.batch_id, "description": "mine"}).encode()}))
    first = adapter_with().open(BATCH)
    assert (other, first) == ("1", "3")
    assert adapter_with(title_prefix="ACME").open(replace(BATCH, overlap=4)) == "3"
    assert fake.projects[3]["maximum_annotations"] == 4
    assert len(fake.projects) == 3


def test_a_project_that_was_renamed_there_is_still_the_batchs(adapter_with: Any, fake: Any) -> None:
    batch = opened(adapter_with())
    fake.projects[1] |= {"title": "Stories, autumn", "description": ""}
    assert (adapter_with().open(batch), len(fake.projects)) == ("1", 1)
    with pytest.raises(AdapterError, match="404") as refused:
        adapter_with().open(replace(batch, remote_id="9"))
    assert refused.value.permanent


def test_of_two_projects_made_at_once_the_older_is_taken_and_all_pages_are_read(adapter_with: Any, fake: Any) -> None:
    for number in range(101):
        description = f"gauntlet batch {BATCH.batch_id}" if number >= 99 else "something else"
        pk = number + 1
        fake.projects[pk] = {"id": pk, "title": BATCH.batch_id, "description": description, "maximum_annotations": 2}
    assert adapter_with().open(BATCH) == "100"


def test_the_webhook_is_made_once_with_its_secret(adapter_with: Any, fake: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("HOOK", "hook-secret")
    batch = replace(BATCH, callback_url="https://gauntlet.example/callbacks/s3cr3t")
    for _ in range(2):
        adapter_with(webhook_secret_variable="HOOK").open(batch)
    assert fake.hooks == [
        {
            "url": "https://gauntlet.example/callbacks/s3cr3t",
            "project": 1,
            "send_payload": True,
            "send_for_all_actions": False,
            "actions": ["ANNOTATION_CREATED", "ANNOTATION_UPDATED"],
            "headers": {"X-Gauntlet-Secret": "hook-secret"},
        }
    ]
    adapter_with(webhook=False).open(replace(batch, callback_url="https://gauntlet.example/other"))
    assert len(fake.hooks) == 1


def test_tasks_carry_our_id_and_a_score_only_if_both_sides_want_it(adapter_with: Any, fake: Any) -> None:
    scored = [replace(TASKS[0], score=0.75), replace(TASKS[1], score=0.25), TASKS[2]]
    blind = adapter_with()
    sent(blind, opened(blind), scored)
    assert [task["data"] for task in fake.tasks.values()] == [
        {"prompt": "One. Two. Three.", "completion": f"Number {i} sat down.", "task": f"t{i}"} for i in range(3)
    ]
    assert [task["predictions"] for task in fake.tasks.values()] == [[], [], []]
    fake.tasks.clear()
    seeing = adapter_with(send_scores=True)
    sent(seeing, opened(seeing), scored)
    shown = [[(one["score"], one["result"][0]["value"]) for one in task["predictions"]] for task in fake.tasks.values()]
    assert shown == [[(0.75, {"choices": ["Yes"]})], [(0.25, {"choices": ["No"]})], []]


def test_an_import_that_names_no_ids_is_looked_up(adapter_with: Any, fake: Any) -> None:
    fake.names_ids = False
    adapter = adapter_with()
    batch = opened(adapter)
    assert [one.remote_id for one in adapter.push(batch, TASKS[:2])] == ["1", "2"]
    at_once = fake.import_tasks
    fake.import_tasks = lambda project, body: at_once(project, body[:1])
    there, late = adapter.push(batch, TASKS[2:4])
    assert (there.remote_id, there.error) == ("3", None)
    assert (late.task_id, late.remote_id, str(late.error)) == ("t3", "", "label_studio: imported, but not there yet")
    assert not late.error.permanent


def test_the_latest_choice_of_each_counts_and_skips_do_not(adapter_with: Any, fake: Any) -> None:
    adapter = adapter_with()
    batch = opened(adapter)
    tasks = sent(adapter, batch)
    fake.annotate(fake.tasks[1], "alice", "Yes")
    fake.annotate(fake.tasks[1], "bob", "No", lead_time=None)
    fake.annotate(fake.tasks[1], "alice", "Unsure", was_cancelled=True)
    fake.annotate(fake.tasks[1], "carol", "Yes", ground_truth=True)
    fake.annotate(fake.tasks[2], "alice", "No", was_cancelled=True)
    fake.annotate(fake.tasks[3], "alice", "No", result=[])
    two = [IncomingLabel("t0", "1", "Yes", 2.5, "1"), IncomingLabel("t0", "2", "No", None, "2")]
    assert list(adapter.collect(batch, tasks)) == list(adapter.collect(batch, TASKS)) == two
    fake.annotate(fake.tasks[1], "alice", "Unsure")
    assert list(adapter.collect(batch, tasks)) == [two[1], IncomingLabel("t0", "1", "Unsure", 2.5, "7")]


def test_looking_costs_a_request_for_a_hundred_tasks(adapter_with: Any, fake: Any, http: HttpServer) -> None:
    many = [OutgoingTask(f"t{i}", Snippet("One. Two. Three.", f"Number {i} sat down."), wanted=1) for i in range(1100)]
    adapter = adapter_with()
    batch = opened(adapter)
    tasks = sent(adapter, batch, many)
    for pk in (1, 700, 1100):
        fake.annotate(fake.tasks[pk], "alice", "No")
    http.requests.clear()
    assert [label.task_id for label in adapter.collect(batch, tasks[:250])] == ["t0"]
    assert len(http.requests) == 3
    http.requests.clear()
    assert [one.task_id for one in adapter.held(batch)] == [f"t{i}" for i in range(1100)]
    assert len(http.requests) == 3


def test_a_deepened_task_alone_is_given_out_again_and_no_overlap_is_lowered(
    adapter_with: Any, fake: Any, http: HttpServer
) -> None:
    adapter = adapter_with()
    batch = opened(adapter)
    tasks = sent(adapter, batch)
    for pk in (1, 2):
        for user in ("alice", "bob"):
            fake.annotate(fake.tasks[pk], user, "Unsure")
    fake.annotate(fake.tasks[3], "alice", "No")
    fake.users.append("carol")
    assert fake.next_for("carol") == [3, 4, 5]
    http.requests.clear()
    deeper = [replace(tasks[0], total=3, more=1), replace(tasks[2], total=2, more=1)]
    for _ in range(2):
        assert [one.error for one in adapter.deepen(batch, deeper)] == [None, None]
    assert [(request.verb, request.path) for request in http.requests] == [
        ("GET", "/api/tasks/"),
        ("PATCH", "/api/tasks/1/"),
        ("GET", "/api/tasks/"),
    ]
    assert [task["overlap"] for task in fake.tasks.values()] == [3, 2, 2, 2, 2]
    assert (fake.next_for("carol"), fake.next_for("alice")) == ([1, 3, 4, 5], [4, 5])
    fake.annotate(fake.tasks[1], "carol", "No")
    adapter.deepen(batch, deeper)
    assert fake.next_for("dora") == [3, 4, 5]
    del fake.tasks[1]
    gone, _ = adapter.deepen(batch, deeper)
    assert (gone.task_id, str(gone.error)) == ("t0", "label_studio: somebody deleted task 1")


def announced(pk: int, action: str = "ANNOTATION_CREATED") -> Delivery:
    return Delivery(json.dumps({"action": action, "task": {"id": pk, "data": {"task": "forged"}}}).encode())


def test_a_webhook_is_a_hint_and_the_task_is_asked_for_again(adapter_with: Any, fake: Any, http: HttpServer) -> None:
    adapter = adapter_with()
    batch = opened(adapter)
    sent(adapter, batch)
    assert adapter.receive(batch, announced(2)) == []
    fake.annotate(fake.tasks[2], "alice", "Unsure")
    assert adapter.receive(batch, announced(2)) == [IncomingLabel("t1", "1", "Unsure", 2.5, "1")]
    http.requests.clear()
    assert adapter.receive(batch, announced(2, "ANNOTATIONS_DELETED")) == []
    assert adapter.receive(batch, Delivery(b'{"action": "TASKS_DELETED", "tasks": [{"id": 2}]}')) == []
    assert http.requests == []
    assert adapter.receive(batch, announced(77)) == []


def test_a_webhook_about_another_project_is_refused(adapter_with: Any, fake: Any) -> None:
    adapter = adapter_with()
    mine, other = opened(adapter), opened(adapter, replace(BATCH, batch_id="another"))
    sent(adapter, other)
    with pytest.raises(AdapterError, match="task of another project") as refused:
        adapter.receive(mine, announced(1))
    assert refused.value.permanent


def test_moves_publish_and_take_back_and_delete_only_when_told(adapter_with: Any, fake: Any) -> None:
    adapter = adapter_with()
    batch = opened(adapter)
    sent(adapter, batch)
    fake.annotate(fake.tasks[2], "alice", "Unsure")
    seen = []
    for move in ("launch", "pause", "resume", "cancel", "cancel"):
        adapter.move(batch, move)
        seen.append((fake.projects[1]["is_published"], len(fake.tasks)))
    assert seen == [(True, 5), (False, 5), (True, 5), (False, 5), (False, 5)]
    for _ in range(2):
        adapter_with(delete_on_cancel=True).move(batch, "cancel")
        assert list(fake.tasks) == [2]


def test_a_personal_access_token_buys_access_and_buys_it_again(
    adapter_with: Any, fake: Any, http: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAT", PAT)
    adapter = adapter_with(auth="pat", key_variable="PAT")
    batch = opened(adapter)
    sent(adapter, batch)
    assert fake.refreshed == 1
    assert {request.headers.get("authorization") for request in http.requests} == {None, f"Bearer {ACCESS}"}
    monkeypatch.setattr("labeling_adapters.label_studio.ACCESS_SECONDS", -1.0)
    late = adapter_with(auth="pat", key_variable="PAT")
    assert [list(late.collect(batch, TASKS)), list(late.collect(batch, TASKS))] == [[], []]
    assert fake.refreshed == 3
    monkeypatch.setenv("PAT", "some-other-token")
    with pytest.raises(AdapterError, match="Token is invalid") as refused:
        list(adapter_with(auth="pat", key_variable="PAT").held(batch))
    assert refused.value.permanent


def test_an_answer_of_another_shape_says_so(adapter_with: Any, fake: Any) -> None:
    adapter = adapter_with()
    batch = opened(adapter)
    sent(adapter, batch)
    fake.annotate(fake.tasks[1], "alice", "Yes", lead_time="soon")
    with pytest.raises(
        AdapterError, match=r"tasks: an answer of an unknown shape: tasks.0.annotations.0.lead_time: "
    ) as no:
        list(adapter.collect(batch, TASKS))
    assert no.value.permanent


@pytest.mark.parametrize(
    ("config", "wrong"),
    [
        ({"url": "not a url"}, "url: "),
        ({"auth": "password"}, "auth: "),
        ({"title_prefix": "a prefix that is too long"}, "title_prefix: "),
        ({"webhook_secret_variable": "NOT_SET"}, "the environment variable NOT_SET is not set"),
    ],
)
def test_a_wrong_setting_is_named(adapter_with: Any, config: dict, wrong: str) -> None:
    with pytest.raises(BadInput, match=f"^adapter label_studio: {wrong}"):
        adapter_with(**config)
