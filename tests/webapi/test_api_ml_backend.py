"""Label Studio's ML-backend contract over the API, asked as Label Studio asks."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from rest_framework.test import APIClient

from labeling_adapters.label_studio_shapes import label_config
from webapi.models import ApiToken, Artifact, Classifier, Policy, User
from webapi.services import classifiers
from webapi.services.policies import policy_create


class FixedScorer:
    """Longer completions score higher."""

    def logits(self, snippets: Any) -> Any:
        return np.array([len(s.completion) - 10 for s in snippets], dtype=np.float32)


@pytest.fixture
def row(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> Classifier:
    monkeypatch.setattr(classifiers, "_scorer", lambda *args: FixedScorer())
    seeing = policy_create(spec={**policy.spec, "blind": False})
    artifact = Artifact.objects.create(kind="classifier", path="c", sha256="0" * 64, size=1)
    return Classifier.objects.create(
        policy=seeing, name="c7", condition="b", encoder="e", threshold=0.5, artifact=artifact
    )


@pytest.fixture
def label_studio() -> Callable[[User], APIClient]:
    """A client that authenticates as Label Studio does."""

    def client(user: User) -> APIClient:
        secret = ApiToken.issue(user=user, name="ls").secret
        made = APIClient()
        made.credentials(HTTP_AUTHORIZATION="Basic " + b64encode(f"anyone:{secret}".encode()).decode())
        return made

    return client


def test_a_project_connects_and_is_given_predictions(
    rita: User, row: Classifier, label_studio: Callable[[User], APIClient]
) -> None:
    client, at = label_studio(rita), f"/api/v1/ml/{row.pk}"
    config = label_config(row.policy.rules)
    assert client.get(f"{at}/health").json() == {"status": "UP", "model_class": "c7"}
    assert client.post(f"{at}/setup", {"project": "1.1", "schema": config}).json() == {"model_version": str(row.pk)}
    tasks = [{"id": n, "data": {"prompt": "", "completion": "x" * n}} for n in (9, 11)]
    answer = client.post(f"{at}/predict", {"tasks": tasks, "label_config": config}).json()["results"]
    assert [one["result"][0]["value"]["choices"] for one in answer] == [["No"], ["Yes"]]
    assert answer[1]["score"] == pytest.approx(1 / (1 + np.exp(-1)))
    assert {one["model_version"] for one in answer} == {str(row.pk)}
    assert client.post(f"{at}/webhook", {"action": "ANNOTATION_CREATED"}).json() == {"result": "ignored"}
    wrong = client.post(f"{at}/predict", {"tasks": [{"id": 1, "data": {}}], "label_config": config})
    assert (wrong.status_code, wrong.json()["code"]) == (400, "bad_input")
    assert "tasks.0.data" in wrong.json()["detail"]
    assert client.post(f"{at}/train", {}).json()["code"] == "not_found"


def test_a_blind_policy_tells_nothing(
    rita: User, row: Classifier, policy: Policy, label_studio: Callable[[User], APIClient]
) -> None:
    Classifier.objects.update(policy=policy)
    tasks = [{"id": 1, "data": {"completion": "x"}}]
    body = {"tasks": tasks, "label_config": label_config(policy.rules)}
    refused = label_studio(rita).post(f"/api/v1/ml/{row.pk}/predict", body)
    assert (refused.status_code, refused.json()["code"]) == (403, "policy_is_blind")


def test_who_may_not_score_may_not_ask(
    rita: User, alice: User, row: Classifier, label_studio: Callable[[User], APIClient]
) -> None:
    at = f"/api/v1/ml/{row.pk}"
    assert label_studio(alice).post(f"{at}/setup", {}).status_code == 404
    for header in ("", "Basic !", "Basic " + b64encode(b"rita:wrong").decode(), "Bearer wrong"):
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=header)
        assert client.get(f"{at}/health").status_code == 401, header
    gone = label_studio(rita).get("/api/v1/ml/0193a5f2-7c1e-7b3a-9d2f-4e5a6b7c8d9e/health")
    assert gone.json()["code"] == "not_found"
