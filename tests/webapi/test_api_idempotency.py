"""A changing request sent twice changes something once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from webapi.models import ApiToken, Batch, Corpus, IdempotentRequest, Job, Label, Lease, Policy, User

Api = Callable[..., APIClient]
SPEC = {"name": "arson", "question": "Was anything set on fire?"}


def keyed(key: str) -> dict[str, str]:
    return {"HTTP_IDEMPOTENCY_KEY": key}


def test_the_same_key_and_body_have_the_same_answer(rita: User, api: Api) -> None:
    first = api(rita).post("/api/v1/policies", SPEC, **keyed("k"))
    second = api(rita).post("/api/v1/policies", dict(reversed(SPEC.items())), **keyed("k"))
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert "Idempotency-Replayed" not in first
    assert second["Idempotency-Replayed"] == "true"
    assert Policy.objects.count() == IdempotentRequest.objects.count() == 1


def test_another_body_or_path_under_the_key_is_409_and_changes_nothing(rita: User, api: Api, tmp_path: Any) -> None:
    api(rita).post("/api/v1/policies", SPEC, **keyed("k"))
    for path, body in (
        ("policies", {**SPEC, "question": "Really?"}),
        ("corpora", {"name": "c", "path": str(tmp_path)}),
    ):
        response = api(rita).post(f"/api/v1/{path}", body, **keyed("k"))
        assert (response.status_code, response.json()["code"]) == (409, "idempotency_key_reused")
    assert (Policy.objects.count(), Corpus.objects.count()) == (1, 0)


def test_keys_are_each_users_own(rita: User, ada: User, api: Api) -> None:
    api(rita).post("/api/v1/policies", SPEC, **keyed("k"))
    response = api(ada).post("/api/v1/policies", {**SPEC, "question": "Really?"}, **keyed("k"))
    assert response.status_code == 201
    assert IdempotentRequest.objects.count() == 2


def test_a_refusal_leaves_the_key_free(rita: User, api: Api) -> None:
    assert api(rita).post("/api/v1/policies", {"name": "arson"}, **keyed("k")).status_code == 400
    assert IdempotentRequest.objects.count() == 0
    assert api(rita).post("/api/v1/policies", SPEC, **keyed("k")).status_code == 201


def test_a_fault_in_the_middle_leaves_nothing_behind(rita: User, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("after the write")

    monkeypatch.setattr("webapi.api.policies.PolicySerializer.to_representation", fail)
    assert api(rita).post("/api/v1/policies", SPEC, **keyed("k")).status_code == 500
    assert (Policy.objects.count(), IdempotentRequest.objects.count()) == (0, 0)


def test_a_lease_repeated_is_the_same_lease(alice: User, api: Api, make_batch: Callable[..., Batch]) -> None:
    make_batch(5)
    answers = [api(alice).post("/api/v1/tasks/lease", {"count": 2}, **keyed("k")).json() for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert Lease.objects.count() == 2
    assert len(api(alice).post("/api/v1/tasks/lease", {"count": 2}).json()["tasks"]) == 2


def test_labels_repeated_are_recorded_once(alice: User, api: Api, make_batch: Callable[..., Batch]) -> None:
    make_batch(1)
    (task,) = api(alice).post("/api/v1/tasks/lease", {}).json()["tasks"]
    body = {"labels": [{"task": task["id"], "lease": task["lease"]["token"], "choice": "No"}]}
    answers = [api(alice).post("/api/v1/labels", body, **keyed("k")).json() for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0]["counts"] == {"recorded": 1}
    assert Label.objects.count() == 1


def test_a_tokens_secret_is_not_kept(rita: User, api: Api) -> None:
    client = api(rita)
    first = client.post("/api/v1/tokens", {"name": "n"}, **keyed("k")).json()
    second = client.post("/api/v1/tokens", {"name": "n"}, **keyed("k")).json()
    assert first["token"].startswith("gtl_")
    assert second == {**first, "token": None}
    assert first["token"] not in str(IdempotentRequest.objects.values())
    assert ApiToken.objects.filter(name="n").count() == 1


def test_a_file_is_the_same_however_it_was_wrapped(rita: User, api: Api, policy: Policy) -> None:
    def send(content: bytes) -> Any:
        file = SimpleUploadedFile("s.jsonl", content)
        return api(rita).post("/api/v1/imports", {"policy": "harm", "file": file}, format="multipart", **keyed("k"))

    first, second, other = send(b'{"completion": "x"}'), send(b'{"completion": "x"}'), send(b'{"completion": "y"}')
    assert first.status_code == 202, first.content
    assert first.json() == second.json()
    assert other.status_code == 409
    assert Job.objects.count() == 1


def test_a_key_that_cannot_be_kept_is_refused(rita: User, api: Api) -> None:
    response = api(rita).post("/api/v1/policies", SPEC, **keyed("k" * 201))
    assert (response.status_code, response.json()["errors"][0]["loc"]) == (400, ["Idempotency-Key"])
    assert Policy.objects.count() == 0
