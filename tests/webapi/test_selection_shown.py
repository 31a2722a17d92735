"""A round's selection over the API and on its page: reasons, map, pages, CSV, who may see it, before there is one."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable

import pytest
from django.test import Client
from rest_framework.test import APIClient

from tests.page_text import text_of
from tests.selecting import run_stage, scored_round
from tests.workers.bag_encoder import BagEncoder
from webapi.models import Label, Policy, Round, Stage, User
from workers import index_shards
from workers.index_shards import Loaded
from workers.select import select
from workers.selection_table import SCHEMA, selection_path

pytestmark = pytest.mark.django_db


@pytest.fixture
def chosen(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> Round:
    """A round that has chosen 18 of 90."""
    made = BagEncoder()
    monkeypatch.setattr(index_shards, "_loaded", lambda name, precision: Loaded(made, "first version"))
    round_ = scored_round(policy)
    run_stage(round_, "select", select)
    return round_


def test_the_api_gives_each_snippet_with_its_reason(
    chosen: Round, rita: User, api: Callable[..., APIClient], policy: Policy
) -> None:
    client = api(rita)
    body = client.get(f"/api/v1/rounds/{chosen.pk}/selection?status=chosen&page_size=10").json()
    assert (body["total"], len(body["results"]), body["previous"]) == (18, 10, None)
    assert body["about"]["chosen"] == {"strategy": 17, "random": 1}
    assert body["about"]["acquisition"] == "near_threshold"
    first = body["results"][0]
    assert (first["pool"], first["status"], first["reason"], first["place"]) == ("attack", "chosen", "strategy", 0)
    assert first["score"] == pytest.approx(1 / (1 + 2.718281828459045 ** -first["logit"]))
    assert first["nearest_labelled"]["consensus"] == "No"
    assert 0 < first["nearest_labelled"]["similarity"] <= 1.001
    assert first["nearest_chosen"]["consensus"] is None
    rest = client.get(body["next"]).json()
    assert len(rest["results"]) == 8
    assert rest["next"] is None
    assert client.get(rest["previous"]).json()["results"][0]["snippet"] == first["snippet"]
    shown = [row["snippet"] for row in body["results"] + rest["results"]]
    assert set(shown) == {str(pk) for pk in chosen.members.filter(selected=True).values_list("snippet", flat=True)}
    left = client.get(f"/api/v1/rounds/{chosen.pk}/selection?plain=true&status=left_out&pool=candidate").json()
    assert all(row["plain"] and row["rank"] < 10 for row in left["results"])
    assert left["total"] <= left["about"]["differs"]


def test_a_page_as_csv_names_the_next(chosen: Round, rita: User, api: Callable[..., APIClient]) -> None:
    answer = api(rita).get(f"/api/v1/rounds/{chosen.pk}/selection?format=csv&page_size=50")
    lines = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert list(lines[0]) == SCHEMA.names
    assert len(lines) == 50
    assert 'rel="next"' in answer["Link"]
    second = api(rita).get(re.findall("<(.*)>", answer["Link"])[0])
    assert len(list(csv.DictReader(io.StringIO(second.content.decode("utf-8-sig"))))) == 40
    assert "Link" not in second


def test_who_may_not_see_rounds_sees_no_selection(
    chosen: Round, alice: User, vera: User, api: Callable[..., APIClient], client: Client
) -> None:
    assert api(alice).get(f"/api/v1/rounds/{chosen.pk}/selection").status_code == 404
    assert api(vera).get(f"/api/v1/rounds/{chosen.pk}/selection").status_code == 200
    client.force_login(alice)
    assert client.get(f"/rounds/{chosen.pk}/selection/").status_code in (403, 404)


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("cursor=x", 400, "invalid_cursor"),
        ("cursor=²", 400, "invalid_cursor"),
        ("page_size=0", 400, "invalid"),
        ("reason=whim", 400, "invalid"),
    ],
)
def test_what_the_api_refuses(
    chosen: Round, rita: User, api: Callable[..., APIClient], query: str, status: int, code: str
) -> None:
    answer = api(rita).get(f"/api/v1/rounds/{chosen.pk}/selection?{query}")
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_before_it_has_chosen(policy: Policy, rita: User, api: Callable[..., APIClient], client: Client) -> None:
    round_ = scored_round(policy)
    answer = api(rita).get(f"/api/v1/rounds/{round_.pk}/selection")
    assert (answer.status_code, answer.json()["code"]) == (404, "selection_not_ready")
    client.force_login(rita)
    page = text_of(client.get(f"/rounds/{round_.pk}/selection/"))
    assert "Round 1 has not chosen yet. It does once its candidates are attacked, scored and embedded." in page
    Stage.objects.create(round=round_, name="select", position=9, state="succeeded")
    assert "Round 1 chose before reasons were kept" in text_of(client.get(f"/rounds/{round_.pk}/selection/"))
    assert "See what it chose" not in text_of(client.get(f"/rounds/{round_.pk}/"))


def test_the_page_says_it_in_a_sentence_shows_it_on_a_map_and_lists_it(
    chosen: Round, rita: User, client: Client
) -> None:
    client.force_login(rita)
    assert "See what it chose" in text_of(client.get(f"/rounds/{chosen.pk}/"))
    response = client.get(f"/rounds/{chosen.pk}/selection/")
    page = text_of(response)
    assert "Round 1 chose 18 of 90 snippets for labels, 1 of them by chance." in page
    assert re.search(r"The highest values alone would have taken \d+ other", page)
    assert "chosen by the strategy" in page
    assert "Kept apart from 20 labelled or in flight" in page
    source = re.search(r'id="map-data" type="application/json">(.*?)</script>', response.content.decode(), re.S)
    assert source is not None
    data = json.loads(source[1])
    counts = {kind["kind"]: kind["count"] for kind in data["kinds"]}
    assert (counts["apart"], counts["chosen"], counts["chance"]) == (20, 17, 1)
    assert counts["left"] + counts["plain"] == 72
    assert all(len(kind["x"]) == len(kind["y"]) == len(kind["keys"]) == kind["count"] for kind in data["kinds"])
    last = client.get(f"/rounds/{chosen.pk}/selection/?after=75")
    assert 'rel="prev"' in last.content.decode()
    assert 'rel="next"' not in last.content.decode()


def test_the_list_can_be_narrowed(chosen: Round, rita: User, client: Client) -> None:
    client.force_login(rita)
    page = text_of(client.get(f"/rounds/{chosen.pk}/selection/?reason=random"))
    assert "drawn by chance, one in 51" in page
    page = text_of(client.get(f"/rounds/{chosen.pk}/selection/?status=left_out&plain=true"))
    assert "What the highest values alone would have taken" in page
    assert "worth more than some that were chosen, but like one that" in page
    assert "None is like that. Show all." in text_of(client.get(f"/rounds/{chosen.pk}/selection/?reason=filling"))
    assert client.get(f"/rounds/{chosen.pk}/selection/?after=nonsense&status=whatever").status_code == 200
    assert client.get(f"/rounds/{chosen.pk}/selection/?after=²").status_code == 200


def test_a_page_costs_few_queries_however_many_could_be_chosen(
    chosen: Round, rita: User, client: Client, django_assert_max_num_queries: Callable[[int], object]
) -> None:
    client.force_login(rita)
    with django_assert_max_num_queries(7):
        client.get(f"/rounds/{chosen.pk}/selection/")
    assert not Label.objects.exists()
    assert selection_path(chosen).is_file()
