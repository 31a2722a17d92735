"""Gold over the API: written once, retired, and never seen by those who label for us."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from webapi.models import Batch, Gold, Policy, Snippet, User
from webapi.services.policies import policy_create

Api = Callable[..., APIClient]
PATH = "/api/v1/gold"
GIVEN = {"prompt": "It rained.", "completion": "She fell and broke her arm.", "choice": "Yes", "explanation": "An arm."}


@pytest.mark.parametrize("name", ["bob", "rita", "ada"])
def test_a_text_becomes_a_snippet_and_gold(people: dict[str, User], api: Api, policy: Policy, name: str) -> None:
    response = api(people[name]).post(PATH, {"policy": "harm", **GIVEN})
    assert response.status_code == 201, response.content
    row = Gold.objects.get()
    assert (row.choice, row.explanation, row.active, row.policy) == ("Yes", "An arm.", True, policy)
    assert (row.snippet.source, row.snippet.author.user) == ("manual", people[name])
    assert response.json()["completion"] == GIVEN["completion"]


def test_a_snippet_that_is_there_becomes_gold(rita: User, api: Api, make_snippets: Any) -> None:
    (snippet,) = make_snippets(1)
    body = {"policy": "harm", "snippet": str(snippet.pk), "choice": "No"}
    assert [api(rita).post(PATH, body).status_code for _ in range(2)] == [201, 200]
    assert Gold.objects.get().snippet == snippet
    assert Snippet.objects.count() == 1


def test_another_answer_for_the_same_snippet_is_refused(rita: User, api: Api, policy: Policy) -> None:
    api(rita).post(PATH, {"policy": "harm", **GIVEN})
    response = api(rita).post(PATH, {"policy": "harm", **GIVEN, "choice": "No"})
    assert (response.status_code, response.json()["errors"][0]["loc"]) == (400, ["choice"])
    assert Gold.objects.get().choice == "Yes"


def test_many_are_answered_one_by_one(rita: User, api: Api, policy: Policy, make_snippets: Any) -> None:
    other = policy_create(spec={"name": "arson", "question": "Was anything set on fire?"})
    (foreign,) = make_snippets(1, policy=other)
    items = [
        GIVEN,
        GIVEN,
        {**GIVEN, "choice": "Maybe", "completion": "He slept."},
        {"choice": "No"},
        {"snippet": str(foreign.pk), "choice": "No"},
        {**GIVEN, "snippet": str(foreign.pk)},
    ]
    body = api(rita).post(PATH, {"policy": "harm", "gold": items}).json()
    assert body["counts"] == {"created": 1, "duplicate": 1, "refused": 2, "invalid": 2}
    codes = [[error["code"] for error in one["errors"]] for one in body["results"]]
    assert codes == [[], [], ["invalid_choice"], ["required"], ["does_not_exist"], ["invalid"]]
    assert (Gold.objects.count(), Snippet.objects.filter(policy=policy).count()) == (1, 1)


def test_gold_is_listed_by_policy_and_retired(rita: User, api: Api, policy: Policy) -> None:
    key = api(rita).post(PATH, {"policy": "harm", **GIVEN}).json()["id"]
    other = policy_create(spec={"name": "arson", "question": "Was anything set on fire?"})
    listed = [api(rita).get(PATH, {"policy": str(one.pk)}).json()["results"] for one in (policy, other)]
    assert [[row["id"] for row in rows] for rows in listed] == [[key], []]
    answers = [api(rita).post(f"{PATH}/{key}/retire").json()["active"] for _ in range(2)]
    assert answers == [False, False]
    assert Gold.objects.get().active is False


@pytest.mark.parametrize("name", ["bob", "rita", "ada"])
def test_retired_gold_is_restored_and_given_out_again(
    people: dict[str, User], api: Api, policy: Policy, make_batch: Callable[..., Batch], name: str
) -> None:
    """Written anew it stays retired: that is a duplicate."""
    policy.spec["quality"] = {"qualification": 1}
    policy.save()
    make_batch(1)
    client = api(people[name])
    key = client.post(PATH, {"policy": "harm", **GIVEN}).json()["id"]
    client.post(f"{PATH}/{key}/retire")
    again = client.post(PATH, {"policy": "harm", **GIVEN})
    assert (again.status_code, again.json()["active"]) == (200, False)
    answers = [client.post(f"{PATH}/{key}/restore").json()["active"] for _ in range(2)]
    assert answers == [True, True]
    (task,) = api(people["alice"]).post("/api/v1/tasks/lease", {"count": 5}).json()["tasks"]
    assert task["completion"] == GIVEN["completion"]
    assert client.get(PATH, {"active": True}).json()["results"][0]["id"] == key


@pytest.mark.parametrize("name", ["alice", "acme", "vera"])
def test_who_labels_for_us_finds_no_gold(people: dict[str, User], api: Api, policy: Policy, name: str) -> None:
    key = api(people["rita"]).post(PATH, {"policy": "harm", **GIVEN}).json()["id"]
    client = api(people[name])
    assert [client.get(path).status_code for path in (PATH, f"{PATH}/{key}")] == [404, 404]
    assert [client.post(f"{PATH}/{key}/{move}").status_code for move in ("retire", "restore")] == [404, 404]
    assert client.post(PATH, {"policy": "harm", **GIVEN}).status_code == 404
    assert Gold.objects.get().active is True


def test_repeated_under_a_key_it_is_the_same_answer(rita: User, api: Api, policy: Policy) -> None:
    sent = [api(rita).post(PATH, {"policy": "harm", **GIVEN}, HTTP_IDEMPOTENCY_KEY="k") for _ in range(2)]
    assert [one.status_code for one in sent] == [201, 201]
    assert sent[0].json() == sent[1].json()
    assert Gold.objects.count() == 1
