"""Surge: the official client and our adapter against the same fake server, and what only Surge does."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from engine.errors import BadInput
from engine.policies import load_policy
from engine.snippets import Snippet
from labeling_adapters import adapter_named
from labeling_adapters.base import AdapterError, Delivery, LabelingAdapter, OutgoingBatch, OutgoingTask
from labeling_adapters.sending import send
from tests.labeling_adapters.http_server import FAULTS, Fault, Reply, Request
from tests.labeling_adapters.surge_server import ANOTHER, BAD, KEY, Refused, SurgeHarness

POLICY = load_policy("injury")
BATCH = OutgoingBatch("0190f3a2", "test", POLICY, overlap=2, callback_url="https://gauntlet.example/callbacks/s3cret")
PROMPT = "He took the knife. She cut the bread. They sat down."
TASKS = [OutgoingTask(f"t{i}", Snippet(PROMPT, f"Number {i} <b>sat</b> & ate."), wanted=2) for i in range(7)]


@pytest.fixture
def vendor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SurgeHarness]:
    monkeypatch.setenv("SURGE_API_KEY", KEY)
    with SurgeHarness(tmp_path) as harness:
        yield harness


@pytest.fixture
def official(vendor: SurgeHarness, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    surge = pytest.importorskip("surge", reason="the official client is not installed (pip install surge-api)")
    monkeypatch.setattr(surge, "api_key", KEY)
    monkeypatch.setattr(surge, "base_url", f"{vendor.server.base_url}/api")
    return surge


def adapter_for(vendor: SurgeHarness, **config: object) -> LabelingAdapter:
    return adapter_named("surge", POLICY, config={**vendor.config, **config})


def sent(vendor: SurgeHarness, tasks: list[OutgoingTask] = TASKS) -> OutgoingBatch:
    batch = replace(BATCH, remote_id=adapter_for(vendor).open(BATCH))
    assert not [one for one in send(adapter_for(vendor), batch, tasks) if one.error]
    return batch


def given(vendor: SurgeHarness, batch: OutgoingBatch, tasks: list[OutgoingTask] = TASKS) -> list[tuple[str, str, str]]:
    return [(one.task_id, one.annotator, one.choice) for one in adapter_for(vendor).collect(batch, tasks)]


def paths(vendor: SurgeHarness) -> list[str]:
    return [f"{request.verb} {request.path.removeprefix('/api')}" for request in vendor.server.requests]


def test_the_official_client_meets_what_our_adapter_made(vendor: SurgeHarness, official: ModuleType) -> None:
    batch = sent(vendor, [replace(TASKS[0], gold="Yes"), *TASKS[1:]])
    (project,) = official.Project.list()
    assert (project.id, project.name, project.status) == (batch.remote_id, "injury [gauntlet 0190f3a2]", "unlaunched")
    assert (project.num_workers_per_task, project.callback_url) == (2, BATCH.callback_url)
    (question,) = project.questions
    assert (question.text, question.options, question.type) == (
        POLICY.question,
        ["Yes", "Unsure", "No"],
        "multiple_choice",
    )
    tasks = [task for page in (1, 2, 3) for task in project.list_tasks(page=page)]
    assert [task.fields for task in tasks] == [
        {"gauntlet_task": f"t{i}", "prompt": PROMPT, "completion": f"Number {i} <b>sat</b> & ate."} for i in range(7)
    ]
    assert [task.is_gold_standard for task in tasks] == [True] + [False] * 6
    project.launch()
    tasks[2].create_response(["No"], worker_id="w-1")
    assert given(vendor, batch) == [("t2", "w-1", "No")]
    assert project.download_json()[2]["responses"][0]["worker_id"] == "w-1"


def test_our_adapter_meets_what_the_official_client_made(vendor: SurgeHarness, official: ModuleType) -> None:
    question = official.questions.MultipleChoiceQuestion(POLICY.question, "Judgement", options=list(POLICY.choices))
    project = official.Project.create(
        "injury [gauntlet 0190f3a2]",
        instructions=POLICY.guidelines.strip(),
        questions=[question],
        callback_url=BATCH.callback_url,
        fields_template="{{prompt}}",
        num_workers_per_task=2,
        tags=["gauntlet"],
    )
    made = project.create_tasks([{"gauntlet_task": "t0", "prompt": PROMPT, "completion": "They ate."}])
    made[0].set_gold_standard(["No"])
    made[0].create_response(["Unsure"], worker_id="w-9")
    batch = sent(vendor, [replace(TASKS[0], gold="No")])
    assert batch.remote_id == project.id
    assert (vendor.holds(), vendor.golds()) == (["t0"], {"t0": "No"})
    assert given(vendor, batch) == [("t0", "w-9", "Unsure")]
    for move, state in [("launch", "in_progress"), ("pause", "paused"), ("resume", "in_progress")]:
        getattr(project, move)()
        assert vendor.state() == state
    assert project.cancel()["status"] == "canceled"


def test_both_clients_send_the_same_keys(vendor: SurgeHarness, official: ModuleType) -> None:
    question = official.questions.MultipleChoiceQuestion("Which?", "Judgement", options=["Yes", "No"])
    official.Project.create("theirs", questions=[question]).create_tasks([{"gauntlet_task": "t0"}])
    theirs = [json.loads(request.body) for request in vendor.server.requests]
    vendor.server.requests.clear()
    sent(vendor, TASKS[:1])
    ours = [json.loads(request.body) for request in vendor.server.requests if request.body]
    assert [body.keys() for body in ours] == [body.keys() for body in theirs]
    assert ours[0]["questions"][0].keys() == theirs[0]["questions"][0].keys()


def test_a_project_is_found_on_a_later_page_and_not_by_a_like_name(vendor: SurgeHarness) -> None:
    batch = sent(vendor, TASKS[:1])
    copy = json.dumps({**ANOTHER, "name": "Copy of injury [gauntlet 0190f3a2]"}).encode()
    for _ in range(205):
        vendor.surge.create_project(Request("POST", "/projects", {}, {}, copy))
    vendor.server.requests.clear()
    assert adapter_for(vendor).open(BATCH) == batch.remote_id
    assert paths(vendor) == ["GET /projects"] * 3


def test_settings_reach_the_project(vendor: SurgeHarness) -> None:
    settings = {"payment_per_response": 0.35, "qualifications_required": ["team-1"], "private_workforce": True}
    adapter_for(vendor, **settings, tags=["paper"]).open(BATCH)
    (project,) = vendor.surge.projects.values()
    assert {key: project[key] for key in [*settings, "tags"]} == {**settings, "tags": ["paper"]}
    assert (project["callback_url"], project["instructions"]) == (BATCH.callback_url, POLICY.guidelines.strip())


def test_the_address_comes_from_the_environment(vendor: SurgeHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SURGE_BASE_URL", f"{vendor.server.base_url}/api")
    assert adapter_named("surge", POLICY).open(BATCH) in vendor.surge.projects
    monkeypatch.setenv("SURGE_BASE_URL", "app.surgehq.ai")
    with pytest.raises(BadInput, match=r"^adapter surge: base_url: must fit the pattern"):
        adapter_named("surge", POLICY)


def test_a_batch_that_was_never_opened_is_refused(vendor: SurgeHarness) -> None:
    with pytest.raises(AdapterError, match="never opened"):
        list(adapter_for(vendor).held(BATCH))
    assert vendor.server.requests == []


@pytest.mark.parametrize("keyed_by", ["text", "label"])
def test_answers_are_read_in_both_shapes_and_by_both_keys(vendor: SurgeHarness, keyed_by: str) -> None:
    vendor.surge.keyed_by = keyed_by
    batch = sent(vendor)
    vendor.answer("t1", "w-1", "Yes")
    assert given(vendor, batch) == [("t1", "w-1", "Yes")]
    vendor.surge.old_shape = True
    (response,) = vendor.task("t1")["responses"]
    assert given(vendor, batch) == [("t1", f"unnamed-{response['id']}", "Yes")]


def test_odd_answers_are_read_or_passed_over(vendor: SurgeHarness) -> None:
    batch = sent(vendor)
    odd: list[object] = [
        {"q": " yes "},
        {"q": ["UNSURE"]},
        {"q": "Perhaps"},
        {"q": ""},
        {},
        None,
        {"a": "Yes", "b": "No"},
    ]
    vendor.task("t0")["responses"] = [
        {"id": f"r{i}", "data": data, "completed_at": "", "worker_id": f"w-{i}"} for i, data in enumerate(odd)
    ]
    assert given(vendor, batch) == [("t0", "w-0", "Yes"), ("t0", "w-1", "Unsure"), ("t0", "w-2", "Perhaps")]


def test_few_tasks_are_asked_for_one_by_one(vendor: SurgeHarness) -> None:
    batch = sent(vendor)
    known = [replace(task, remote_id=vendor.task(task.task_id)["id"]) for task in TASKS]
    vendor.answer("t1", "w-1", "Yes")
    vendor.server.requests.clear()
    assert given(vendor, batch, known[:2]) == [("t1", "w-1", "Yes")]
    assert paths(vendor) == [f"GET /tasks/{task.remote_id}" for task in known[:2]]
    del vendor.surge.tasks[known[0].remote_id]
    assert given(vendor, batch, known[:2]) == [("t1", "w-1", "Yes")]
    vendor.server.requests.clear()
    assert given(vendor, batch, known) == [("t1", "w-1", "Yes")]
    assert paths(vendor) == [f"GET /projects/{batch.remote_id}/tasks"] * 3


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("fault", ["server error", "stall", "html", "proxy page"])
def test_the_report_stands_in_for_the_list(vendor: SurgeHarness, fault: str, flat: bool) -> None:
    batch = sent(vendor)
    vendor.surge.flat_report = flat
    lost = Fault(FAULTS[fault], verb="GET")
    vendor.server.faults.append(lost)
    assert given(vendor, batch) == []
    vendor.answer("t1", "w-1", "Yes")
    vendor.answer("t6", "w-2", "No")
    vendor.server.faults.append(lost)
    assert given(vendor, batch) == [("t1", "w-1", "Yes"), ("t6", "w-2", "No")]
    assert "authorization" not in vendor.server.requests[-1].headers


def test_a_report_that_is_being_made_is_waited_for_elsewhere(vendor: SurgeHarness) -> None:
    batch = sent(vendor)
    vendor.answer("t1", "w-1", "Yes")
    listing = Fault(FAULTS["server error"], verb="GET")
    vendor.surge.report_states = ["CREATING", "IN_PROGRESS", "CREATING", "RETRYING"]
    for _ in range(2):
        vendor.server.faults.append(listing)
        with pytest.raises(AdapterError, match="is being made") as waiting:
            given(vendor, batch)
        assert (waiting.value.permanent, waiting.value.retry_after) == (False, 10.0)
    vendor.surge.report_states = ["CREATING"]
    vendor.server.faults.append(listing)
    assert given(vendor, batch) == [("t1", "w-1", "Yes")]


def test_where_there_is_no_report_either_the_first_failure_counts(vendor: SurgeHarness) -> None:
    batch = sent(vendor)
    vendor.answer("t1", "w-1", "Yes")
    for second in (Fault(FAULTS["html"]), Fault(Reply(200, {"status": "ODD"})), Fault(FAULTS["drop"])):
        vendor.server.faults += [Fault(FAULTS["server error"]), second]
        with pytest.raises(AdapterError, match="tasks: 500 Internal Server Error") as failed:
            given(vendor, batch)
        assert not failed.value.permanent
    vendor.surge.report_states = ["CREATING", "ERROR"]
    vendor.server.faults.append(Fault(FAULTS["html"]))
    with pytest.raises(AdapterError, match="an HTML page") as failed:
        given(vendor, batch)
    assert failed.value.permanent
    for denied in ("rate limit", "refused key"):
        vendor.server.requests.clear()
        vendor.server.faults.append(Fault(FAULTS[denied]))
        with pytest.raises(AdapterError):
            given(vendor, batch)
        assert paths(vendor) == [f"GET /projects/{batch.remote_id}/tasks"]


def test_a_report_that_is_none_is_said_to_be(vendor: SurgeHarness) -> None:
    batch = sent(vendor)
    ready = {"status": "READY", "url": f"{vendor.server.base_url}/presigned/x.gz?signature=s1gned"}
    for data in (b"PK", vendor.surge.reports.get("x", b"\x1f\x8b\x08"), b""):
        vendor.server.faults += [Fault(FAULTS["html"]), Fault(Reply(200, ready)), Fault(Reply(200, data))]
        with pytest.raises(AdapterError, match="the report is no zipped JSON"):
            given(vendor, batch)


def test_an_answer_of_another_shape_is_an_error(vendor: SurgeHarness) -> None:
    batch = sent(vendor)
    for odd in ({"tasks": []}, [1], [{"name": "no id"}], "null"):
        vendor.server.faults.append(Fault(Reply(200, json.dumps(odd).encode())))
        with pytest.raises(AdapterError, match="answered no list of tasks; is the base URL right"):
            list(adapter_for(vendor).held(batch))
    vendor.server.faults.append(Fault(Reply(200, []), verb="POST"))
    with pytest.raises(AdapterError, match="did not say what became of 1 tasks") as unsaid:
        adapter_for(vendor).push(batch, [replace(TASKS[0], task_id="new")])
    assert not unsaid.value.permanent


def test_a_callback_is_a_hint_and_deletes_nothing(vendor: SurgeHarness) -> None:
    batch = sent(vendor)
    vendor.answer("t3", "w-1", "Yes")
    lie = json.loads(vendor.announcement("t3").body)
    lie["responses"][0]["data"] = {POLICY.question: "No"}
    (label,) = adapter_for(vendor).receive(batch, Delivery(json.dumps(lie).encode()))
    assert (label.task_id, label.annotator, label.choice) == ("t3", "w-1", "Yes")
    vendor.server.requests.clear()
    for delivery in vendor.forgeries("t3"):
        with pytest.raises(AdapterError):
            adapter_for(vendor).receive(batch, delivery)
    assert [path for path in paths(vendor) if not path.startswith("GET /tasks/")] == []
    assert len(vendor.surge.projects) == 2


@pytest.mark.parametrize("keeps", [False, True])
def test_a_refused_push_may_have_kept_a_part(vendor: SurgeHarness, keeps: bool) -> None:
    vendor.surge.keeps_before_bad = keeps
    batch = replace(BATCH, remote_id=adapter_for(vendor).open(BATCH))
    bad = [OutgoingTask(f"bad{i}", Snippet(PROMPT, f"It was {BAD} then."), wanted=1) for i in range(2)]
    pushed = adapter_for(vendor).push(batch, [*TASKS[:2], bad[0], *TASKS[2:], bad[1]])
    assert [one.task_id for one in pushed if one.error] == ["bad0", "bad1"]
    assert sorted(vendor.holds()) == [task.task_id for task in TASKS]
    assert {one.task_id: one.remote_id for one in pushed if not one.error} == {
        task.task_id: vendor.task(task.task_id)["id"] for task in TASKS
    }


def test_gold_that_the_vendor_refuses_is_reported_for_its_task(vendor: SurgeHarness) -> None:
    batch = replace(BATCH, remote_id=adapter_for(vendor).open(BATCH))
    tasks = [replace(TASKS[0], gold="Perhaps"), replace(TASKS[1], gold="Yes")]
    first, second = adapter_for(vendor).push(batch, tasks)
    assert first.error is not None
    assert (first.error.permanent, second.error) == (True, None)
    assert (vendor.holds(), vendor.golds()) == (["t0", "t1"], {"t1": "Yes"})


def test_nothing_is_launched_but_by_asking_and_no_more_than_once(vendor: SurgeHarness) -> None:
    batch = sent(vendor)
    assert vendor.surge.launches == 0
    vendor.server.faults.append(Fault(FAULTS["drop"], stored=True, verb="PUT"))
    with pytest.raises(AdapterError):
        adapter_for(vendor).move(batch, "launch")
    adapter_for(vendor).move(batch, "launch")
    assert (vendor.surge.launches, vendor.state()) == (1, "in_progress")
    adapter_for(vendor).move(batch, "cancel")
    with pytest.raises(AdapterError, match="422"):
        adapter_for(vendor).move(batch, "launch")
    assert vendor.surge.launches == 1


def deeper(vendor: SurgeHarness, number: int, total: int, *answered_by: str) -> OutgoingTask:
    remote_id = vendor.task(f"t{number}")["id"]
    by = frozenset(answered_by)
    return replace(TASKS[number], remote_id=remote_id, wanted=1, total=total, more=1, answered_by=by)


def test_further_answers_are_paid_for_one_by_one_and_launched_with_the_batch(vendor: SurgeHarness) -> None:
    batch = sent(vendor)
    adapter_for(vendor).move(batch, "launch")
    vendor.server.requests.clear()
    adapter_for(vendor).deepen(batch, [deeper(vendor, 1, 2, "w-1")])  # the first project's two workers are enough
    assert paths(vendor) == [f"GET /projects/{batch.remote_id}"]
    tasks = [deeper(vendor, 1, 3, "w-1", "w-2"), deeper(vendor, 2, 4, "w-1", "unnamed-7")]
    for _ in range(2):
        adapter_for(vendor, qualifications_forbidden=["team-9"]).deepen(batch, tasks)
    first, second = vendor.surge.projects.values()
    (team,) = vendor.surge.teams.values()
    assert (second["name"], second["num_workers_per_task"]) == ("injury [gauntlet 0190f3a2, more]", 1)
    assert (second["callback_url"], second["qualifications_forbidden"]) == (BATCH.callback_url, ["team-9", team["id"]])
    assert team["members"] == ["w-1", "w-2"]
    copies = [task["fields"] for task in vendor.surge.tasks.values() if task["project_id"] == second["id"]]
    assert [(one["gauntlet_task"], one["gauntlet_answer"]) for one in copies] == [("t1", "3"), ("t2", "3"), ("t2", "4")]
    assert (first["status"], second["status"], vendor.surge.launches) == ("in_progress", "in_progress", 2)
    adapter_for(vendor).deepen(batch, [deeper(vendor, 3, 3, "w-5")])
    assert (team["members"], vendor.surge.launches) == (["w-1", "w-2", "w-5"], 2)


def test_the_second_project_moves_with_the_first(vendor: SurgeHarness) -> None:
    batch = sent(vendor)
    adapter_for(vendor).move(batch, "launch")
    adapter_for(vendor).move(batch, "pause")
    adapter_for(vendor).deepen(batch, [deeper(vendor, 1, 3, "w-1")])
    states = [tuple(one["status"] for one in vendor.surge.projects.values())]
    for move in ("pause", "resume", "pause", "resume", "cancel"):
        for _ in range(2):
            adapter_for(vendor).move(batch, move)  # type: ignore[arg-type]
        states.append(tuple(one["status"] for one in vendor.surge.projects.values()))
    both = [(each, each) for each in ("in_progress", "paused", "in_progress", "canceled")]
    assert states == [("paused", "unlaunched"), ("paused", "unlaunched"), *both]


@pytest.mark.parametrize("reported", [False, True])
def test_answers_come_from_both_projects(vendor: SurgeHarness, reported: bool) -> None:
    batch = sent(vendor)
    for worker in ("w-1", "w-2"):
        vendor.answer("t1", worker, "Unsure")
    task = deeper(vendor, 1, 3, "w-1", "w-2")
    adapter_for(vendor).deepen(batch, [task])
    with pytest.raises(Refused):
        vendor.answer("t1", "w-1", "No")
    vendor.answer("t1", "w-3", "No")
    many = [task, *(replace(one, total=2) for one in TASKS[2:])]
    for tasks in (many[:1], many):
        if reported:
            vendor.server.faults += [Fault(FAULTS["html"], verb="GET")] * (len(tasks) > 1)
        assert given(vendor, batch, tasks) == [("t1", "w-3", "No")]
    assert given(vendor, batch, TASKS) == [("t1", "w-1", "Unsure"), ("t1", "w-2", "Unsure")]  # none was deepened


def test_the_official_client_reads_reports(vendor: SurgeHarness, official: ModuleType) -> None:
    batch = sent(vendor)
    project = official.Project.retrieve(batch.remote_id)
    with pytest.raises(official.errors.SurgeRequestError):
        project.download_json()
    vendor.answer("t1", "w-1", "Yes")
    whole = io.BytesIO()
    project.save_report("export_json", whole)
    assert [len(task["responses"]) for task in json.loads(whole.getvalue())] == [0, 1, 0, 0, 0, 0, 0]
