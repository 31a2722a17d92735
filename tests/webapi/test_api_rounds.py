"""Rounds over the API: launched, watched, moved; classifiers, evaluations and figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from tests.people import weights
from webapi.api import events
from webapi.models import (
    Annotator,
    Artifact,
    Batch,
    Classifier,
    Corpus,
    Evaluation,
    Gold,
    Job,
    Label,
    Policy,
    Round,
    RoundState,
    Snippet,
    StageState,
    Task,
    User,
)
from webapi.selectors.classifiers import serving_classifier
from webapi.services import classifiers
from workers.rounds import STAGES

Api = Callable[..., APIClient]


@pytest.fixture
def corpus(db: None, tmp_path: Path) -> Corpus:
    return Corpus.objects.create(name="books", path=str(tmp_path))


@pytest.fixture
def launch(rita: User, api: Api, policy: Policy, corpus: Corpus, django_capture_on_commit_callbacks: Any) -> Any:
    """`launch(seed=3)`: the answer to a request for a round."""

    def post(**body: Any) -> Any:
        with django_capture_on_commit_callbacks(execute=True):
            asked = {"policy": "harm", "corpus": "books", "labeling": {"adapter": "pull"}, **body}
            return api(rita).post("/api/v1/rounds", asked, format="json")

    return post


def test_a_round_is_launched_and_watched_in_one_get(launch: Any, rita: User, api: Api) -> None:
    response = launch(name="first", seed=3, target_kl=0.25, training={"epochs": 2})
    assert response.status_code == 201, response.content
    round_ = Round.objects.get()
    assert (round_.seed, round_.config["target_kl"], round_.config["training"]["epochs"]) == (3, 0.25, 2)
    assert (round_.created_by, round_.state) == (rita, RoundState.RUNNING)
    body = api(rita).get(f"/api/v1/rounds/{round_.pk}").json()
    assert body["settings"] == round_.config
    stages = body["progress"]["stages"]
    assert [stage["name"] for stage in stages] == [spec.name for spec in STAGES]
    assert {"state", "done", "total", "rate", "eta", "runs", "error"} <= stages[0].keys()
    assert stages[0]["state"] == "running"
    assert body["progress"]["current"] == STAGES[0].name
    assert {step["key"] for step in body["funnel"]} >= {"corpus", "labelled", "attack", "selected"}
    (row,) = api(rita).get("/api/v1/rounds?state=running").json()["results"]
    assert (row["name"], row["policy_name"], row["corpus_name"]) == ("first", "harm v1", "books")


@pytest.mark.parametrize(
    ("body", "loc", "code"),
    [
        ({"target_kl": 0}, ["target_kl"], "min_value"),
        ({"generator": {"name": "gpt-9"}}, ["generator"], "invalid"),
        ({"generator": {"name": "openai", "config": {"model": ""}}}, ["generator"], "invalid"),
        ({"generator": {"name": "causal_lm", "config": {"model": "gpt2", "top_q": 1}}}, ["generator"], "invalid"),
        (
            {"held_out": {"paraphraser": {"name": "embedded", "config": {"x": 1}}}},
            ["held_out", "paraphraser"],
            "invalid",
        ),
        ({"attacks": [{"name": "rewrite", "config": {"wanted": 0}}]}, ["attacks", 0], "invalid"),
        (
            {"attacks": [{"name": "rewrite", "budget": {"queries": -1}}]},
            ["attacks", 0, "budget", "queries"],
            "min_value",
        ),
        ({"training": {"epochs": "many"}}, ["training", "epochs"], "invalid"),
        ({"colour": "red"}, ["colour"], "unknown_field"),
        ({"policy": "nonsense"}, ["policy"], "does_not_exist"),
        ({"corpus": "nonsense"}, ["corpus"], "does_not_exist"),
        ({"seed": -1}, ["seed"], "min_value"),
        ({"precision": "int4"}, ["precision"], "invalid_choice"),
    ],
)
def test_a_round_that_is_wrong_names_the_field_and_is_not_launched(
    launch: Any, body: dict[str, Any], loc: list[str], code: str
) -> None:
    response = launch(**body)
    assert response.status_code == 400
    assert [(e["loc"], e["code"]) for e in response.json()["errors"]] == [(loc, code)]
    assert Round.objects.count() == Job.objects.count() == 0


def test_a_policy_that_simulated_annotators_cannot_judge_by_is_named(launch: Any) -> None:
    response = launch(labeling={"adapter": "simulated"})
    assert (response.status_code, response.json()["code"]) == (400, "bad_input")
    needs = "policy harm: simulation.lexicon: the lexicon judge needs at least one rule"
    assert response.json()["detail"] == needs
    assert Round.objects.count() == Job.objects.count() == 0


def test_an_unknown_registry_name_lists_the_known(launch: Any) -> None:
    assert "nearest_continuations" in launch(generator={"name": "gpt-9"}).json()["detail"]


def test_a_wrong_setting_of_a_generator_or_paraphraser_is_named_and_not_repeated(launch: Any) -> None:
    body = {"generator": {"name": "nearest_continuations", "config": {"tmeperature": "sk-secret"}}}
    refused = launch(**body, held_out={"paraphraser": {"name": "openai", "config": {"model": "m", "top_p": 2}}})
    assert {tuple(one["loc"]): one["message"] for one in refused.json()["errors"]} == {
        ("generator",): "config of generator nearest_continuations: tmeperature: there is no such field; "
        "known: directory, graft_names, neighbours, temperature",
        ("held_out", "paraphraser"): "config of paraphraser openai: top_p: must be at most 1.0",
    }
    assert "sk-secret" not in refused.content.decode()
    assert Round.objects.count() == Job.objects.count() == 0


def test_a_round_is_paused_resumed_retried_and_cancelled(launch: Any, rita: User, api: Api) -> None:
    launch()
    round_ = Round.objects.get()
    client = api(rita)

    def move(action: str) -> tuple[int, str]:
        response = client.post(f"/api/v1/rounds/{round_.pk}/{action}")
        return response.status_code, response.json().get("state") or response.json()["code"]

    assert move("resume") == (409, "round_not_paused")
    assert move("pause") == (200, "paused")
    assert move("pause") == (409, "round_not_running")
    assert move("resume") == (200, "running")
    assert move("retry") == (409, "round_not_failed")
    stage = round_.stages.get(name="ingest")
    stage.fail("boom")
    Round.objects.get().fail("ingest: boom")
    assert client.get(f"/api/v1/rounds/{round_.pk}").json()["error"] == "ingest: boom"
    assert move("retry") == (200, "running")
    assert round_.stages.get(name="ingest").state != StageState.FAILED
    assert move("cancel") == (200, "cancelled")
    assert move("cancel") == (409, "round_finished")


def stream(response: Any) -> list[dict[str, str]]:
    """The events of a stream that ends."""
    text = b"".join(response.streaming_content).decode()
    blocks = [block for block in text.split("\n\n") if block.startswith("id: ")]
    return [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks]


def test_a_rounds_events_end_with_it(launch: Any, rita: User, api: Api) -> None:
    launch()
    round_ = Round.objects.get()
    round_.cancel()
    client = api(rita)
    response = client.get(f"/api/v1/rounds/{round_.pk}/events", HTTP_ACCEPT="text/event-stream")
    assert response["Content-Type"] == "text/event-stream"
    progress, end = stream(response)
    assert (progress["event"], end["event"]) == ("progress", "end")
    data = json.loads(progress["data"])
    assert (data["state"], len(data["stages"])) == ("cancelled", len(STAGES))
    again = client.get(f"/api/v1/rounds/{round_.pk}/events", HTTP_LAST_EVENT_ID=progress["id"])
    assert [event["event"] for event in stream(again)] == ["end"]


def test_events_come_when_something_changes_and_not_when_the_clock_ticks(
    rita: User, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job.objects.create(kind="export_rows", state="running", started_at=timezone.now(), total=10, done=1)
    looks = iter([1, 1, 4, 10])

    def tick(seconds: float) -> None:
        done = next(looks)
        Job.objects.filter(pk=job.pk).update(done=done, state="succeeded" if done == 10 else "running")

    monkeypatch.setattr(events.time, "sleep", tick)
    found = stream(api(rita).get(f"/api/v1/jobs/{job.pk}/events"))
    assert [(e["event"], json.loads(e["data"]).get("done")) for e in found] == [
        ("progress", 1),
        ("progress", 4),
        ("progress", 10),
        ("end", None),
    ]
    assert len({e["id"] for e in found}) == 3


def test_a_stream_closes_after_its_time_and_keeps_alive(
    rita: User, api: Api, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.EVENTS_SECONDS = 40
    job = Job.objects.create(kind="export_rows", state="queued")
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(events.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(events.time, "monotonic", lambda: float(next(clock)))
    text = b"".join(api(rita).get(f"/api/v1/jobs/{job.pk}/events").streaming_content).decode()
    assert text.startswith("retry: 2000\n\n")
    assert ": still here\n\n" in text
    assert "event: end" not in text


def test_a_stream_that_one_may_not_see_is_a_problem(alice: User, api: Api, launch: Any) -> None:
    launch()
    response = api(alice).get(f"/api/v1/rounds/{Round.objects.get().pk}/events", HTTP_ACCEPT="text/event-stream")
    assert (response.status_code, response["Content-Type"]) == (404, "application/problem+json")
    assert json.loads(response.content)["code"] == "not_found"


def test_the_report(launch: Any, rita: User, api: Api, settings: Any) -> None:
    launch()
    round_ = Round.objects.get()
    client = api(rita)
    for path in ("report", "report.html"):
        response = client.get(f"/api/v1/rounds/{round_.pk}/{path}")
        assert (response.status_code, response.json()["code"]) == (404, "report_not_ready")
    folder = Path(settings.GAUNTLET_HOME) / "rounds" / str(round_.pk)
    folder.mkdir(parents=True)
    (folder / "report.json").write_text('{"rows": []}')
    (folder / "report.html").write_text("<h1>Röund</h1>", encoding="utf-8")
    for kind in ("json", "html"):
        path = f"rounds/{round_.pk}/report.{kind}"
        Artifact.objects.create(kind=f"report_{kind}", path=path, sha256="0" * 64, size=1)
    body = client.get(f"/api/v1/rounds/{round_.pk}/report").json()
    assert body == {"html": f"http://testserver/api/v1/rounds/{round_.pk}/report.html", "report": {"rows": []}}
    page = client.get(body["html"])
    assert b"".join(page.streaming_content).decode() == "<h1>Röund</h1>"
    assert page["Content-Type"] == "text/html; charset=utf-8"
    assert "sandbox" in page["Content-Security-Policy"]


class FixedScorer:
    """Scores by the length of the completion."""

    def logits(self, snippets: Any) -> Any:
        return np.array([len(s.completion) - 10 for s in snippets], dtype=np.float32)


def test_a_classifier_scores_and_is_promoted(
    rita: User, api: Api, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = weights()
    first, second = (
        Classifier.objects.create(policy=policy, name=n, condition=n, encoder="e", threshold=0.5, artifact=artifact)
        for n in ("one", "two")
    )
    monkeypatch.setattr(classifiers, "_scorer", lambda *args: FixedScorer())
    client = api(rita)
    body = {"snippets": [{"completion": "x" * n} for n in (9, 10, 11)]}
    scored = client.post(f"/api/v1/classifiers/{first.pk}/score", body).json()
    assert scored["threshold"] == 0.5
    assert [row["logit"] for row in scored["results"]] == [-1.0, 0.0, 1.0]
    assert [row["rejected"] for row in scored["results"]] == [False, True, True]
    assert scored["results"][2]["score"] == pytest.approx(1 / (1 + np.exp(-1)))
    for row in (first, second, first):
        assert client.post(f"/api/v1/classifiers/{row.pk}/promote").status_code == 200
    serving = serving_classifier(policy.pk)
    assert serving is not None
    assert serving.pk == first.pk
    assert len(client.get("/api/v1/classifiers?promoted=true").json()["results"]) == 2


def test_a_classifier_that_is_not_ready_says_so(rita: User, api: Api, policy: Policy) -> None:
    row = Classifier.objects.create(policy=policy, name="c", condition="b", encoder="e")
    client = api(rita)
    score = client.post(f"/api/v1/classifiers/{row.pk}/score", {"snippets": [{"completion": "x"}]})
    assert (score.status_code, score.json()["code"]) == (409, "classifier_not_trained")
    promote = client.post(f"/api/v1/classifiers/{row.pk}/promote")
    assert (promote.status_code, promote.json()["code"]) == (409, "classifier_not_calibrated")
    row.refresh_from_db()
    assert row.promoted_at is None
    many = client.post(f"/api/v1/classifiers/{row.pk}/score", {"snippets": [{"completion": "x"}] * 257})
    assert many.json()["errors"][0]["code"] == "max_length"
    row.artifact = Artifact.objects.create(kind="classifier", path="gone", sha256="0" * 64, size=1)
    row.save()
    gone = client.post(f"/api/v1/classifiers/{row.pk}/score", {"snippets": [{"completion": "x"}]})
    assert (gone.status_code, gone.json()["code"]) == (503, "missing_model")


def test_evaluations(rita: User, api: Api, policy: Policy) -> None:
    classifier = Classifier.objects.create(policy=policy, name="c", condition="b", encoder="e")
    rate = {"estimate": 0.0, "low": 0.0, "high": 0.1, "level": 0.95, "method": "x", "failures": 0, "n": 30}
    row = Evaluation.objects.create(classifier=classifier, name="test", results={"fnr": rate})
    (shown,) = api(rita).get(f"/api/v1/evaluations?classifier={classifier.pk}").json()["results"]
    assert (shown["id"], shown["results"]) == (str(row.pk), {"fnr": rate})


def test_figures(
    rita: User, alice: User, api: Api, policy: Policy, make_batch: Callable[..., Batch], corpus: Corpus
) -> None:
    batch = make_batch(2, wanted=2)
    people = [Annotator.objects.create(name=name, user=user) for name, user in (("alice", alice), ("rita", rita))]
    answers = iter(["Yes", "No", "No", "No"])
    for snippet in Snippet.objects.all():
        for annotator in people:
            task = snippet.tasks.get()
            Label.objects.create(snippet=snippet, task=task, annotator=annotator, choice=next(answers))
    client = api(rita)
    counts = client.get("/api/v1/metrics/labels", {"policy": "harm", "batch": str(batch.pk)}).json()
    assert counts == {"by": "choice", "total": 4, "counts": [{"key": "No", "count": 3}, {"key": "Yes", "count": 1}]}
    by_annotator = client.get("/api/v1/metrics/labels?by=annotator&since=2020-01-01T00:00:00Z").json()["counts"]
    assert {row["key"]: row["count"] for row in by_annotator} == {"alice": 2, "rita": 2}
    agreement = client.get("/api/v1/metrics/agreement?policy=harm").json()
    # One of two pairs agrees: D_o = 1/2, D_e = 2 * 3 * 1 / (4 * 3), so alpha = 0.
    assert agreement["overall"]["alpha"]["estimate"] == pytest.approx(0.0)
    assert agreement["overall"]["alpha"]["n"] == 2
    (queued,) = client.get("/api/v1/metrics/queue?policy=harm&state=open").json()["batches"]
    assert (queued["id"], queued["total"]) == (str(batch.pk), 4)
    Round.objects.create(name="r", policy=policy, corpus=corpus, state="succeeded", summary={"fnr": {}})
    (figures,) = client.get("/api/v1/metrics/rounds").json()["rounds"]
    assert figures["summary"] == {"fnr": {}}
    for query in ("labels?by=colour", "labels?nonsense=1", "queue?state=x", "agreement?policy=none"):
        assert client.get(f"/api/v1/metrics/{query}").status_code == 400
    mine = api(alice).get("/api/v1/me").json()
    assert (mine["role"], mine["labeling"]["total"]) == ("contractor", 2)
    assert mine["may"]["tasks"] == ["lease", "release", "renew"]
    assert "rounds" not in mine["may"]


def test_only_labels_that_stand_are_counted_and_annotators_see_all_of_theirs(
    rita: User, alice: User, api: Api, policy: Policy, make_batch: Callable[..., Batch]
) -> None:
    """Of alice's answers one is to gold, one surplus, one withdrawn, one changed, one withdrawn when it was changed."""
    batch = make_batch(5)
    ann = Annotator.objects.create(name="alice", user=alice)
    tasks = list(batch.tasks.order_by("pk"))
    gold = Gold.objects.create(policy=policy, snippet=tasks[0].snippet, choice="Yes")
    Task.objects.filter(pk=tasks[0].pk).update(gold=gold)
    withdrawn = {"counted": False, "withdrawn_at": timezone.now()}
    given: list[tuple[Task, str, dict[str, Any]]] = [
        (tasks[0], "Yes", {}),
        (tasks[1], "Yes", {"counted": False}),
        (tasks[2], "Yes", withdrawn),
        (tasks[3], "Yes", {}),
        (tasks[3], "No", {"revision": 1}),
        (tasks[4], "Unsure", {}),
        (tasks[4], "Yes", {"revision": 1, **withdrawn}),
    ]
    for task, choice, fields in given:
        Label.objects.create(task=task, snippet=task.snippet, annotator=ann, choice=choice, **fields)
    Label.objects.create(snippet=tasks[1].snippet, annotator=Annotator.objects.create(name="import"), choice="No")
    counts = api(rita).get("/api/v1/metrics/labels", {"policy": "harm"}).json()
    assert counts["counts"] == [{"key": "No", "count": 2}, {"key": "Unsure", "count": 1}]
    assert counts["total"] == 3
    for by in ("annotator", "batch", "day"):
        assert api(rita).get("/api/v1/metrics/labels", {"by": by}).json()["total"] == 3
    mine = api(alice).get("/api/v1/me").json()["labeling"]
    assert (mine["total"], mine["changed"]) == (5, 2)
    assert {one["key"]: one["count"] for one in mine["choices"]} == {"Yes": 4, "No": 1}


def test_agreement_without_labels_is_404(rita: User, api: Api, policy: Policy) -> None:
    assert api(rita).get("/api/v1/metrics/agreement").status_code == 404


def test_a_round_tells_what_it_paid_to_endpoints(launch: Any, rita: User, api: Api) -> None:
    launch()
    round_ = Round.objects.get()
    path = f"/api/v1/rounds/{round_.pk}"
    assert api(rita).get(path).json()["spending"] is None
    paid = {"requests": 2, "reused": 1, "estimated": 0, "prompt_tokens": 10, "completion_tokens": 5, "money": 0.25}
    for name in ("generate", "attack"):
        round_.stages.filter(name=name).update(result={"kept": 1, "spending": {"m": paid}})
    assert api(rita).get(path).json()["spending"] == {
        "m": {
            "requests": 4, "reused": 2, "estimated": 0, "prompt_tokens": 20, "completion_tokens": 10, "money": 0.5
        }
    }  # fmt: skip
