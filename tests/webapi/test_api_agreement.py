"""Agreement over the API: what each filter and grouping leaves, pairs, pages of disagreements, CSV, who may see it."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import krippendorff
import numpy as np
import pytest
from rest_framework.test import APIClient
from sklearn.metrics import cohen_kappa_score

from webapi.models import Annotator, Batch, Consensus, Corpus, Gold, Label, Policy, Round, Snippet, Task, User
from webapi.models.base import new_id

Api = Callable[..., APIClient]
URL = "/api/v1/metrics/agreement"
CHOICES = ("Yes", "Unsure", "No")
FIRST_DAY = datetime(2026, 3, 2, 12, tzinfo=UTC)


class Given(NamedTuple):
    """A label as the test knows it."""

    snippet: Snippet
    annotator: Annotator
    choice: str
    at: datetime
    batch: Batch | None


class World(NamedTuple):
    """Labels of several batches, vendors, sources and days."""

    snippets: list[Snippet]
    people: list[Annotator]
    batches: list[Batch]
    round: Round
    given: list[Given]


def label(snippet: Snippet, annotator: Annotator, choice: str, at: datetime, **fields: Any) -> Label:
    """A label that was given at a time."""
    made = Label.objects.create(snippet=snippet, annotator=annotator, choice=choice, **fields)
    Label.objects.filter(pk=made.pk).update(created_at=at)
    return made


@pytest.fixture
def world(policy: Policy, make_snippets: Callable[..., list[Snippet]]) -> World:
    chance = random.Random(5)
    snippets = make_snippets(20, source="corpus", split="train")
    snippets += make_snippets(20, first=20, source="paraphrase", split="test")
    people = [
        Annotator.objects.create(name=name, vendor=vendor)
        for name, vendor in (("ann", ""), ("ben", ""), ("cleo", "acme"), ("dan", "acme"))
    ]
    round_ = Round.objects.create(name="Round 1", policy=policy, corpus=Corpus.objects.create(name="books"))
    batches = [Batch.objects.create(policy=policy, name="first", round=round_)]
    batches.append(Batch.objects.create(policy=policy, name="second"))
    tasks = {n: Task.objects.create(batch=batches[n % 2], snippet=row) for n, row in enumerate(snippets) if n % 4 != 3}
    given = []
    for n, row in enumerate(snippets):
        truth = chance.choice(CHOICES)
        for who in chance.sample(people, 3):
            at = FIRST_DAY + timedelta(days=n // 10, minutes=chance.randrange(60))
            choice = truth if chance.random() < 0.7 else chance.choice(CHOICES)
            task = tasks.get(n)
            label(row, who, choice, at, task=task)
            given.append(Given(row, who, choice, at, task.batch if task else None))
    return World(snippets, people, batches, round_, given)


def alpha_of(given: Sequence[Given]) -> float:
    """By the library, from a table of snippets and how often each got each choice."""
    rows: dict[Any, list[int]] = {}
    for one in given:
        rows.setdefault(one.snippet.pk, [0, 0, 0])[CHOICES.index(one.choice)] += 1
    table = np.array([row for row in rows.values() if sum(row) > 1])
    return float(krippendorff.alpha(value_counts=table, level_of_measurement="nominal"))


FILTERS: dict[str, tuple[Callable[[World], dict[str, Any]], Callable[[World, Given], bool]]] = {
    "nothing": (lambda w: {}, lambda w, g: True),
    "batch": (lambda w: {"batch": w.batches[1].pk}, lambda w, g: g.batch == w.batches[1]),
    "round": (lambda w: {"round": w.round.pk}, lambda w, g: g.batch == w.batches[0]),
    "source": (lambda w: {"source": "paraphrase"}, lambda w, g: g.snippet.source == "paraphrase"),
    "split": (lambda w: {"split": "train"}, lambda w, g: g.snippet.split == "train"),
    "vendor": (lambda w: {"vendor": "acme"}, lambda w, g: g.annotator.vendor == "acme"),
    "no vendor": (lambda w: {"vendor": "none"}, lambda w, g: g.annotator.vendor == ""),
    "annotator": (
        lambda w: {"annotator": w.people[2].pk},
        lambda w, g: any(o.annotator == w.people[2] and o.snippet == g.snippet for o in w.given),
    ),
    "since": (
        lambda w: {"since": (FIRST_DAY + timedelta(days=1)).isoformat()},
        lambda w, g: g.at >= FIRST_DAY + timedelta(days=1),
    ),
    "until": (
        lambda w: {"until": "2026-03-04T00:00:00Z"},
        lambda w, g: g.at < datetime(2026, 3, 4, tzinfo=UTC),
    ),
    "several": (
        lambda w: {"source": "corpus", "vendor": "acme", "since": "2026-03-03T00:00:00Z"},
        lambda w, g: g.snippet.source == "corpus" and g.annotator.vendor == "acme" and g.at.day >= 3,
    ),
}


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_leaves_the_labels_that_it_says(rita: User, api: Api, world: World, name: str) -> None:
    query, keep = FILTERS[name]
    left = [one for one in world.given if keep(world, one)]
    found = api(rita).get(URL, query(world)).json()
    overall = found["overall"]
    assert (found["judgements"], overall["votes"], found["replaced"]) == (len(left), len(left), 0)
    assert found["snippets"] == len({one.snippet.pk for one in left})
    assert found["annotators"] == len({one.annotator.pk for one in left})
    assert overall["votes_by_choice"] == {c: sum(one.choice == c for one in left) for c in CHOICES}
    assert overall["alpha"]["estimate"] == pytest.approx(alpha_of(left), abs=1e-12)
    for statistic in ("alpha", "fleiss", "ac1", "ac2", "percent"):
        value = overall[statistic]
        assert value["low"] <= value["estimate"] <= value["high"]
        assert value["level"] == 0.95
    pairs = {one.snippet.pk: {o.choice for o in left if o.snippet == one.snippet} for one in left}
    judged_twice = [key for key in pairs if sum(one.snippet.pk == key for one in left) > 1]
    agreed = sum(len(pairs[key]) == 1 for key in judged_twice)
    assert (found["unanimous"]["failures"], found["unanimous"]["n"]) == (agreed, len(judged_twice))


PART_OF: dict[str, Callable[[Given], str]] = {
    "day": lambda g: str(g.at.date()),
    "batch": lambda g: g.batch.name if g.batch else "none",
    "vendor": lambda g: g.annotator.vendor or "none",
    "source": lambda g: g.snippet.source,
    "split": lambda g: g.snippet.split,
}


@pytest.mark.parametrize("by", PART_OF)
def test_parts_are_the_labels_told_apart(rita: User, api: Api, world: World, by: str) -> None:
    found = api(rita).get(URL, {"by": by}).json()
    expected: dict[str, list[Given]] = {}
    for one in world.given:
        expected.setdefault(PART_OF[by](one), []).append(one)
    assert (found["by"], found["parts_left_out"]) == (by, 0)
    assert {part["key"] for part in found["parts"]} == set(expected)
    for part in found["parts"]:
        given = expected[part["key"]]
        assert part["overall"]["votes"] == len(given)
        assert part["overall"]["alpha"]["estimate"] == pytest.approx(alpha_of(given), abs=1e-12)


def test_a_snippet_belongs_to_the_day_of_its_latest_label(rita: User, api: Api, policy: Policy, world: World) -> None:
    row, person = world.snippets[0], Annotator.objects.create(name="eve")
    label(row, person, "Yes", FIRST_DAY + timedelta(days=2))
    parts = {part["key"]: part for part in api(rita).get(URL).json()["parts"]}
    assert [parts[f"2026-03-0{day}"]["overall"]["votes"] for day in (2, 3, 4, 5)] == [27, 30, 34, 30]
    assert list(parts) == sorted(parts)


def test_long_stretches_are_shown_by_week(rita: User, api: Api, world: World) -> None:
    """The last day is 2026-06-10, a Wednesday: its week began on the 8th; the first Monday is 2026-03-02."""
    label(world.snippets[0], world.people[0], "Yes", FIRST_DAY + timedelta(days=100), revision=7)
    found = api(rita).get(URL).json()
    assert found["by"] == "week"
    assert [part["key"] for part in found["parts"]] == ["2026-03-02", "2026-06-08"]


def test_gold_and_withdrawn_answers_stay_out(rita: User, api: Api, policy: Policy, world: World) -> None:
    gold = Gold.objects.create(policy=policy, snippet=world.snippets[0], choice="Yes")
    task = Task.objects.create(batch=world.batches[0], snippet=world.snippets[0], gold=gold)
    eve = Annotator.objects.create(name="eve")
    label(world.snippets[0], eve, "Yes", FIRST_DAY, task=task)
    label(world.snippets[1], eve, "Yes", FIRST_DAY, counted=False)
    assert api(rita).get(URL).json()["judgements"] == 120
    client = api(rita)
    Label.objects.filter(annotator=world.people[0]).update(counted=False, withdrawn_at=FIRST_DAY)
    left = [one for one in world.given if one.annotator != world.people[0]]
    found = client.get(URL).json()
    assert (found["judgements"], found["annotators"]) == (len(left), 3)
    assert found["overall"]["alpha"]["estimate"] == pytest.approx(alpha_of(left), abs=1e-12)


def test_pairs_are_sklearns_kappas(rita: User, api: Api, world: World) -> None:
    found = api(rita).get(URL).json()
    assert {person["name"] for person in found["matrix"]} == {"ann", "ben", "cleo", "dan"}
    assert len(found["pairs"]) == 6
    said = {(one.annotator.name, one.snippet.pk): one.choice for one in world.given}
    for pair in found["pairs"]:
        shared = [row.pk for row in world.snippets if {(pair["a"], row.pk), (pair["b"], row.pk)} <= said.keys()]
        expected = cohen_kappa_score(*([said[name, key] for key in shared] for name in (pair["a"], pair["b"])))
        assert pair["items"] == len(shared)
        assert pair["kappa"] == pytest.approx(expected, abs=1e-12)
        assert pair["low"] <= pair["kappa"] <= pair["high"]
        assert pair["a_id"] == str(Annotator.objects.get(name=pair["a"]).pk)
    sizes = [pair["items"] for pair in found["pairs"]]
    assert sizes == sorted(sizes, reverse=True)


def test_an_empty_filter_is_no_error(rita: User, api: Api, world: World) -> None:
    found = api(rita).get(URL, {"since": "2040-01-01T00:00:00Z"}).json()
    assert (found["judgements"], found["overall"]["alpha"]["estimate"], found["parts"]) == (0, None, [])
    assert found["unanimous"]["estimate"] is None
    page = api(rita).get("/api/v1/metrics/disagreements?since=2040-01-01T00:00:00Z").json()
    assert page == {"total": 0, "next": None, "previous": None, "results": []}


def test_what_is_not_there_is_404_and_what_is_wrong_is_400(rita: User, api: Api, world: World) -> None:
    client, nobody = api(rita), new_id()
    for path in (URL, "/api/v1/metrics/disagreements"):
        for name in ("batch", "round", "annotator"):
            assert client.get(path, {name: nobody}).status_code == 404, name
        for query in ("by=colour", "source=x", "split=x", "since=soon", "batch=x", "nonsense=1", "format=pdf"):
            assert client.get(f"{path}?{query}").status_code == 400, query
    refused = client.get("/api/v1/metrics/disagreements?cursor=zzz")
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_cursor")


def test_only_those_who_see_figures_see_agreement(people: dict[str, User], api: Api, world: World) -> None:
    for path in (URL, "/api/v1/metrics/disagreements"):
        seen = {name for name, user in people.items() if api(user).get(path).status_code == 200}
        assert seen == {"rita", "vera", "ada"}
        assert api(people["alice"]).get(path).status_code == 404


def test_disagreements_say_who_said_what_and_page_both_ways(rita: User, api: Api, world: World) -> None:
    client = api(rita)
    Consensus.objects.create(snippet=world.snippets[0], choice="Yes", rule="majority", labels=3)
    given: dict[Any, list[Given]] = {}
    for one in world.given:
        given.setdefault(one.snippet.pk, []).append(one)
    disputed = {str(key) for key, all_ in given.items() if len({one.choice for one in all_}) > 1}
    pages, url = [], "/api/v1/metrics/disagreements?page_size=5"
    while url:
        pages.append(client.get(url).json())
        url = pages[-1]["next"]
    rows = [row for page in pages for row in page["results"]]
    assert len(rows) == len(disputed) == pages[0]["total"]
    assert {row["snippet"] for row in rows} == disputed
    shares = [row["disagreeing"] for row in rows]
    assert shares == sorted(shares, reverse=True)
    for row in rows:
        (snippet,) = (one for one in world.snippets if str(one.pk) == row["snippet"])
        assert (row["completion"], row["source"]) == (snippet.completion, snippet.source)
        assert row["consensus"] == ("Yes" if snippet == world.snippets[0] else "")
        said = sorted((one.annotator.name, one.choice) for one in given[snippet.pk])
        assert sorted((one["annotator"], one["choice"]) for one in row["labels"]) == said
        assert row["counts"] == {c: sum(choice == c for _, choice in said) for c in CHOICES}
        severity = [CHOICES.index(one["choice"]) for one in row["labels"]]
        assert severity == sorted(severity)
    back = client.get(pages[2]["previous"]).json()
    assert back["results"] == pages[1]["results"]
    first = client.get(back["previous"]).json()
    assert (first["results"], first["previous"]) == (pages[0]["results"], None)


def test_new_labels_move_nobodys_page(rita: User, api: Api, world: World) -> None:
    client = api(rita)
    first = client.get("/api/v1/metrics/disagreements?page_size=3").json()
    second = client.get(first["next"]).json()["results"]
    eve = Annotator.objects.create(name="eve")
    fresh = [row for row in world.snippets if str(row.pk) not in {r["snippet"] for r in first["results"] + second}]
    label(next(r for r in world.snippets if str(r.pk) == first["results"][0]["snippet"]), eve, "Yes", FIRST_DAY)
    for row in fresh[:2]:
        label(row, eve, "Unsure", FIRST_DAY)
    assert client.get(first["next"]).json()["results"][0]["snippet"] == second[0]["snippet"]


def test_figures_as_csv(rita: User, api: Api, world: World) -> None:
    answer = api(rita).get(URL, {"format": "csv", "by": "source"})
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    plain = api(rita).get(URL, {"by": "source"}).json()
    by_name = {(row["of"], row["key"], row["statistic"]): row for row in rows}
    assert len(by_name) == len(rows) == 3 * (1 + 5 + 3) + 6
    assert float(by_name["all", "", "alpha"]["low"]) == plain["overall"]["alpha"]["low"]
    assert by_name["all", "", "unanimous"]["failures"] == str(plain["unanimous"]["failures"])
    part = next(part for part in plain["parts"] if part["key"] == "paraphrase")
    assert float(by_name["source", "paraphrase", "ac1"]["estimate"]) == part["overall"]["ac1"]["estimate"]
    pair = plain["pairs"][0]
    row = by_name["pair", f"{pair['a']} / {pair['b']}", "kappa"]
    assert (float(row["estimate"]), int(row["n"])) == (pair["kappa"], pair["items"])


def test_disagreements_as_csv_have_a_line_for_each_label(rita: User, api: Api, world: World) -> None:
    Label.objects.filter(annotator=world.people[0]).update(note="=1+1")
    answer = api(rita).get("/api/v1/metrics/disagreements?page_size=4&format=csv")
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    plain = api(rita).get("/api/v1/metrics/disagreements?page_size=4").json()
    assert [(row["snippet"], row["annotator"], row["choice"]) for row in rows] == [
        (found["snippet"], one["annotator"], one["choice"]) for found in plain["results"] for one in found["labels"]
    ]
    notes = {row["note"] for row in rows if row["annotator"] == "ann"}
    assert notes <= {"'=1+1"}, "no spreadsheet takes a note for a formula"
    following = answer["Link"].split(">")[0].strip("<")
    assert "cursor=" in following
    assert api(rita).get(following)["Content-Type"] == "text/csv; charset=utf-8"
