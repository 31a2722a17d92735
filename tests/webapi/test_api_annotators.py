"""Annotators over the API: figures by hand, and what is done about a bad one."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient
from scipy.stats import beta

from webapi.models import (
    Annotator,
    Batch,
    Consensus,
    Gold,
    Job,
    Label,
    Policy,
    Snippet,
    Standing,
    Task,
    User,
)
from webapi.selectors.annotators import annotator_records, annotators_under
from webapi.selectors.label_columns import COLUMNS

Api = Callable[..., APIClient]
AT = "/api/v1/annotators"


@pytest.fixture
def people(policy: Policy, make_batch: Callable[..., Batch]) -> dict[str, Annotator]:
    """Ann, ben and staff judge four snippets; dan judges one alone, and gold wrongly."""
    batch = make_batch(4, wanted=5)
    found = {name: Annotator.objects.create(name=name, staff=name == "sam") for name in ("ann", "ben", "sam", "dan")}
    given = {"ann": "YYNU", "ben": "YNN", "sam": "YNN", "dan": "Y"}
    names = {"Y": "Yes", "N": "No", "U": policy.rules.choices[1]}
    for name, answers in given.items():
        for task, letter in zip(batch.tasks.order_by("snippet"), answers, strict=False):
            Label.objects.create(
                task=task, snippet=task.snippet, annotator=found[name], choice=names[letter], seconds=10.0
            )
    right, wrong = Snippet.objects.order_by("pk")[2:4]
    for snippet, choice in ((right, "Yes"), (wrong, "No")):
        gold = Gold.objects.create(policy=policy, snippet=snippet, choice=choice)
        task = Task.objects.create(batch=batch, snippet=snippet, gold=gold)
        Label.objects.create(task=task, snippet=snippet, annotator=found["dan"], choice="Yes", seconds=4000.0)
    return found


def test_the_figures_of_each_are_those_counted_by_hand(
    people: dict[str, Annotator], rita: User, api: Api, policy: Policy
) -> None:
    ann, dan = (api(rita).get(f"{AT}/{people[name].pk}", {"policy": "harm"}).json() for name in ("ann", "dan"))
    first, unsure, last = 0, 1, len(policy.rules.choices) - 1
    # Snippet 1: all others say Yes; 2: ben and sam say No, ann Yes; 3: both say No; 4: ann alone.
    expected = [[0] * (last + 1) for _ in range(last + 1)]
    expected[first][first], expected[last][first], expected[last][last] = 1, 1, 1
    assert ann["confusion"] == expected
    assert (ann["labels"], ann["seconds"], ann["state"]) == (4, 10.0, "qualified")
    assert (ann["others"]["failures"], ann["others"]["n"]) == (2, 3)
    assert (ann["audits"]["failures"], ann["audits"]["n"]) == (2, 3)
    assert (ann["unsure"]["failures"], ann["unsure"]["n"]) == (int(unsure != last), 4)
    assert ann["others"]["low"] == pytest.approx(beta.ppf(0.025, 2, 2))
    assert (ann["gold"]["estimate"], ann["gold"]["n"]) == (None, 0)
    assert (dan["labels"], dan["gold"]["failures"], dan["gold"]["n"]) == (1, 1, 2)
    assert dan["seconds"] == 10.0
    sam = api(rita).get(f"{AT}/{people['sam'].pk}", {"policy": "harm"}).json()
    assert (sam["staff"], sam["audits"]["n"]) == (True, 0)


def test_the_list_is_paged_and_asks_as_much_for_two_dozen_as_for_two(
    people: dict[str, Annotator], rita: User, api: Api, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert api(rita).get(AT).status_code == 400
    shown = api(rita).get(AT, {"policy": "harm", "page_size": 3}).json()
    assert len(shown["results"]) == 3
    assert len(api(rita).get(shown["next"]).json()["results"]) == 1
    Annotator.objects.create(name="stranger")
    assert {one.name for one in annotators_under(policy)} == set(people)
    snippet = Snippet.objects.first()
    more = [Annotator.objects.create(name=f"w{n}") for n in range(20)]
    Label.objects.bulk_create(Label(snippet=snippet, annotator=one, choice="No") for one in more)
    api(rita).get(AT, {"policy": "harm"})
    for n in (2, 24):
        chosen = list(annotators_under(policy)[:n])
        with CaptureQueriesContext(connection) as asked:
            found = annotator_records(policy, chosen)
        assert (len(found), len(asked)) == (n, 5)
    monkeypatch.setattr("webapi.selectors.annotators.FEW", 1)  # too many to be asked for by key
    assert annotator_records(policy, chosen) == found


def test_the_time_of_an_answer_is_the_median_without_breaks(people: dict[str, Annotator], rita: User, api: Api) -> None:
    """An even and an odd number of them; of ben's answers one took longer than ten minutes, one nobody timed."""
    Label.objects.update(seconds=None)
    taken = {"ann": (30.0, 1.0, 4.0, 2.0), "ben": (600.0, 600.1, 5.0), "sam": (9.5, 0.5, 8.0)}
    for name, seconds in taken.items():
        for label, value in zip(Label.objects.filter(annotator=people[name]).order_by("pk"), seconds, strict=True):
            Label.objects.filter(pk=label.pk).update(seconds=value)
    COLUMNS.forget()
    shown = api(rita).get(AT, {"policy": "harm"}).json()["results"]
    found = {one["name"]: one["seconds"] for one in shown}
    assert found == {"ann": 3.0, "ben": 302.5, "sam": 8.0, "dan": None}


def test_everybody_comes_as_csv(people: dict[str, Annotator], rita: User, api: Api) -> None:
    Annotator.objects.filter(pk=people["ben"].pk).update(name="=ben")
    answer = api(rita).get(AT, {"policy": "harm", "format": "csv", "page_size": 1})
    assert answer.headers["Content-Disposition"] == 'attachment; filename="annotators.csv"'
    rows = {row["id"]: row for row in csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig")))}
    assert {row["name"] for row in rows.values()} == {"ann", "'=ben", "sam", "dan"}
    ann = rows[str(people["ann"].pk)]
    shown = api(rita).get(f"{AT}/{people['ann'].pk}", {"policy": "harm"}).json()
    for rate in ("gold", "others", "audits", "unsure"):
        for name, value in shown[rate].items():
            whole = name in ("failures", "n") and value is not None
            assert ann[f"{rate}_{name}"] == ("" if value is None else str(int(value) if whole else value))
    assert [ann[name] for name in ("labels", "seconds", "staff", "state")] == ["4", "10.0", "False", "qualified"]
    assert (ann["others_failures"], ann["others_n"]) == ("2", "3")
    assert api(rita).get(AT, {"policy": "harm", "format": "xml"}).status_code == 400


def test_one_is_paused_and_comes_back(people: dict[str, Annotator], rita: User, api: Api, policy: Policy) -> None:
    at = f"{AT}/{people['dan'].pk}"
    asked: dict[str, Any] = {"policy": "harm"}
    refused = api(rita).post(f"{at}/resume", asked)
    assert (refused.status_code, refused.json()["code"]) == (409, "annotator_not_paused")
    for _ in range(2):
        paused = api(rita).post(f"{at}/pause", {**asked, "reason": "hurried"}).json()
        assert (paused["state"], paused["reason"]) == ("paused", "hurried")
    no_gold = api(rita).post(f"{at}/start_over", asked)
    assert (no_gold.status_code, no_gold.json()["code"]) == (409, "no_fresh_gold")
    assert api(rita).post(f"{at}/resume", asked).json()["state"] == "qualified"
    assert api(rita).get(at, asked).json()["gold"]["n"] == 0
    assert Standing.objects.count() == 1


def test_labels_are_put_back_once(people: dict[str, Annotator], rita: User, api: Api) -> None:
    Label.objects.filter(annotator=people["dan"], task__gold__isnull=False).delete()
    Consensus.objects.all().delete()
    Task.objects.filter(gold=None).update(taken=4, labelled=4)
    at = f"{AT}/{people['dan'].pk}/put_back"
    assert api(rita).post(at, {"policy": "harm"}).json() == {"withdrawn": 1, "reopened": 1}
    assert api(rita).post(at, {"policy": "harm"}).json() == {"withdrawn": 0, "reopened": 0}
    assert Job.objects.filter(kind="follow_labels").count() == 1
    assert api(rita).get(f"{AT}/{people['dan'].pk}", {"policy": "harm"}).json()["labels"] == 0


def test_labelers_do_not_see_each_other(people: dict[str, Annotator], alice: User, api: Api) -> None:
    assert api(alice).get(AT, {"policy": "harm"}).status_code == 404
    assert api(alice).post(f"{AT}/{people['ann'].pk}/pause", {"policy": "harm", "reason": "x"}).status_code == 404
