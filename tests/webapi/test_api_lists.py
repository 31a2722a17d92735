"""Lists: pages by cursor, order, filters, and that their cost does not grow."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from webapi.models import Corpus, Policy, Round, RoundSnippet, Snippet, User
from webapi.models.base import first_id_at

Api = Callable[..., APIClient]
Make = Callable[..., list[Snippet]]


def walk(client: APIClient, path: str, link: str = "next") -> list[list[str]]:
    """The keys on each page, following the links."""
    pages = []
    url: str | None = path
    while url:
        body = client.get(url).json()
        assert body.keys() == {"next", "previous", "results"}
        pages.append([row["id"] for row in body["results"]])
        url = body[link]
    return pages


def test_pages_hold_every_row_once_newest_first(rita: User, api: Api, make_snippets: Make) -> None:
    keys = [str(row.pk) for row in make_snippets(7)]
    pages = walk(api(rita), "/api/v1/snippets?page_size=3")
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [key for page in pages for key in page] == keys[::-1]


def test_oldest_first_and_back_again(rita: User, api: Api, make_snippets: Make) -> None:
    keys = [str(row.pk) for row in make_snippets(5)]
    client = api(rita)
    assert walk(client, "/api/v1/snippets?page_size=2&ordering=created_at") == [keys[:2], keys[2:4], keys[4:]]
    second = client.get(client.get("/api/v1/snippets?page_size=2").json()["next"]).json()
    first = client.get(second["previous"]).json()
    assert [row["id"] for row in first["results"]] == keys[:2:-1]


def test_a_row_that_comes_in_between_moves_no_other(rita: User, api: Api, make_snippets: Make) -> None:
    keys = [str(row.pk) for row in make_snippets(4)]
    client = api(rita)
    first = client.get("/api/v1/snippets?page_size=2").json()
    make_snippets(1, first=10)
    second = client.get(first["next"]).json()
    assert [row["id"] for row in second["results"]] == keys[1::-1]


def test_a_page_costs_as_much_at_any_depth(rita: User, api: Api, make_snippets: Make) -> None:
    make_snippets(30)
    client = api(rita)
    url: str | None = "/api/v1/snippets?page_size=5"
    queries = []
    while url:
        with CaptureQueriesContext(connection) as captured:
            url = client.get(url).json()["next"]
        queries.append(len(captured))
        assert "OFFSET" not in captured[-1]["sql"]
    assert set(queries[1:]) == {queries[1]}


@pytest.mark.parametrize("cursor", ["x", "cD1ub25zZW5zZQ==", "bz0xMDAwMDAw", "%00"])
def test_a_cursor_made_by_hand_is_refused(rita: User, api: Api, cursor: str) -> None:
    response = api(rita).get(f"/api/v1/rounds?cursor={cursor}")
    assert response.status_code in (200, 400)
    if response.status_code == 400:
        assert response.json()["code"] == "invalid_cursor"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("ordering=name", "invalid_choice"),
        ("sauce=corpus", "unknown_field"),
        ("source=nonsense", "invalid_choice"),
        ("policy=nonsense", "invalid"),
        ("since=yesterday", "invalid"),
    ],
)
def test_a_wrong_parameter_is_an_error_that_names_it(rita: User, api: Api, query: str, code: str) -> None:
    response = api(rita).get(f"/api/v1/snippets?{query}")
    assert response.status_code == 400
    (error,) = response.json()["errors"]
    assert error["code"] == code
    assert error["loc"] == [query.partition("=")[0]]


def test_filters_by_field(rita: User, api: Api, policy: Policy, make_snippets: Make) -> None:
    corpus, manual = make_snippets(2), make_snippets(1, first=2, source="manual", external_id="m", split="test")
    round_ = Round.objects.create(name="r", policy=policy, corpus=Corpus.objects.create(name="c"))
    other = Round.objects.create(name="o", policy=policy, corpus=round_.corpus)
    RoundSnippet.objects.create(round=round_, snippet=corpus[0], pool="attack", selected=True)
    RoundSnippet.objects.create(round=other, snippet=corpus[0], pool="test")
    RoundSnippet.objects.create(round=round_, snippet=corpus[1], pool="candidate")
    expected: dict[str, list[Snippet]] = {
        "source=manual": manual,
        "source=corpus": corpus,
        "external_id=m": manual,
        "split=validation&source=manual": [],
        f"policy={policy.pk}": [*corpus, *manual],
        f"round={round_.pk}": corpus,
        f"round={round_.pk}&pool=attack": corpus[:1],
        f"round={round_.pk}&pool=test": [],
        f"round={round_.pk}&selected=false": corpus[1:],
        f"content_hash={manual[0].content_hash}": manual,
        "consensus=Yes": [],
    }
    client = api(rita)
    for query, rows in expected.items():
        body = client.get(f"/api/v1/snippets?{query}").json()
        assert {row["id"] for row in body["results"]} == {str(row.pk) for row in rows}, query


def test_filters_by_time_use_the_key(rita: User, api: Api, make_snippets: Make) -> None:
    keys = [str(row.pk) for row in make_snippets(2)]
    now = datetime.now(UTC)
    client = api(rita)

    def listed(**query: Any) -> list[str]:
        return [row["id"] for row in client.get("/api/v1/snippets", query).json()["results"]]

    assert listed(since=(now - timedelta(minutes=1)).isoformat()) == keys[::-1]
    assert listed(since=(now + timedelta(minutes=1)).isoformat()) == []
    assert listed(until=(now + timedelta(minutes=1)).isoformat()) == keys[::-1]
    assert listed(until="2020-01-01T00:00:00Z") == []


def test_the_first_key_of_a_time() -> None:
    # RFC 9562, example of a UUIDv7: 0x017F22E279B0 is 2022-02-22T19:22:22Z.
    assert str(first_id_at(datetime(2022, 2, 22, 19, 22, 22, tzinfo=UTC))) == "017f22e2-79b0-7000-8000-000000000000"
    assert first_id_at(datetime(1960, 1, 1, tzinfo=UTC)).int >> 80 == 0


def test_times_are_utc_with_a_z(rita: User, api: Api, make_snippets: Make) -> None:
    (row,) = make_snippets(1)
    shown = api(rita).get(f"/api/v1/snippets/{row.pk}").json()["created_at"]
    assert shown.endswith("Z")
    assert datetime.fromisoformat(shown) == Snippet.objects.get().created_at
