"""Who may do what: every role on every resource, and what a refusal leaves as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rest_framework.test import APIClient

from webapi.models import (
    Batch,
    Classifier,
    Corpus,
    Evaluation,
    IdempotentRequest,
    Job,
    Label,
    Lease,
    Policy,
    Role,
    Round,
    Snippet,
    User,
)
from webapi.permissions import RIGHTS, Actor, may, sees

Api = Callable[..., APIClient]
NAMES = ("alice", "bob", "rita", "vera", "acme", "ada")

# Columns: alice (contractor), bob (staff labeler), rita (researcher), vera (viewer), acme (vendor), ada (admin)
READS = {
    "policies": (200, 200, 200, 200, 200, 200),
    "corpora": (404, 404, 200, 200, 404, 200),
    "snippets": (404, 404, 200, 200, 404, 200),
    "gold": (404, 200, 200, 404, 404, 200),
    "annotators": (404, 400, 400, 400, 404, 400),
    "batches": (200, 200, 200, 200, 200, 200),
    "tasks": (200, 200, 200, 200, 200, 200),
    "labels": (200, 200, 200, 200, 200, 200),
    "rounds": (404, 404, 200, 200, 404, 200),
    "attacks": (404, 404, 200, 200, 404, 200),
    "classifiers": (404, 404, 200, 200, 404, 200),
    "generators": (404, 404, 200, 200, 404, 200),
    "samplings": (404, 404, 200, 200, 404, 200),
    "filter": (405, 405, 405, 405, 405, 405),
    "sweeps": (404, 404, 200, 200, 404, 200),
    "evaluations": (404, 404, 200, 200, 404, 200),
    "snapshots": (404, 404, 200, 200, 404, 200),
    "indexes": (404, 404, 200, 200, 404, 200),
    "jobs": (404, 404, 200, 200, 404, 200),
    "imports": (404, 404, 200, 200, 404, 200),
    "exports": (404, 404, 200, 200, 404, 200),
    "metrics/labels": (404, 404, 200, 200, 404, 200),
    "metrics/queue": (404, 404, 200, 200, 404, 200),
    "metrics/rounds": (404, 404, 200, 200, 404, 200),
    "webhooks": (404, 404, 200, 404, 200, 200),
    "tokens": (200, 200, 200, 200, 200, 200),
    "me": (200, 200, 200, 200, 200, 200),
    "me/gold": (200, 200, 200, 200, 200, 200),
}

# A body that is refused for its content where the role may act (400), so that nothing is made.
CHANGES = {
    "policies": (403, 403, 400, 403, 403, 400),
    "corpora": (404, 404, 400, 403, 404, 400),
    "snippets": (404, 404, 400, 403, 404, 400),
    "batches": (403, 403, 400, 403, 403, 400),
    "gold": (404, 400, 400, 404, 404, 400),
    "tasks/lease": (400, 400, 400, 403, 400, 400),
    "tasks/renew": (400, 400, 400, 403, 400, 400),
    "tasks/release": (400, 400, 400, 403, 400, 400),
    "labels": (400, 400, 400, 403, 400, 400),
    "rounds": (404, 404, 400, 403, 404, 400),
    "attacks": (404, 404, 400, 403, 404, 400),
    "generators": (404, 404, 400, 403, 404, 400),
    "samplings": (404, 404, 400, 403, 404, 400),
    "filter": (404, 404, 400, 400, 404, 400),
    "sweeps": (404, 404, 400, 403, 404, 400),
    "indexes/refresh": (404, 404, 400, 403, 404, 400),
    "imports": (404, 404, 400, 403, 404, 400),
    "exports": (404, 404, 400, 403, 404, 400),
    "webhooks": (404, 404, 400, 404, 400, 400),
    "tokens": (400, 400, 400, 400, 400, 400),
}


@pytest.mark.parametrize("path", READS)
def test_reading(people: dict[str, User], api: Api, path: str) -> None:
    statuses = tuple(api(people[name]).get(f"/api/v1/{path}").status_code for name in NAMES)
    assert statuses == READS[path]


@pytest.mark.parametrize("path", CHANGES)
def test_changing(people: dict[str, User], api: Api, path: str) -> None:
    statuses = tuple(api(people[name]).post(f"/api/v1/{path}", {"nonsense": 1}).status_code for name in NAMES)
    assert statuses == CHANGES[path]
    for model in (Policy, Corpus, Snippet, Lease, Label, Round, Job):
        assert model.objects.count() == 0
    tokens = [user.api_tokens.count() for user in people.values()]
    assert tokens == [1] * len(NAMES)


def test_every_resource_of_the_table_is_tested() -> None:
    assert {path.partition("/")[0] for path in READS} == RIGHTS.keys()


@pytest.fixture
def things(policy: Policy) -> dict[str, Any]:
    """One row of each resource that actions on one thing are about."""
    corpus = Corpus.objects.create(name="books", path="/nowhere")
    round_ = Round.objects.create(name="one", policy=policy, corpus=corpus)
    classifier = Classifier.objects.create(policy=policy, round=round_, name="c", condition="b", encoder="e")
    return {
        "rounds": round_,
        "classifiers": classifier,
        "evaluations": Evaluation.objects.create(classifier=classifier, name="n"),
        "corpora": corpus,
        "jobs": Job.objects.create(kind="import_snippets", state="succeeded"),
    }


ACTIONS = [
    ("rounds", "pause", (404, 404, 409, 403, 404, 409)),
    ("rounds", "resume", (404, 404, 409, 403, 404, 409)),
    ("rounds", "retry", (404, 404, 409, 403, 404, 409)),
    ("classifiers", "promote", (404, 404, 409, 403, 404, 409)),
    ("classifiers", "score", (404, 404, 400, 403, 404, 400)),
    ("jobs", "cancel", (404, 404, 409, 403, 404, 409)),
]


@pytest.mark.parametrize(("resource", "action", "expected"), ACTIONS)
def test_acting_on_one_thing(
    people: dict[str, User], things: dict[str, Any], api: Api, resource: str, action: str, expected: tuple[int, ...]
) -> None:
    row = things[resource]
    before = type(row).objects.filter(pk=row.pk).values().get()
    path = f"/api/v1/{resource}/{row.pk}"
    assert tuple(api(people[name]).post(f"{path}/{action}").status_code for name in NAMES) == expected
    assert type(row).objects.filter(pk=row.pk).values().get() == before


def test_only_who_may_cancels_a_round(people: dict[str, User], things: dict[str, Any], api: Api) -> None:
    round_ = things["rounds"]
    for name in ("alice", "bob", "vera", "acme"):
        assert api(people[name]).post(f"/api/v1/rounds/{round_.pk}/cancel").status_code in (403, 404)
        round_.refresh_from_db()
        assert round_.state == "pending"
    assert api(people["rita"]).post(f"/api/v1/rounds/{round_.pk}/cancel").json()["state"] == "cancelled"


@pytest.mark.parametrize("move", ["launch", "pause", "resume", "cancel"])
@pytest.mark.parametrize(
    ("adapter", "expected"),
    [("pull", (403, 403, 200, 403, 404, 200)), ("csv_dropbox", (404, 404, 200, 403, 404, 200))],
)
def test_only_who_may_moves_a_batch(
    people: dict[str, User],
    api: Api,
    make_batch: Callable[..., Batch],
    tmp_path: Path,
    move: str,
    adapter: str,
    expected: tuple[int, ...],
) -> None:
    asked = {"resume": "pause", "pause": "launch"}.get(move, "")
    for name, status in zip(NAMES, expected, strict=True):
        batch = make_batch(1, adapter=adapter, asked=asked, config={"folder": str(tmp_path)})
        assert api(people[name]).post(f"/api/v1/batches/{batch.pk}/{move}").status_code == status, name
        batch.refresh_from_db()
        assert batch.asked == (move if status == 200 else asked)
        assert batch.state == ("cancelled" if (move, status) == ("cancel", 200) else "open")
        assert Job.objects.filter(kind="move_batch", args__batch=str(batch.pk)).exists() == (status == 200)


def test_a_vendors_account_sees_its_own_batch_and_does_not_move_it(
    acme: User, api: Api, make_batch: Callable[..., Batch]
) -> None:
    batch = make_batch(1, vendor_user=acme)
    for move in ("launch", "pause", "resume", "cancel"):
        assert api(acme).post(f"/api/v1/batches/{batch.pk}/{move}").status_code == 403
    batch.refresh_from_db()
    assert (batch.asked, batch.state) == ("", "open")


@pytest.mark.parametrize("resource", ["rounds", "classifiers", "evaluations", "corpora", "jobs"])
def test_one_thing(people: dict[str, User], things: dict[str, Any], api: Api, resource: str) -> None:
    path = f"/api/v1/{resource}/{things[resource].pk}"
    assert tuple(api(people[name]).get(path).status_code for name in NAMES) == (404, 404, 200, 200, 404, 200)


def test_what_one_may_not_do_is_403_only_where_one_sees_it(vera: User, api: Api, things: dict[str, Any]) -> None:
    unknown = "0193a5f2-7c1e-7b3a-9d2f-4e5a6b7c8d9e"
    assert api(vera).post(f"/api/v1/rounds/{unknown}/pause").status_code == 404
    assert api(vera).post(f"/api/v1/rounds/{things['rounds'].pk}/pause").status_code == 403


def test_a_refused_request_does_not_use_up_its_idempotency_key(vera: User, api: Api) -> None:
    api(vera).post("/api/v1/policies", {}, HTTP_IDEMPOTENCY_KEY="k")
    assert IdempotentRequest.objects.count() == 0


def test_vendors_see_their_own_batches_and_policies_only(
    acme: User, alice: User, bob: User, api: Api, make_batch: Callable[..., Batch], policy: Policy
) -> None:
    other = User.objects.create_user(username="other", role=Role.VENDOR)
    free, mine, theirs, sent = (
        make_batch(1),
        make_batch(1, vendor_user=acme),
        make_batch(1, vendor_user=other),
        make_batch(1, adapter="simulated"),
    )

    def batches(user: User) -> set[str]:
        return {row["id"] for row in api(user).get("/api/v1/batches").json()["results"]}

    assert batches(acme) == {str(mine.pk)}
    assert batches(other) == {str(theirs.pk)}
    assert batches(alice) == batches(bob) == {str(free.pk)}
    for hidden in (free, theirs, sent):
        assert api(acme).get(f"/api/v1/batches/{hidden.pk}").status_code == 404
    assert api(acme).get(f"/api/v1/policies/{policy.pk}").status_code == 200
    theirs.delete()
    assert api(other).get(f"/api/v1/policies/{policy.pk}").status_code == 404
    assert len(api(acme).get("/api/v1/policies").json()["results"]) == 1


def test_a_token_acts_in_its_own_role(rita: User, api: Api, policy: Policy) -> None:
    client = api(rita, role=Role.VIEWER)
    assert client.get("/api/v1/rounds").status_code == 200
    assert client.post("/api/v1/policies", {"name": "x", "question": "?"}).status_code == 403
    assert Policy.objects.count() == 1


def test_a_token_dies_with_its_users_role(rita: User, api: Api) -> None:
    client = api(rita)
    assert client.get("/api/v1/rounds").status_code == 200
    User.objects.filter(pk=rita.pk).update(role=Role.VIEWER)
    assert client.get("/api/v1/rounds").status_code == 401


def test_a_superuser_is_an_admin(db: None, api: Api) -> None:
    root = User.objects.create_superuser("root", password="correct horse battery")
    assert api(root, role=Role.ADMIN).post("/api/v1/policies", {"name": "x", "question": "?"}).status_code == 201


def test_the_table_answers_for_itself(rita: User, acme: User) -> None:
    assert may(Actor(rita, Role.RESEARCHER), "rounds", "pause")
    assert not may(Actor(rita, Role.VIEWER), "rounds", "pause")
    assert not sees(Actor(acme, Role.VENDOR), "rounds")
    assert may(Actor(rita, Role.ADMIN), "rounds", "pause")
    assert not may(Actor(rita, Role.ADMIN), "tokens", "steal")
