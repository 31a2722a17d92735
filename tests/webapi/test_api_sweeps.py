"""Sweeps over the API and on pages: launched, watched, cancelled, retried; rows written by hand, nothing is trained."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from tests.page_text import text_of
from tests.sweeping import ended, new_sweep, sweepable
from tests.webapi.attack_rows import classifier_of
from webapi.models import Artifact, DatasetSnapshot, Job, JobState, Policy, Sweep, User
from workers.execute import execute
from workers.training_sweeps import queue_runs

Api = Callable[..., APIClient]


@pytest.fixture
def snapshot(policy: Policy, gauntlet_home: Path) -> DatasetSnapshot:
    return sweepable(policy, gauntlet_home, gauntlet_home / "no encoder")


def test_a_sweep_is_launched_and_answered_with_what_it_will_do(
    snapshot: DatasetSnapshot, policy: Policy, rita: User, api: Api
) -> None:
    parent = classifier_of(
        policy, "base", snapshot=snapshot, recipe={"encoder": "e", "epochs": 3, "export_int8": False}
    )
    parent.precision = "fp32"
    parent.save()
    body = {"classifier": str(parent.pk), "learning_rates": [2e-4, 1e-4], "seeds": [7], "recipe": {"dropout": 0.1}}
    made = api(rita).post("/api/v1/sweeps", body)
    assert made.status_code == 202, made.content
    found = made.json()
    assert (found["state"], found["done"], found["total"], found["result"]) == ("pending", 0, 2, None)
    assert (found["swept_from"], found["snapshot"]) == (str(parent.pk), str(snapshot.pk))
    runs = api(rita).get(f"/api/v1/sweeps/{found['id']}/runs").json()
    assert [(run["learning_rate"], run["seed"], run["state"]) for run in runs] == [
        (1e-4, 7, "pending"),
        (2e-4, 7, "pending"),
    ]
    assert (runs[0]["recipe"]["epochs"], runs[0]["recipe"]["dropout"], runs[0]["recipe"]["encoder"]) == (3, 0.1, "e")
    (job,) = Job.objects.all()
    assert (job.kind, str(job.sweep_id)) == ("prepare_sweep", found["id"])


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({}, "snapshot"),
        ({"classifier": "nobody"}, "classifier"),
        ({"nonsense": 1}, None),
        ({"seeds": [1, 1]}, None),
        ({"learning_rates": [2]}, None),
    ],
)
def test_what_makes_no_sense_is_refused(
    body: dict[str, Any], loc: str | None, snapshot: DatasetSnapshot, rita: User, api: Api
) -> None:
    asked = body if loc else {"snapshot": str(snapshot.pk), **body}
    refused = api(rita).post("/api/v1/sweeps", asked)
    assert refused.status_code == 400, refused.content
    if loc:
        assert [one["loc"] for one in refused.json()["errors"]] == [[loc]]
    assert not Sweep.objects.exists()
    assert not Job.objects.exists()


def test_the_lowest_of_the_choosing_half_is_told_with_the_other_halfs_rate(
    snapshot: DatasetSnapshot, rita: User, api: Api
) -> None:
    sweep = ended(new_sweep(snapshot), (3, 1), (1, 4), None, (2, 2))
    client = api(rita)
    found = client.get(f"/api/v1/sweeps/{sweep.pk}").json()
    assert (found["state"], found["done"], found["total"]) == ("succeeded", 4, 4)
    result = found["result"]
    assert (result["position"], result["fnr"]["failures"], result["fnr_confirmed"]["failures"]) == (1, 1, 4)
    assert (result["runs"], result["succeeded"], result["failed"]) == (4, 3, 1)
    assert "too low" in result["note"]
    runs = client.get(f"/api/v1/sweeps/{sweep.pk}/runs").json()
    assert [run["position"] for run in runs] == [1, 3, 0, 2]
    assert [bool(run["classifier"]) for run in runs] == [True, False, False, False]
    assert runs[0]["curve"][2] == {"step": 3, "examples": 48, "training_loss": 1 / 3, "validation_loss": 0.5}
    picked = client.get(f"/api/v1/classifiers/{result['classifier']}").json()
    assert (picked["condition"], picked["recipe"]["seed"], picked["threshold"]) == ("sweep", 1, 0.5)


def test_cancelled_and_retried_over_the_api(snapshot: DatasetSnapshot, rita: User, vera: User, api: Api) -> None:
    sweep = new_sweep(snapshot)
    client, at = api(rita), f"/api/v1/sweeps/{sweep.pk}"
    assert api(vera).post(f"{at}/cancel").status_code == 403
    early = client.post(f"{at}/retry")
    assert (early.status_code, early.json()["code"]) == (409, "sweep_not_stopped")
    assert client.post(f"{at}/cancel").json()["state"] == "cancelled"
    assert set(sweep.runs.values_list("state", flat=True)) == {"cancelled"}
    assert set(sweep.jobs.values_list("state", flat=True)) == {"cancelled"}
    assert client.post(f"{at}/cancel").json()["code"] == "sweep_finished"
    assert client.post(f"{at}/retry").json()["state"] == "pending"
    assert list(sweep.jobs.values_list("kind", "state")) == [("prepare_sweep", "queued")]
    job = sweep.jobs.get()
    refused = client.post(f"/api/v1/jobs/{job.pk}/cancel")
    assert (refused.status_code, refused.json()["code"]) == (409, "job_of_a_sweep")


def test_a_worker_that_died_too_often_fails_its_run_alone(snapshot: DatasetSnapshot, settings: Any) -> None:
    settings.JOB_LEASE_SECONDS = 3600
    sweep = new_sweep(snapshot, seeds=[0])
    sweep.start(Artifact.objects.create(kind="validation_mix", path="mix", sha256="0" * 64, size=1))
    queue_runs(sweep)
    queue_runs(sweep)
    jobs = sweep.jobs.filter(kind="training_run").order_by("shard")
    assert list(jobs.values_list("shard", flat=True)) == ["000", "001"], "once however often they are queued"
    Job.objects.filter(pk=jobs[0].pk).update(attempts=settings.JOB_MAX_ATTEMPTS)
    execute(jobs[0].pk)
    run = sweep.runs.get(position=0)
    assert (run.state, run.error) == ("failed", "its worker died 5 times: out of memory, or killed")
    sweep.refresh_from_db()
    assert sweep.state == "running"
    assert jobs[1].state == JobState.QUEUED


# Pages


def test_the_pages_of_a_sweep_that_has_ended(snapshot: DatasetSnapshot, vera: User, client: Client) -> None:
    sweep = ended(new_sweep(snapshot), (3, 1), (1, 4), None, (0, 2))
    client.force_login(vera)
    listed = text_of(client.get("/sweeps/"))
    assert "No sweep is under way." in listed
    assert "4 of 4" in listed
    response = client.get(f"/sweeps/{sweep.pk}/")
    page = text_of(response)
    assert "Of 4 runs, the one with a learning rate of 0.01 and seed 1 misses least." in page
    assert "It misses 20.0 % (10.0 % to 30.0 %; 2 of 10) failures of the half" in page
    assert "training diverged at 0.01; use less" in page
    assert "Cancel…" not in page
    html = response.content.decode()
    data = {
        name: json.loads(re.search(rf'id="{name}" type="application/json">(.*?)</script>', html).group(1))  # type: ignore[union-attr]
        for name in ("rates-data", "curves-data")
    }
    assert [row["label"] for row in data["rates-data"]["rows"]] == [
        "0.01, seed 1 · picked",
        "0.001, seed 1",
        "0.001, seed 0",
    ]
    assert [row["limit"] for row in data["rates-data"]["rows"]] == [True, False, False]
    assert data["curves-data"]["curves"][0]["y"] == [1.5, 0.75, 0.5]
    assert data["curves-data"]["y"] == "validation loss"
    row = sweep.picked.classifier  # type: ignore[union-attr]
    shown = text_of(client.get(f"/classifiers/{row.pk}/"))
    assert "picked of 4 runs" in shown


def test_the_pages_of_sweeps_before_there_is_anything_to_see(
    snapshot: DatasetSnapshot, rita: User, alice: User, client: Client
) -> None:
    client.force_login(alice)
    assert client.get("/sweeps/").status_code == 404
    client.force_login(rita)
    assert "No sweep yet." in text_of(client.get("/sweeps/"))
    sweep = new_sweep(snapshot)
    page = text_of(client.get(f"/sweeps/{sweep.pk}/"))
    assert "sweep waits for the labels that its 4 runs are to be compared on." in page
    sure = text_of(client.get(f"/sweeps/{sweep.pk}/cancel/"))
    assert "Cancel sweep on Round 1?" in sure
    client.post(f"/sweeps/{sweep.pk}/cancel/")
    page = text_of(client.get(f"/sweeps/{sweep.pk}/"))
    assert "sweep was cancelled after" in page
    assert "Have it go on" in page
    client.post(f"/sweeps/{sweep.pk}/retry")
    sweep.refresh_from_db()
    assert sweep.state == "pending"
    sweep.fail("no labels <b>at all</b>")
    page = client.get(f"/sweeps/{sweep.pk}/")
    assert "no labels &lt;b&gt;at all" in page.content.decode()
    assert "What is safe" in text_of(page)
