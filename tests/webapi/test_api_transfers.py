"""Imports, exports and jobs over the API."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone
from rest_framework.test import APIClient

from webapi.api.schema import EXAMPLE_ID
from webapi.models import (
    Annotator,
    Batch,
    Corpus,
    Gold,
    Job,
    JobState,
    Label,
    Policy,
    Preference,
    Round,
    Snippet,
    Stage,
    Task,
    User,
)
from webapi.services.policies import policy_create
from workers import export_figures
from workers.execute import execute

Api = Callable[..., APIClient]


def upload(client: APIClient, name: str, content: bytes, **fields: Any) -> Any:
    file = SimpleUploadedFile(name, content)
    return client.post("/api/v1/imports", {"policy": "harm", "file": file, **fields}, format="multipart")


def test_a_file_is_uploaded_and_imported(rita: User, api: Api, policy: Policy) -> None:
    client = api(rita)
    response = upload(client, "s.jsonl", b'{"completion": "One."}\n{"completion": "Two."}\n')
    assert response.status_code == 202, response.content
    job = response.json()
    assert {"id", "kind", "state", "done", "total", "rate", "eta", "error"} <= job.keys()
    assert (job["state"], job["kind"]) == ("queued", "import_snippets")
    assert execute(job["id"])
    done = client.get(f"/api/v1/imports/{job['id']}").json()
    assert (done["state"], done["result"]["created"], done["total"]) == ("succeeded", 2, done["done"])
    assert done["result"] == client.get(f"/api/v1/jobs/{job['id']}").json()["result"]
    assert sorted(Snippet.objects.values_list("completion", flat=True)) == ["One.", "Two."]
    assert Job.objects.get().created_by == rita


def test_a_bad_line_stops_the_job_and_nothing_is_written(rita: User, api: Api, policy: Policy) -> None:
    client = api(rita)
    job = upload(client, "s.jsonl", b'{"completion": "One."}\n{"completion": \n').json()
    execute(job["id"])
    done = client.get(f"/api/v1/jobs/{job['id']}").json()
    assert done["state"] == "failed"
    assert done["error"].startswith("s.jsonl, line 2: not JSON")
    assert Snippet.objects.count() == 0


def test_bad_lines_are_skipped_when_asked(rita: User, api: Api, policy: Policy) -> None:
    job = upload(api(rita), "s.jsonl", b'{"completion": "One."}\n{"completion": \n', on_error="skip").json()
    execute(job["id"])
    result = Job.objects.get().result
    assert (result["created"], result["refused"]) == (1, 1)
    assert [(e["line"], e["code"]) for e in result["errors"]] == [(2, "malformed_line")]


def test_a_file_on_the_server_is_imported(rita: User, api: Api, policy: Policy, tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text("completion\nOne.\n")
    response = api(rita).post("/api/v1/imports", {"policy": "harm", "path": str(path)})
    assert response.status_code == 202
    execute(response.json()["id"])
    assert Snippet.objects.get().completion == "One."


@pytest.mark.parametrize(
    ("body", "code", "loc"),
    [
        ({}, "bad_input", None),
        ({"path": "/nowhere/s.csv"}, "bad_input", None),
        ({"path": "/nowhere/s.txt"}, "invalid", ["format"]),
        ({"path": "/nowhere/s.csv", "on_error": "hope"}, "invalid", ["on_error"]),
        ({"path": "/nowhere/s.csv", "source": "dream"}, "invalid", ["source"]),
        ({"path": "/nowhere/s.csv", "policy": "none"}, "invalid", ["policy"]),
    ],
)
def test_an_import_that_is_wrong_makes_no_job(
    rita: User, api: Api, policy: Policy, body: dict[str, Any], code: str, loc: list[str] | None
) -> None:
    response = api(rita).post(
        "/api/v1/imports", {"policy": "harm", "format": "csv", **body} if not loc else {"policy": "harm", **body}
    )
    assert (response.status_code, response.json()["code"]) == (400, code)
    if loc:
        assert response.json()["errors"][0]["loc"] == loc
    assert Job.objects.count() == 0


def test_a_file_may_be_larger_than_a_request(rita: User, api: Api, policy: Policy, settings: Any) -> None:
    settings.MAX_BODY_BYTES, settings.MAX_UPLOAD_BYTES = 500, 3000
    client = api(rita)
    assert upload(client, "s.jsonl", b" " * 2000).status_code == 202
    response = upload(client, "s.jsonl", b" " * 4000)
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
    assert Job.objects.count() == 1


def downloaded(client: APIClient, **asked: Any) -> bytes:
    """The file of an export, as a client gets it."""
    response = client.post("/api/v1/exports", asked, format="json")
    assert response.status_code == 202, response.content
    execute(response.json()["id"])
    done = client.get(f"/api/v1/exports/{response.json()['id']}").json()
    assert done["state"] == "succeeded", done["error"]
    return b"".join(client.get(done["download"]).streaming_content)


def exported(client: APIClient, **asked: Any) -> list[dict[str, Any]]:
    """The rows of an export as JSONL."""
    return [json.loads(line) for line in downloaded(client, **asked).decode().splitlines()]


@pytest.fixture
def judged(policy: Policy, make_snippets: Callable[..., list[Snippet]]) -> dict[str, Any]:
    """Alice's answers in a round's batch, ben's in another: each a label, a comparison and an answer to gold."""
    rows = make_snippets(6)
    round_ = Round.objects.create(name="r", policy=policy, corpus=Corpus.objects.create(name="c"))
    when = datetime(2026, 3, 2, 12, tzinfo=UTC)
    for n, (who, batch) in enumerate(
        (
            ("alice", Batch.objects.create(policy=policy, name="in", round=round_)),
            ("ben", Batch.objects.create(policy=policy, name="out")),
        )
    ):
        mine = {"annotator": Annotator.objects.create(name=who), "flagged": who == "ben", "counted": who == "alice"}
        task, pair = (Task.objects.create(batch=batch, snippet=rows[n], rival=rival) for rival in (None, rows[5]))
        gold = Gold.objects.create(policy=policy, snippet=rows[n + 2], choice="Yes")
        test = Task.objects.create(batch=batch, snippet=gold.snippet, gold=gold)
        choice = "Yes" if who == "alice" else "No"
        Label.objects.create(task=task, snippet=rows[n], choice=choice, **mine)
        Label.objects.create(task=test, snippet=gold.snippet, choice=choice, withdrawn_at=when, **mine)
        preferred = "first" if who == "alice" else "second"
        Preference.objects.create(task=pair, snippet=rows[n], rival=rows[5], choice=preferred, **mine)
    return {"round": str(round_.pk), "batch": str(Batch.objects.get(name="in").pk)}


@pytest.mark.parametrize("what", ["labels", "gold_answers", "preferences"])
def test_answers_of_every_kind_are_filtered_alike(rita: User, api: Api, judged: dict[str, Any], what: str) -> None:
    alice = str(Annotator.objects.get(name="alice").pk)
    choice = "first" if what == "preferences" else "Yes"
    for filters in (
        {"batch": judged["batch"]},
        {"round": judged["round"]},
        {"choice": choice},
        {"flagged": False},
        {"counted": True},
        {"annotator": alice},
    ):
        rows = exported(api(rita), what=what, filters={"policy": "harm", **filters})
        assert [row["annotator_name"] for row in rows] == ["alice"], filters
    assert [row["batch"] for row in rows] == [judged["batch"]]
    for filters in ({}, {"since": "2026-01-01T00:00:00Z"}):
        assert len(exported(api(rita), what=what, filters=filters)) == 2
    assert exported(api(rita), what=what, filters={"since": "2100-01-01T00:00:00Z"}) == []


def test_answers_to_gold_tell_when_they_were_withdrawn(rita: User, api: Api, judged: dict[str, Any]) -> None:
    found = exported(api(rita), what="gold_answers")
    assert [(row["choice"], row["right_choice"], row["withdrawn_at"]) for row in found] == [
        ("Yes", "Yes", "2026-03-02T12:00:00Z"),
        ("No", "Yes", "2026-03-02T12:00:00Z"),
    ]


STATISTIC = ("estimate", "low", "high", "level", "method", "failures", "n")


@pytest.fixture
def disputed(policy: Policy, make_snippets: Callable[..., list[Snippet]]) -> list[Policy]:
    """Labels of ann and ben on 24 snippets of one policy, the half of them generated; and two labels of another's."""
    people = [Annotator.objects.create(name="ann"), Annotator.objects.create(name="=ben", vendor="acme")]
    rows = make_snippets(12, source="corpus") + make_snippets(12, first=12, source="generated")
    for n, row in enumerate(rows):
        for who, choice in zip(people, ("Yes" if n % 3 else "No", "Yes" if n % 4 else "No"), strict=True):
            Label.objects.create(snippet=row, annotator=who, choice=choice, seconds=3)
    other = policy_create(spec={**policy.spec, "name": "other"})
    (row,) = make_snippets(1, first=30)
    Snippet.objects.filter(pk=row.pk).update(policy=other)
    Label.objects.create(snippet=row, annotator=people[1], choice="Yes")
    return [policy, other]


def test_agreement_is_exported_as_the_api_gives_it(rita: User, api: Api, disputed: list[Policy]) -> None:
    client, policy = api(rita), disputed[0]
    rows = exported(client, what="agreement", filters={"policy": "harm", "by": "source"})
    told = client.get("/api/v1/metrics/agreement?policy=harm&by=source").json()
    expected = {}
    for of, part in (("all", {"key": "", **told}), *(("source", part) for part in told["parts"])):
        overall = part["overall"]
        expected[of, part["key"], "unanimous", ""] = part["unanimous"]
        for name in ("percent", "alpha", "fleiss", "ac1", "ac2"):
            expected[of, part["key"], name, ""] = overall[name]
        for choice, value in overall["per_choice"].items():
            expected[of, part["key"], "specific agreement", choice] = value
    (pair,) = told["pairs"]
    expected["pair", "", "kappa", ""] = {
        **{"estimate": pair["kappa"], "low": pair["low"], "high": pair["high"], "level": 0.95},
        **{"method": "Cohen's kappa, bootstrap of items", "n": 24},
    }
    found = {(row["of"], row["key"], row["statistic"], row["choice"]): row for row in rows}
    assert list(found) == list(expected)
    for key, value in expected.items():
        assert [found[key][name] for name in STATISTIC] == [value.get(name) for name in STATISTIC], key
    assert {(row["policy"], row["policy_name"]) for row in rows} == {(str(policy.pk), "harm v1")}
    # Both said Yes on 13 of 24 (not a multiple of 3 or 4 below 24: 12) and No on the 2 multiples of 12.
    whole = found["all", "", "unanimous", ""]
    assert (whole["failures"], whole["n"], found["all", "", "percent", ""]["estimate"]) == (14, 24, 14 / 24)
    assert {(rows[-1]["a_name"], rows[-1]["b_name"])} <= {("ann", "=ben"), ("=ben", "ann")}
    assert {rows[-1]["a"], rows[-1]["b"]} == {str(row.pk) for row in Annotator.objects.all()}


def test_agreement_is_filtered_and_given_of_every_policy(rita: User, api: Api, disputed: list[Policy]) -> None:
    client = api(rita)

    def judged(**filters: Any) -> list[tuple[str, int]]:
        rows = exported(client, what="agreement", filters=filters)
        return [(row["policy_name"], row["n"]) for row in rows if (row["of"], row["statistic"]) == ("all", "unanimous")]

    assert judged() == [("other v1", 0), ("harm v1", 24)]
    assert judged(policy="harm", source="generated") == [("harm v1", 12)]
    assert judged(policy="harm", vendor="acme") == [("harm v1", 0)]
    assert judged(policy="harm", until="2020-01-01T00:00:00Z") == [("harm v1", 0)]
    assert judged(policy="harm", since="2020-01-01T00:00:00Z") == [("harm v1", 24)]
    annotator = str(Annotator.objects.get(name="ann").pk)
    assert judged(policy="harm", annotator=annotator) == [("harm v1", 24)]
    assert judged(policy="harm", batch=EXAMPLE_ID, round=EXAMPLE_ID) == [("harm v1", 0)]


def test_annotators_are_exported_as_the_api_gives_them(
    rita: User, api: Api, disputed: list[Policy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_figures, "ANNOTATORS_AT_ONCE", 1)
    client = api(rita)
    rows = exported(client, what="annotators")
    assert [(row["policy_name"], row["annotator_name"], row["labels"]) for row in rows] == [
        ("other v1", "=ben", 1),
        ("harm v1", "ann", 24),
        ("harm v1", "=ben", 24),
    ]
    told = {row["id"]: row for row in client.get("/api/v1/annotators?policy=harm").json()["results"]}
    for row in rows[1:]:
        same = told[row["annotator"]]
        for name in ("vendor", "staff", "simulated", "state", "reason", "labels", "seconds", "last"):
            assert row[name] == same[name], name
        for rate in ("gold", "others", "audits", "unsure"):
            assert {name: row[f"{rate}_{name}"] for name in STATISTIC} == same[rate]
    assert (rows[1]["others_failures"], rows[1]["others_n"], rows[1]["seconds"]) == (14, 24, 3.0)
    job = Job.objects.latest("pk")
    assert (job.done, job.total, job.result["rows"]) == (3, 3, 3)
    assert len(exported(client, what="annotators", filters={"policy": "other"})) == 1
    for vendor, names in (("acme", ["=ben", "=ben"]), ("none", ["ann"]), ("other", [])):
        found = exported(client, what="annotators", filters={"vendor": vendor})
        assert [row["annotator_name"] for row in found] == names


def test_rows_are_exported_and_downloaded(
    rita: User, vera: User, api: Api, make_snippets: Callable[..., list[Snippet]]
) -> None:
    rows = make_snippets(3)
    client = api(rita)
    asked = {"what": "snippets", "filters": {"policy": str(rows[0].policy_id), "source": "corpus"}}
    job = client.post("/api/v1/exports", asked).json()
    assert job["download"] is None
    early = client.get(f"/api/v1/exports/{job['id']}/download")
    assert (early.status_code, early.json()["code"]) == (409, "export_not_ready")
    execute(job["id"])
    done = client.get(f"/api/v1/exports/{job['id']}").json()
    assert done["result"]["rows"] == 3
    response = api(vera).get(done["download"])
    lines = b"".join(response.streaming_content).decode().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [str(row.pk) for row in rows]
    assert response["Content-Disposition"] == f'attachment; filename="snippets-{job["id"]}.jsonl"'
    Path(Job.objects.get().result["path"])
    for path in Path(done["result"]["path"]).parts[:1]:
        assert path == "exports"


def test_an_export_whose_file_was_cleared_away_says_so(rita: User, api: Api, policy: Policy, settings: Any) -> None:
    client = api(rita)
    job = client.post("/api/v1/exports", {"what": "consensus", "format": "csv"}).json()
    execute(job["id"])
    (Path(settings.GAUNTLET_HOME) / "exports" / f"{job['id']}.csv").unlink()
    response = client.get(f"/api/v1/exports/{job['id']}/download")
    assert (response.status_code, response.json()["code"]) == (404, "export_gone")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"what": "secrets"}, "invalid"),
        ({"what": "snippets", "filters": {"colour": "red"}}, "invalid"),
        ({"what": "snippets", "filters": {"counted": True}}, "unknown_name"),
        ({"what": "scores"}, "bad_input"),
        ({"what": "snippets", "format": "xls"}, "invalid"),
    ],
)
def test_an_export_that_is_wrong_makes_no_job(rita: User, api: Api, body: dict[str, Any], code: str) -> None:
    response = api(rita).post("/api/v1/exports", body, format="json")
    assert (response.status_code, response.json()["code"]) == (400, code)
    assert Job.objects.count() == 0


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("policy", "none", "does_not_exist"),
        ("batch", "x", "invalid"),
        ("since", "yesterday", "invalid"),
        ("counted", "perhaps", "invalid"),
        ("counted", None, "null"),
        ("flagged", [], "invalid"),
        ("choice", "", "blank"),
    ],
)
def test_a_filters_wrong_value_is_named(rita: User, api: Api, name: str, value: Any, code: str) -> None:
    response = api(rita).post("/api/v1/exports", {"what": "labels", "filters": {name: value}}, format="json")
    assert (response.status_code, response.json()["code"]) == (400, "invalid")
    assert [(error["loc"], error["code"]) for error in response.json()["errors"]] == [(["filters", name], code)]
    assert Job.objects.count() == 0


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("counted", True, ["alice", "ben"]),
        ("counted", False, ["cleo"]),
        ("counted", "true", ["alice", "ben"]),
        ("counted", "false", ["cleo"]),
        ("flagged", True, ["ben"]),
        ("flagged", False, ["alice", "cleo"]),
        ("flagged", "true", ["ben"]),
        ("flagged", "false", ["alice", "cleo"]),
        ("policy", "harm", ["alice", "ben", "cleo"]),
    ],
)
def test_labels_are_exported_by_truth_and_by_name(
    rita: User, api: Api, make_snippets: Callable[..., list[Snippet]], name: str, value: Any, expected: list[str]
) -> None:
    (row,) = make_snippets(1)
    for who, fields in (("alice", {}), ("ben", {"flagged": True}), ("cleo", {"counted": False})):
        Label.objects.create(snippet=row, annotator=Annotator.objects.create(name=who), choice="Yes", **fields)
    rows = exported(api(rita), what="labels", filters={name: value})
    assert [row["annotator_name"] for row in rows] == expected


def test_notes_are_no_formulas_where_a_spreadsheet_is_to_open_them(
    rita: User, api: Api, make_snippets: Callable[..., list[Snippet]]
) -> None:
    notes = ["=HYPERLINK(1)", "+1", "-1", "@a", "\tb", "\rc", "\u00e9", "a=b", ""]
    rows = make_snippets(len(notes))
    annotator = Annotator.objects.create(name="=cmd")
    for row, note in zip(rows, notes, strict=True):
        Label.objects.create(snippet=row, annotator=annotator, choice="Yes", note=note, seconds=-1.5)
    client = api(rita)
    found = {}
    for safe in (True, False):
        asked = {"what": "labels", "format": "csv", "spreadsheet_safe": safe}
        body = downloaded(client, **asked)
        assert body.startswith(b"\xef\xbb\xbf") == safe
        found[safe] = list(csv.DictReader(io.StringIO(body.decode("utf-8-sig"), newline="")))
    assert [row["note"] for row in found[False]] == notes
    assert [row["note"] for row in found[True]] == [f"'{note}" for note in notes[:6]] + notes[6:]
    assert {row["annotator_name"] for row in found[True]} == {"'=cmd"}
    assert {row["seconds"] for row in found[True]} == {"-1.5"}
    refused = client.post("/api/v1/exports", {"what": "labels", "format": "jsonl", "spreadsheet_safe": True})
    assert (refused.status_code, refused.json()["errors"][0]["loc"]) == (400, ["spreadsheet_safe"])
    assert Job.objects.count() == 2


def test_a_jobs_pace(rita: User, api: Api) -> None:
    job = Job.objects.create(
        kind="export_rows",
        state=JobState.RUNNING,
        started_at=timezone.now() - timedelta(seconds=10),
        done=100,
        total=300,
    )
    row = api(rita).get(f"/api/v1/jobs/{job.pk}").json()
    assert row["rate"] == pytest.approx(10, rel=0.1)
    eta = timezone.datetime.fromisoformat(row["eta"]) - timezone.now()
    assert eta.total_seconds() == pytest.approx(20, rel=0.2)
    Job.objects.update(state=JobState.SUCCEEDED)
    row = api(rita).get(f"/api/v1/jobs/{job.pk}").json()
    assert (row["rate"], row["eta"]) == (None, None)


def test_jobs_are_cancelled_but_not_those_of_a_round(rita: User, api: Api, policy: Policy) -> None:
    client = api(rita)
    queued = client.post("/api/v1/exports", {"what": "snippets"}).json()
    assert client.post(f"/api/v1/jobs/{queued['id']}/cancel").json()["state"] == "cancelled"
    assert not execute(queued["id"])
    again = client.post(f"/api/v1/jobs/{queued['id']}/cancel")
    assert (again.status_code, again.json()["code"]) == (409, "job_finished")
    round_ = Round.objects.create(name="r", policy=policy, corpus=Corpus.objects.create(name="c"))
    stage = Stage.objects.create(round=round_, name="ingest", position=0)
    part = Job.objects.create(kind="stage", stage=stage)
    response = client.post(f"/api/v1/jobs/{part.pk}/cancel")
    assert (response.status_code, response.json()["code"]) == (409, "job_of_a_round")
    part.refresh_from_db()
    assert part.state == JobState.QUEUED
    (row,) = client.get(f"/api/v1/jobs?round={round_.pk}").json()["results"]
    assert (row["stage"], row["round"]) == ("ingest", str(round_.pk))


def test_a_running_job_that_is_cancelled_stops_at_its_next_beat(rita: User, api: Api) -> None:
    job = Job.objects.create(kind="export_rows")
    claimed = Job.claim(job.pk, worker="w")
    assert claimed is not None
    assert claimed.renew(done=1, total=2)
    assert api(rita).post(f"/api/v1/jobs/{job.pk}/cancel").status_code == 200
    assert not claimed.renew(done=2, total=2)
    assert not claimed.succeed({})
    job.refresh_from_db()
    assert job.state == JobState.CANCELLED


def test_an_empty_export_is_a_file_without_rows(rita: User, api: Api, make_batch: Callable[..., Batch]) -> None:
    client = api(rita)
    job = client.post("/api/v1/exports", {"what": "labels", "format": "csv"}).json()
    execute(job["id"])
    body = b"".join(client.get(f"/api/v1/exports/{job['id']}/download").streaming_content)
    assert io.BytesIO(body).readline().startswith(b"id,snippet,prompt")
    assert len(body.splitlines()) == 1
