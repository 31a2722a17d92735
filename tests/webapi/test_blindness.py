"""Nothing that a labeler can get tells gold from other tasks, or a snippet's source, score, split or target."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from tests.webapi.test_api_tasks import answer, lease
from webapi.models import (
    Batch,
    Classifier,
    Corpus,
    Gold,
    Label,
    Policy,
    Round,
    Score,
    Snippet,
    Standing,
    Task,
    User,
)
from webapi.permissions import Actor
from webapi.services.leases import annotator_for
from webapi.services.policies import policy_create

Api = Callable[..., APIClient]
pytestmark = pytest.mark.django_db
SECRETS = re.compile(
    r"gold|paraphrase|source|score|logit|target|classifier|threshold|split|pool|parent|held_out|adversar|explan|5\.4321",
    re.IGNORECASE,
)


@pytest.fixture
def policy(policy: Policy) -> Policy:
    """Half of the tasks are gold, for all who are qualified."""
    quality = {"gold_rate": 0.5, "feedback": False}
    return policy_create(
        spec={**policy.spec, "name": "tested", "quality": quality, "depth": {"first": 1, "most": 1, "test": 1}}
    )


@pytest.fixture
def batch(policy: Policy, make_batch: Callable[..., Batch], make_snippets: Callable[..., list[Snippet]]) -> Batch:
    """A round's batch with secrets everywhere, and as much gold."""
    round_ = Round.objects.create(name="held_out_attack", policy=policy, corpus=Corpus.objects.create(name="c"))
    classifier = Classifier.objects.create(policy=policy, round=round_, name="c", condition="b", encoder="e")
    snippets = make_snippets(40, source="paraphrase", split="test", external_id="adversary")
    Score.objects.bulk_create(Score(classifier=classifier, snippet=row, logit=5.4321) for row in snippets)
    for row in make_snippets(40, first=500, source="manual"):
        Gold.objects.create(policy=policy, snippet=row, choice="No", explanation="explanation")
    return make_batch(snippets=snippets, round=round_, name="held_out_attack")


def is_gold(task: dict[str, Any]) -> bool:
    return Task.objects.get(pk=task["id"]).gold_id is not None


def both(client: APIClient, count: int = 40) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Leased tasks, gold and others."""
    tasks = lease(client, count=count)
    gold = [task for task in tasks if is_gold(task)]
    others = [task for task in tasks if not is_gold(task)]
    assert len(gold) > 5
    assert len(others) > 5
    return gold, others


def shape(value: Any, at: str = "") -> Any:
    """A payload with what differs between any two tasks taken out."""
    if isinstance(value, dict):
        return {key: shape(one, key) for key, one in value.items()}
    return type(value).__name__ if at in {"id", "prompt", "completion", "token", "task", "label"} else value


def test_leased_tasks_are_alike(alice: User, api: Api, batch: Batch) -> None:
    """To the microsecond of the lease's end."""
    gold, others = both(api(alice))
    assert len({repr(shape(task)) for task in [*gold, *others]}) == 1
    ids = [task["id"] for task in [*gold, *others]]
    assert all(one[14] == "4" for one in ids), "random keys, which carry no time"


def test_their_order_tells_nothing(alice: User, api: Api, batch: Batch) -> None:
    """Neither in the answer nor in the list of held tasks does gold stand first or last."""
    client = api(alice)
    answered = [is_gold(task) for task in lease(client, count=40)]
    listed = [is_gold(task) for task in client.get("/api/v1/tasks").json()["results"]]
    for order in (answered, listed):
        changes = sum(one != other for one, other in pairwise(order))
        assert changes > 3


def test_answers_and_ones_own_labels_are_alike(alice: User, api: Api, batch: Batch) -> None:
    client = api(alice)
    gold, others = both(client)
    told = [answer(client, task) for task in (gold[0], others[0], gold[1], others[1])]
    changed = [answer(client, task, "Yes") for task in (gold[0], others[0])]
    again = [answer(client, task, "Yes") for task in (gold[0], others[0])]
    for responses in (told, changed, again):
        assert len({(one.status_code, repr(shape(one.json()))) for one in responses}) == 1
    rows = [
        {**row, "created_at": "", "choice": "", "revision": 0} for row in client.get("/api/v1/labels").json()["results"]
    ]
    assert len(rows) == 6
    assert len({repr(shape(row)) for row in rows}) == 1


def test_renewing_and_releasing_are_alike(alice: User, api: Api, batch: Batch) -> None:
    client = api(alice)
    gold, others = both(client)
    tokens = [gold[0]["lease"]["token"], others[0]["lease"]["token"]]
    for move in ("renew", "release", "release"):
        results = client.post(f"/api/v1/tasks/{move}", {"leases": tokens}).json()["results"]
        assert len({repr(shape(one)) for one in results}) == 1


def test_what_was_given_back_comes_again_as_the_same_task(alice: User, api: Api, batch: Batch) -> None:
    client = api(alice)
    gold, others = both(client)
    Gold.objects.exclude(tasks=gold[0]["id"]).update(active=False)
    client.post("/api/v1/tasks/release", {"leases": [task["lease"]["token"] for task in [*gold, *others]]})
    again: list[dict[str, Any]] = []
    while not any(is_gold(task) for task in again):
        again += lease(client, count=2)  # half of the tasks are gold: it comes soon, or the leases run out
    (back,) = [task for task in again if is_gold(task)]
    assert (back["id"], back["lease"]["token"]) == (gold[0]["id"], gold[0]["lease"]["token"])
    assert Task.objects.exclude(gold=None).count() == len(gold)


def test_a_batchs_progress_does_not_tell_which_answers_count(alice: User, api: Api, batch: Batch) -> None:
    client = api(alice)

    def progress() -> dict[str, Any]:
        row = client.get(f"/api/v1/batches/{batch.pk}").json()
        progress: dict[str, Any] = row["progress"]
        return progress

    before = progress()
    gold, others = both(client)
    assert progress() == {**before, "leased": 40}
    for task in (gold[0], others[0], gold[1], others[1]):
        answer(client, task)
        assert progress() == {**before, "leased": 30}


PATHS = ("tasks", "labels", "batches", "policies")
PAGES = ("/label/", "/compare/", "/me/")


@pytest.mark.parametrize("name", ["alice", "bob", "acme"])
def test_no_answer_to_a_labeler_names_a_secret(people: dict[str, User], api: Api, batch: Batch, name: str) -> None:
    user = people[name]
    if name == "acme":
        Batch.objects.update(vendor_user=user)
    client = api(user)
    tasks = lease(client, count=20, **({"annotator": "w"} if name == "acme" else {}))
    given = [answer(client, task).content.decode() for task in tasks[:6]]
    texts = [client.get(f"/api/v1/{path}").content.decode() for path in PATHS]
    texts += [
        client.get(f"/api/v1/{path}/{key}").content.decode()
        for path, key in (("batches", batch.pk), ("policies", batch.policy_id))
    ]
    for text in [str(tasks), *given, *texts]:
        assert SECRETS.search(text) is None, text
    assert len(tasks) == 20
    assert Label.objects.count() == 6


@pytest.mark.parametrize("name", ["alice", "bob"])
def test_no_page_of_a_labeler_names_a_secret(
    people: dict[str, User], client: Client, api: Api, batch: Batch, name: str
) -> None:
    for task in lease(api(people[name]), count=20)[:6]:
        answer(api(people[name]), task)
    client.force_login(people[name])
    for page in PAGES:
        response = client.get(page)
        assert response.status_code == 200
        assert SECRETS.search(response.content.decode().replace("data-source", "")) is None, page


def test_before_it_is_told_gold_changes_nothing_that_one_sees_of_oneself(alice: User, api: Api, batch: Batch) -> None:
    client = api(alice)
    gold, others = both(client)

    def standing() -> Any:
        return client.get("/api/v1/me").json()["standings"]

    before = standing()
    assert before[0]["state"] == "qualified"
    answer(client, gold[0])
    answer(client, others[0])
    assert standing() == before
    assert client.get("/api/v1/me/gold").json()["results"] == []
    assert Standing.objects.get(annotator=annotator_for(actor=Actor(alice, alice.role))).state == "qualified"
