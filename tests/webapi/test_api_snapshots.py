"""Dataset snapshots over the API: lists, manifests as files, and the labels that they rest on."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pyarrow.parquet as pq
import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from engine.classifiers.composing import Composing, Row
from webapi.models import Annotator, Classifier, Consensus, DatasetSnapshot, Label, Policy, Snippet, User
from workers.conditions import Condition, Dataset
from workers.snapshots import read_snapshot, snapshot_of

Api = Callable[..., APIClient]
PLAIN = Condition(name="+plain", datasets=(Dataset(name="corpus", initial=True, sources=("corpus",)),))


@pytest.fixture
def snippets(make_snippets: Callable[..., list[Snippet]]) -> list[Snippet]:
    rows = make_snippets(6, split="train")
    Consensus.objects.bulk_create(
        [Consensus(snippet=row, choice="Yes" if i < 2 else "No", rule="r", labels=1) for i, row in enumerate(rows)]
    )
    return rows


@pytest.fixture
def snapshot(policy: Policy, snippets: list[Snippet]) -> DatasetSnapshot:
    return snapshot_of(policy, PLAIN, Composing(), seed=4)


def test_one_snapshot_says_what_it_is_and_how_it_was_made(rita: User, api: Api, snapshot: DatasetSnapshot) -> None:
    classifier = Classifier.objects.create(policy=snapshot.policy, name="c", condition="b", snapshot=snapshot)
    client = api(rita)
    told = client.get(f"/api/v1/snapshots/{snapshot.pk}").json()
    brief = {
        "id": str(snapshot.pk),
        "condition": "+plain",
        "size": 6,
        "counts": {"corpus/Yes": 2, "corpus/No": 4},
        "datasets": {"corpus": {"No": 4, "Yes": 2}},
        "content_hash": snapshot.content_hash,
        "split": "train",
        "equal_size": 6,
        "sha256": snapshot.artifact.sha256,
    }
    assert {name: told[name] for name in brief} == brief
    assert (told["policy"], told["round"], told["trains"], told["seed"]) == (str(snapshot.policy_id), None, True, 4)
    assert told["settings"]["condition"]["name"] == "+plain"
    assert (told["dropped"], told["classifiers"]) == ([], [str(classifier.pk)])
    assert client.get(f"/api/v1/classifiers/{classifier.pk}").json()["snapshot"] == brief


def test_lists_are_filtered(rita: User, api: Api, snapshot: DatasetSnapshot, policy: Policy) -> None:
    other = snapshot_of(policy, PLAIN.model_copy(update={"name": "other"}), Composing(), seed=4)
    client = api(rita)

    def listed(query: str) -> set[str]:
        return {row["id"] for row in client.get(f"/api/v1/snapshots?{query}").json()["results"]}

    both = {str(snapshot.pk), str(other.pk)}
    assert listed("") == listed(f"policy={policy.pk}") == listed("without_round=true") == both
    assert listed("condition=other") == {str(other.pk)}
    assert listed(f"content_hash={snapshot.content_hash}") == both
    assert listed("without_round=false") == set()
    assert client.get("/api/v1/snapshots?colour=red").status_code == 400
    assert not {"dropped", "settings"} & client.get("/api/v1/snapshots").json()["results"][0].keys()


def test_a_list_costs_the_same_whatever_its_length(
    rita: User, api: Api, snapshot: DatasetSnapshot, policy: Policy, django_assert_max_num_queries: Any
) -> None:
    for name in "abcde":
        snapshot_of(policy, PLAIN.model_copy(update={"name": name}), Composing(), seed=4)
    client = api(rita)
    client.get("/api/v1/snapshots")
    with django_assert_max_num_queries(6):
        assert len(client.get("/api/v1/snapshots").json()["results"]) == 6


def test_the_manifest_as_parquet_and_csv(rita: User, api: Api, snapshot: DatasetSnapshot) -> None:
    client, rows = api(rita), read_snapshot(snapshot)
    answer = client.get(f"/api/v1/snapshots/{snapshot.pk}/download")
    assert answer.headers["ETag"] == f'"{snapshot.artifact.sha256}"'
    table = pq.read_table(io.BytesIO(b"".join(answer.streaming_content)))
    assert table.to_pylist() == [row._asdict() for row in rows]
    answer = client.get(f"/api/v1/snapshots/{snapshot.pk}/download?file=csv")
    assert f'filename="plain-{snapshot.pk}.csv"' in answer.headers["Content-Disposition"]
    lines = list(csv.reader(io.StringIO(b"".join(answer.streaming_content).decode())))
    assert lines == [list(Row._fields), *([str(value) for value in row] for row in rows)]
    assert client.get(f"/api/v1/snapshots/{snapshot.pk}/download?file=xml").status_code == 400


def test_a_link_opens_the_manifest_for_an_hour(rita: User, api: Api, snapshot: DatasetSnapshot, settings: Any) -> None:
    url = api(rita).get(f"/api/v1/snapshots/{snapshot.pk}").json()["download_url"]
    link = urlsplit(url)._replace(scheme="", netloc="").geturl()
    anybody = api()
    assert anybody.get(link).status_code == 200
    assert anybody.get(f"{link}&file=csv").status_code == 200
    assert anybody.get(link[:-1] + ("A" if link[-1] != "A" else "B")).status_code == 404
    settings.EXPORT_LINK_SECONDS = -1
    assert anybody.get(link).json()["code"] == "link_expired"
    assert anybody.get(f"/api/v1/snapshots/{snapshot.pk}/download").status_code == 401


def test_a_manifest_that_is_gone_or_was_changed(rita: User, api: Api, snapshot: DatasetSnapshot) -> None:
    client, path = api(rita), snapshot.artifact.file
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    for asked in ("labels", "download", "download?file=csv"):
        answer = client.get(f"/api/v1/snapshots/{snapshot.pk}/{asked}")
        assert answer.json()["code"] == "damaged"
    path.unlink()
    for asked in ("labels", "download", "download?file=csv"):
        answer = client.get(f"/api/v1/snapshots/{snapshot.pk}/{asked}")
        assert (answer.status_code, answer.json()["code"]) == (404, "artifact_gone")


def test_the_labels_behind_each_row_lead_to_who_gave_them(
    rita: User, api: Api, snapshot: DatasetSnapshot, snippets: list[Snippet]
) -> None:
    ann = Annotator.objects.create(name="Ann", simulated=True)
    later = Annotator.objects.create(name="Late")
    before, after = (timezone.now() + timedelta(minutes=m) for m in (-5, 5))
    for row in snippets:
        label = Label.objects.create(snippet=row, annotator=ann, choice=row.consensus.choice)
        Label.objects.filter(pk=label.pk).update(created_at=before)
    late = Label.objects.create(snippet=snippets[0], annotator=later, choice="No")
    Label.objects.filter(pk=late.pk).update(created_at=after)
    client, url, seen = api(rita), f"/api/v1/snapshots/{snapshot.pk}/labels?page_size=4", []
    while url:
        page = client.get(url).json()
        seen += page["results"]
        url = page["next"]
    rows = read_snapshot(snapshot)
    assert [one["number"] for one in seen] == list(range(6))
    assert [(one["snippet"], one["choice"], one["dataset"]) for one in seen] == [
        (row.snippet_id, row.choice, "corpus") for row in rows
    ]
    assert [[label["annotator"]["name"] for label in one["labels"]] for one in seen] == [["Ann"]] * 6
    assert all(one["labels"][0]["choice"] == one["choice"] for one in seen)
    assert client.get(f"/api/v1/snapshots/{snapshot.pk}/labels?start=6").json() == {"next": None, "results": []}
    for wrong in ("start=-1", "page_size=501", "page=2"):
        assert client.get(f"/api/v1/snapshots/{snapshot.pk}/labels?{wrong}").status_code == 400


@pytest.mark.parametrize("name", ["alice", "bob", "acme"])
def test_who_labels_sees_none(people: dict[str, User], api: Api, snapshot: DatasetSnapshot, name: str) -> None:
    for asked in ("", "/download", "/labels"):
        assert api(people[name]).get(f"/api/v1/snapshots/{snapshot.pk}{asked}").status_code == 404
