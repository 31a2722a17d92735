"""The index over the API: where it stands, brought up to date, made anew."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from rest_framework.test import APIClient

from tests.workers.bag_encoder import BagEncoder
from webapi.models import EmbeddingIndex, Job, JobState, Policy, Snippet, User
from workers import index_shards
from workers.execute import execute
from workers.index_shards import Loaded

pytestmark = pytest.mark.django_db

Api = Callable[..., APIClient]


@pytest.fixture(autouse=True)
def encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    made = BagEncoder()
    monkeypatch.setattr(index_shards, "_loaded", lambda name, precision: Loaded(made, f"version of {name}"))


def work() -> None:
    while pk := Job.objects.filter(state=JobState.QUEUED).order_by("-pk").values_list("pk", flat=True).first():
        Job.objects.filter(pk=pk).update(not_before="2020-01-01T00:00Z")
        execute(pk)


def test_an_index_is_asked_for_watched_and_told(
    policy: Policy, make_snippets: Callable[..., list[Snippet]], rita: User, api: Api
) -> None:
    make_snippets(5)
    client = api(rita)
    assert client.get("/api/v1/indexes").json()["results"] == []
    asked = client.post("/api/v1/indexes/refresh", {"policy": "harm"}, format="json")
    assert (asked.status_code, asked.json()["kind"], asked.json()["state"]) == (202, "refresh_index", "queued")
    again = client.post("/api/v1/indexes/refresh", {"policy": str(policy.pk)}, format="json")
    assert again.json()["id"] == asked.json()["id"], "the one under way"
    (row,) = client.get("/api/v1/indexes").json()["results"]
    assert (row["rows"], row["pending"], row["version"], row["follows"]) == (0, 5, "", True)
    work()
    job = client.get(f"/api/v1/jobs/{asked.json()['id']}").json()
    assert (job["state"], job["done"], job["total"]) == ("succeeded", 5, 5)
    (row,) = client.get(f"/api/v1/indexes?policy={policy.pk}").json()["results"]
    told = {name: row[name] for name in ("rows", "shards", "planned", "pending", "version", "precision", "dimension")}
    assert told == {
        **{"rows": 5, "shards": 1, "planned": 0, "pending": 0},
        **{"version": "version of minilm", "precision": "fp32", "dimension": 16},
    }
    assert row["size"] > 5 * 16 * 2
    make_snippets(2, first=9)
    assert client.get("/api/v1/indexes").json()["results"][0]["pending"] == 2


def test_a_rebuild_by_another_encoder_takes_over(
    policy: Policy, make_snippets: Callable[..., list[Snippet]], rita: User, api: Api
) -> None:
    make_snippets(3)
    client = api(rita)
    client.post("/api/v1/indexes/refresh", {"policy": "harm"}, format="json")
    work()
    wanted = {"policy": "harm", "rebuild": True, "encoder": "other"}
    assert client.post("/api/v1/indexes/refresh", wanted, format="json").status_code == 202
    states = [row["state"] for row in client.get("/api/v1/indexes").json()["results"]]
    assert sorted(states) == ["building", "current"]
    third = client.post("/api/v1/indexes/refresh", {**wanted, "encoder": "third"}, format="json")
    assert (third.status_code, third.json()["code"]) == (400, "bad_input")
    work()
    (row,) = client.get("/api/v1/indexes").json()["results"]
    assert (row["encoder"], row["state"], row["rows"]) == ("other", "current", 3)


@pytest.mark.parametrize(
    "wanted", [{}, {"policy": "harm", "encoder": "other"}, {"policy": "nobody"}, {"policy": "harm", "encodr": "x"}]
)
def test_what_is_refused_makes_nothing(
    policy: Policy, vera: User, rita: User, api: Api, wanted: dict[str, str]
) -> None:
    assert api(rita).post("/api/v1/indexes/refresh", wanted, format="json").status_code == 400
    assert api(vera).post("/api/v1/indexes/refresh", {"policy": "harm"}, format="json").status_code == 403
    assert not Job.objects.exists()
    assert not EmbeddingIndex.objects.exists()
