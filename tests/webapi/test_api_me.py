"""What annotators may know of themselves: how they stand, and gold with its right answers once it may be told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from tests.webapi.test_api_tasks import answer, lease
from webapi.models import Batch, Gold, Label, Policy, Role, Snippet, Standing, User
from webapi.services.policies import policy_create

Api = Callable[..., APIClient]
MakeBatch = Callable[..., Batch]


@pytest.fixture
def policy(policy: Policy) -> Policy:
    """The policy of the other tests, with an entrance test of two, one right answer being enough."""
    quality = {"qualification": 2, "qualification_right": 1}
    return policy_create(spec={**policy.spec, "name": "tested", "quality": quality})


@pytest.fixture
def gold(policy: Policy, make_snippets: Callable[..., list[Snippet]]) -> list[Gold]:
    rows = make_snippets(3, first=500)
    return [Gold.objects.create(policy=policy, snippet=row, choice="No", explanation="Nobody was.") for row in rows]


def standing(client: APIClient, **query: str) -> dict[str, Any]:
    (row,) = client.get("/api/v1/me", query).json()["standings"]
    return row


def test_standing_through_an_entrance_test(alice: User, api: Api, make_batch: MakeBatch, gold: list[Gold]) -> None:
    make_batch(5)
    client = api(alice)
    assert client.get("/api/v1/me").json()["standings"] == []
    one, two = lease(client, count=5)
    assert {one["prompt"], two["prompt"]} <= {row.snippet.prompt for row in gold}
    assert standing(client)["qualification"] == {"answered": 0, "size": 2}
    answer(client, one, "Yes")
    now = standing(client)
    assert (now["state"], now["qualification"], now["gold"]["n"]) == ("qualifying", {"answered": 1, "size": 2}, 0)
    assert client.get("/api/v1/me/gold").json()["results"] == []
    answer(client, two, "No")
    now = standing(client)
    assert (now["state"], now["reason"], now["qualification"]) == ("qualified", "1 of 2 gold answers right", None)
    assert (now["gold"]["failures"], now["gold"]["n"], now["gold"]["estimate"]) == (1, 2, 0.5)
    told = client.get("/api/v1/me/gold").json()["results"]
    assert [(row["task"], row["choice"], row["right_choice"]) for row in told] == [
        (two["id"], "No", "No"),
        (one["id"], "Yes", "No"),
    ]
    assert told[0].keys() == {
        "id", "task", "policy", "prompt", "completion", "choice", "right_choice", "explanation", "created_at",
    }  # fmt: skip
    assert (told[0]["prompt"], told[0]["explanation"]) == (two["prompt"], "Nobody was.")


def test_told_gold_comes_a_page_at_a_time(alice: User, api: Api, make_batch: MakeBatch, gold: list[Gold]) -> None:
    make_batch(1)
    client = api(alice)
    for task in lease(client, count=2):
        answer(client, task)
    first = client.get("/api/v1/me/gold", {"page_size": 1}).json()
    second = client.get(first["next"]).json()
    assert second["next"] is None
    assert {first["results"][0]["id"], second["results"][0]["id"]} == {
        str(pk) for pk in Label.objects.values_list("pk", flat=True)
    }


def test_a_vendor_sees_its_own_workers_only(
    acme: User, alice: User, api: Api, make_batch: MakeBatch, gold: list[Gold]
) -> None:
    other = User.objects.create_user(username="other", role=Role.VENDOR)
    make_batch(5, vendor_user=acme)
    for task in lease(api(acme), count=2, annotator="w1"):
        answer(api(acme), task)
    assert standing(api(acme), annotator="w1")["state"] == "qualified"
    assert len(api(acme).get("/api/v1/me/gold", {"annotator": "w1"}).json()["results"]) == 2
    assert api(acme).get("/api/v1/me").json()["standings"] == []
    assert api(acme).get("/api/v1/me/gold").json()["results"] == []
    for user, worker in ((acme, "w2"), (other, "w1")):
        assert api(user).get("/api/v1/me", {"annotator": worker}).json()["standings"] == []
        assert api(user).get("/api/v1/me/gold", {"annotator": worker}).json()["results"] == []
    for path in ("/api/v1/me", "/api/v1/me/gold"):
        refused = api(alice).get(path, {"annotator": "w1"})
        assert (refused.status_code, refused.json()["code"]) == (409, "not_an_annotator")


def test_a_told_answer_cannot_be_changed_over_the_api(
    alice: User, api: Api, make_batch: MakeBatch, gold: list[Gold]
) -> None:
    make_batch(5)
    client = api(alice)
    one, two = lease(client, count=2)
    answer(client, one, "Yes")
    answer(client, two, "No")
    changed = answer(client, one, "No")
    assert (changed.status_code, changed.json()["outcome"]) == (200, "duplicate")
    assert Label.objects.get(task=one["id"]).choice == "Yes"


def test_who_has_failed_is_told_why_and_given_nothing(
    alice: User, api: Api, make_batch: MakeBatch, gold: list[Gold]
) -> None:
    make_batch(5)
    client = api(alice)
    for task in lease(client, count=2):
        answer(client, task, "Yes")
    now = standing(client)
    assert (now["state"], now["reason"]) == ("paused", "0 of 2 gold answers right")
    refused = client.post("/api/v1/tasks/lease", {})
    assert (refused.status_code, refused.json()["code"]) == (403, "annotator_paused")
    Standing.objects.get().start_over(now=timezone.now() + timedelta(milliseconds=1))
    assert standing(client)["qualification"] == {"answered": 0, "size": 1}


def test_a_test_whose_gold_was_withdrawn_ends_with_what_was_answered(
    alice: User, api: Api, make_batch: MakeBatch, gold: list[Gold]
) -> None:
    make_batch(5)
    client = api(alice)
    (one,) = lease(client, count=1)
    answer(client, one)
    Gold.objects.update(active=False)
    assert lease(client) == []
    assert standing(client)["state"] == "qualified"
    assert len(lease(client)) == 1


def test_a_new_policy_brings_its_gold(rita: User, alice: User, api: Api) -> None:
    spec = {
        "name": "rude",
        "question": "Is it rude?",
        "snippet_rules": {"prompt_sentences": 1, "language": False},
        "quality": {"qualification": 2},
        "gold": [
            {
                "prompt": "She came in.",
                "completion": "He told her to get lost.",
                "choice": "Yes",
                "explanation": "So.",
            },
            {"prompt": "She came in.", "completion": "He offered her a chair.", "choice": "No"},
        ],
    }
    made = api(rita).post("/api/v1/policies", spec)
    assert made.status_code == 201
    assert api(rita).post("/api/v1/policies", spec).json()["id"] == made.json()["id"]
    rows = Gold.objects.order_by("pk").values_list("snippet__completion", "snippet__source", "choice", "explanation")
    assert list(rows) == [
        ("He told her to get lost.", "manual", "Yes", "So."),
        ("He offered her a chair.", "manual", "No", ""),
    ]
    spec["gold"][1]["prompt"] = "She came in. She sat down."
    refused = api(rita).post("/api/v1/policies", spec)
    assert (refused.status_code, refused.json()["code"]) == (400, "bad_input")
    assert refused.json()["detail"].startswith("gold 2: ")
    assert (Policy.objects.filter(name="rude").count(), Snippet.objects.count()) == (1, 2)
