"""Batches sent out by hand, and their life at a vendor over real HTTP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rest_framework.test import APIClient

from tests.labeling_adapters.webhook_vendor_harness import WebhookVendorHarness
from webapi.models import (
    Annotator,
    Batch,
    Consensus,
    Corpus,
    Gold,
    Job,
    Label,
    Policy,
    Round,
    RoundSnippet,
    Snippet,
    Task,
    User,
)
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


TO_COMPARE = "kind: a batch to compare is labelled here: its adapter is pull"


def test_a_batch_to_compare_has_each_pair_once(
    alice: User, rita: User, api: Api, make_snippets: Callable[..., list[Snippet]], tmp_path: Path
) -> None:
    one, two, other = make_snippets(3)
    Snippet.objects.filter(pk=two.pk).update(prompt=one.prompt)
    keys = [str(row.pk) for row in (one, two, other)]
    body = {"policy": "harm", "name": "n", "kind": "compare"}
    made = api(rita).post("/api/v1/batches", {**body, "pairs": [keys[:2], keys[1::-1]], "overlap": 2})
    assert (made.status_code, made.json()["kind"]) == (201, "compare")
    assert list(Task.objects.values_list("snippet", "rival", "wanted")) == [(one.pk, two.pk, 2)]
    wrong = {
        "snippets.0": {"pairs": [[keys[0], keys[2]]]},
        "pairs.0": {"pairs": [keys]},
        "snippets": {"snippets": keys},
    }
    for where, change in wrong.items():
        refused = api(rita).post("/api/v1/batches", {**body, **change})
        assert refused.status_code == 400
        assert ".".join(map(str, refused.json()["errors"][0]["loc"])) == where
    same = api(rita).post("/api/v1/batches", {**body, "pairs": [[keys[0], keys[0]]]})
    assert (same.status_code, Batch.objects.count()) == (400, 1)
    vendors = {"adapter": "csv_dropbox", "config": {"folder": str(tmp_path)}}
    refused = api(rita).post("/api/v1/batches", {**body, "pairs": [keys[:2]], **vendors})
    assert (refused.status_code, refused.json()["detail"]) == (400, TO_COMPARE)
    assert Batch.objects.count() == 1
    (task,) = api(alice).post("/api/v1/tasks/lease", {"kind": "compare"}).json()["tasks"]
    assert (task["kind"], {task["completion"], task["rival"]}) == ("compare", {one.completion, two.completion})


def test_a_batch_to_audit_goes_to_who_is_trusted_alone(
    alice: User, bob: User, rita: User, api: Api, make_snippets: Callable[..., list[Snippet]], tmp_path: Path
) -> None:
    (snippet,) = make_snippets(1)
    body = {"policy": "harm", "name": "n", "kind": "audit", "snippets": [str(snippet.pk)]}
    vendors = {"adapter": "csv_dropbox", "config": {"folder": str(tmp_path)}}
    refused = api(rita).post("/api/v1/batches", {**body, **vendors})
    assert (refused.status_code, refused.json()["detail"]) == (400, TO_COMPARE.replace("compare", "audit"))
    assert api(rita).post("/api/v1/batches", body).json()["kind"] == "audit"
    leased = [len(api(who).post("/api/v1/tasks/lease", {}).json()["tasks"]) for who in (alice, bob)]
    assert leased == [0, 1]


def test_a_filter_finds_the_oldest_of_what_it_names(
    rita: User, api: Api, policy: Policy, make_batch: Callable[..., Batch], make_snippets: Callable[..., list[Snippet]]
) -> None:
    rows = make_snippets(6)
    Snippet.objects.filter(pk__in=[row.pk for row in rows[:4]]).update(source="rewrite", split="train")
    Snippet.objects.filter(pk=rows[0].pk).update(split="test")
    task = Task.objects.create(batch=make_batch(), snippet=rows[1], wanted=1)
    annotator = Annotator.objects.create(name="ann")
    Label.objects.create(task=task, snippet=rows[1], annotator=annotator, choice="Yes")
    Label.objects.create(snippet=rows[2], annotator=annotator, choice="No", counted=False)
    Consensus.objects.create(snippet=rows[1], choice="Yes", rule="majority", labels=1)
    corpus = Corpus.objects.create(name="books", path="/nowhere")
    round_ = Round.objects.create(name="one", policy=policy, corpus=corpus)
    for row in rows[3:]:
        RoundSnippet.objects.create(round=round_, snippet=row, pool="initial")
    wanted = {
        (0, 1, 2, 3): {"source": "rewrite"},
        (1, 2, 3): {"source": "rewrite", "split": "train"},
        (2, 3): {"source": "rewrite", "split": "train", "unlabelled": True},
        (2,): {"source": "rewrite", "split": "train", "unlabelled": True, "limit": 1},
        (1,): {"consensus": "Yes"},
        (3, 4, 5): {"round": str(round_.pk)},
    }
    for numbers, chosen in wanted.items():
        made = api(rita).post("/api/v1/batches", {"policy": "harm", "name": "n", "filter": chosen})
        tasks = Task.objects.filter(batch=made.json()["id"])
        assert set(tasks.values_list("snippet", flat=True)) == {rows[number].pk for number in numbers}
    before = Batch.objects.count()
    for nothing in ({"consensus": "No"}, {"source": "nonsense"}, {"limit": 0}, {"colour": "red"}):
        refused = api(rita).post("/api/v1/batches", {"policy": "harm", "name": "n", "filter": nothing})
        assert refused.status_code == 400
    assert Batch.objects.count() == before


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ({"adapter": "mturk"}, "unknown_name", "csv_dropbox, label_studio, pull"),
        (
            {"adapter": "surge", "config": {"key_variable": "NO_SUCH_API_KEY"}},
            "bad_input",
            "NO_SUCH_API_KEY is not set",
        ),
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


def test_a_batch_that_is_pulled_is_paused_and_resumed_without_a_vendor(
    rita: User, api: Api, make_batch: Callable[..., Batch]
) -> None:
    batch = make_batch(1)
    for move in ("pause", "resume"):
        assert api(rita).post(f"/api/v1/batches/{batch.pk}/{move}").status_code == 200
        run_jobs("move_batch")
        batch.refresh_from_db()
        assert (batch.asked, batch.told, batch.vendor_error) == (move, move, "")
    assert set(Job.objects.values_list("kind", "state")) == {("move_batch", "succeeded")}


def test_answers_to_gold_are_no_progress_and_the_queue_says_what_the_batch_says(
    rita: User, alice: User, api: Api, make_batch: Callable[..., Batch], policy: Policy
) -> None:
    batch = make_batch(3, wanted=2)
    snippet = Snippet.objects.create(policy=policy, prompt="p", completion="gold", content_hash="g" * 64, split="train")
    gold = Gold.objects.create(policy=policy, snippet=snippet, choice="Yes")
    task = Task.objects.create(batch=batch, snippet=snippet, gold=gold, wanted=1, taken=1, labelled=1, state="done")
    Label.objects.create(
        task=task, snippet=snippet, annotator=Annotator.objects.create(name="alice", user=alice), choice="Yes"
    )
    shown = api(rita).get(f"/api/v1/batches/{batch.pk}").json()["progress"]
    assert (shown["done"], shown["total"], shown["rate"], shown["eta"]) == (0, 6, None, None)
    (row,) = api(rita).get("/api/v1/metrics/queue").json()["batches"]
    assert {name: row[name] for name in ("done", "total", "leased", "rate", "eta")} == {
        name: shown[name] for name in ("done", "total", "leased", "rate", "eta")
    }
