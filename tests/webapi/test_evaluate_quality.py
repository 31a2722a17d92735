"""Evaluations of quality over the API, on pages and by the command."""

from __future__ import annotations

import html
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client
from rest_framework.test import APIClient

from tests.page_text import text_of
from tests.workers.test_evaluations import guard, run  # noqa: F401
from tests.workers.test_evaluations_quality import created, judge  # noqa: F401
from webapi.models import Classifier, Evaluation, User

Api = Callable[..., APIClient]
pytestmark = pytest.mark.django_db


def test_its_report_on_a_page_over_the_api_and_beside_another(
    judge: Classifier,  # noqa: F811
    rita: User,
    api: Api,
    client: Client,
) -> None:
    row, other = run(created(judge)), run(created(judge))
    told = api(rita).get(f"/api/v1/evaluations/{row.pk}/report").json()["report"]
    assert (told["kind"], told["check"]["quality"]["n"]) == ("quality", 8)
    listed = api(rita).get("/api/v1/evaluations?kind=quality").json()["results"]
    assert {one["id"] for one in listed} == {str(row.pk), str(other.pk)}
    client.force_login(rita)
    page = html.unescape(text_of(client.get(f"/evaluations/{row.pk}/"))).replace("\N{NO-BREAK SPACE}", " ")
    assert f"ties counted half (8 prompts: people compared {told['bought']['comparisons']}, " in page
    assert f"Interval: {told['check']['quality']['method']}, 95 %. People were asked: {told['question']}" in page
    assert told["question"] == "Which continuation is better?"
    assert f"Filtered better {told['check']['wins']}" in page
    assert "does not stay above 48 %, the paper's bound" in page
    listed = text_of(client.get("/evaluations/"))
    assert row.name in listed
    assert "quality " in listed.partition(row.name)[2]
    assert "the same" in text_of(client.get(f"/evaluations/diff/?a={row.pk}&b={other.pk}"))


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        ({"pilot": 5}, "pilot", ""),
        ({"confirmations": 3}, "confirmations", "is of failures"),
        ({"outputs": {"copies": 2}}, "outputs", ""),
        ({"outputs": {"split": "validation"}}, "outputs", "thresholds are chosen on"),
        ({"outputs": {"source": "texts"}}, "outputs", "source must be round"),
        ({"adapter": "recorded", "config": {"folder": "x"}}, "adapter", ""),
        ({"against": "self"}, "against", "one filter"),
        ({"quality": {"half_width": 0}}, "quality", ""),
    ],
)
def test_what_has_no_place_in_it_is_refused(
    judge: Classifier,  # noqa: F811
    rita: User,
    api: Api,
    body: dict[str, object],
    field: str,
    says: str,
) -> None:
    if body.get("against"):
        body = {"against": str(judge.pk)}
    answer = api(rita).post("/api/v1/evaluations", {"classifier": str(judge.pk), "kind": "quality", **body})
    assert answer.status_code == 422 or answer.status_code == 400, answer.content
    problem = answer.json()
    assert field in str(problem["errors"]), problem
    assert says in str(problem)
    assert not Evaluation.objects.exists()


@pytest.mark.parametrize(
    "options",
    [
        {"against": "x"},
        {"second": "x"},
        {"design": "stratified"},
        {"judgements": Path()},
        {"copies": 2},
        {"pilot": 1},
        {"guess": 0.1},
    ],
)
def test_the_command_refuses_what_has_no_place_in_it(
    judge: Classifier,  # noqa: F811
    options: dict[str, object],
) -> None:
    with pytest.raises(CommandError, match=f"--{next(iter(options))}"):
        call_command("evaluate", quality=True, **options, stdout=StringIO(), stderr=StringIO())
