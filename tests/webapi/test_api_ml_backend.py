"""Label Studio's ML-backend contract over the API, asked as Label Studio asks."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from typing import Any

import httpx2
import numpy as np
import pytest
from pytest_django.live_server_helper import LiveServer
from rest_framework.test import APIClient

from labeling_adapters.label_studio_shapes import label_config
from tests.people import weights
from webapi.models import ApiToken, Classifier, Policy, User
from webapi.services import classifiers
from webapi.services.policies import policy_create
from webapi.services.promotions import classifier_promote


class FixedScorer:
    """Longer completions score higher."""

    def logits(self, snippets: Any) -> Any:
        return np.array([len(s.completion) - 10 for s in snippets], dtype=np.float32)


@pytest.fixture
def row(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> Classifier:
    monkeypatch.setattr(classifiers, "_scorer", lambda *args: FixedScorer())
    seeing = policy_create(spec={**policy.spec, "blind": False})
    artifact = weights()
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


def project(config: str, *texts: str) -> dict[str, Any]:
    """What Label Studio 1.23 sends to `predict`, whole (label_studio/ml/api_connector.py)."""
    task = {
        "meta": {},
        "annotations": [],
        "predictions": [],
        "drafts": [],
        "project": 1,
        "overlap": 1,
        "file_upload": None,
    }
    tasks = [{**task, "id": n, "data": {"prompt": "", "completion": text}} for n, text in enumerate(texts, 1)]
    params = {"login": None, "password": None, "context": None}
    return {"tasks": tasks, "project": "1.1795568362", "label_config": config, "params": params}


def test_a_project_connects_and_is_given_predictions(
    rita: User, row: Classifier, label_studio: Callable[[User], APIClient]
) -> None:
    client, at = label_studio(rita), f"/api/v1/ml/{row.pk}"
    config = label_config(row.policy.rules)
    assert client.get(f"{at}/health").json() == {"status": "UP", "model_class": "c7"}
    hello = {"project": "1.1795568362", "schema": config, "hostname": "http://localhost:8080", "extra_params": None}
    assert client.post(f"{at}/setup", {**hello, "access_token": "t"}).json() == {"model_version": str(row.pk)}
    assert client.get(f"{at}/versions").json() == {"versions": [str(row.pk)]}
    answer = client.post(f"{at}/predict", project(config, "x" * 9, "x" * 11)).json()["results"]
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
    classifier_promote(classifier=Classifier.objects.get(pk=row.pk))
    config = label_config(policy.rules)
    for key in (row.pk, policy.pk):
        for asked, body in (("predict", project(config, "x")), ("setup", {"project": "1.1", "schema": config})):
            refused = label_studio(rita).post(f"/api/v1/ml/{key}/{asked}", body)
            assert (refused.status_code, refused.json()["code"]) == (403, "policy_is_blind")
            assert "results" not in refused.json()


def test_a_policys_address_asks_the_classifier_that_was_promoted_last(
    rita: User, row: Classifier, label_studio: Callable[[User], APIClient]
) -> None:
    client, at = label_studio(rita), f"/api/v1/ml/{row.policy_id}"
    config = label_config(row.policy.rules)
    nobody = client.get(f"{at}/health")
    assert (nobody.status_code, nobody.json()["code"]) == (404, "not_found")
    assert "promote one first" in nobody.json()["detail"]
    later = Classifier.objects.create(
        policy=row.policy, name="c8", condition="b", encoder="e", threshold=0.1, artifact=row.artifact
    )
    for serving, chosen in ((row, "No"), (later, "Yes")):
        classifier_promote(classifier=serving)
        setup = client.post(f"{at}/setup", {"project": "1.1", "schema": config})
        assert setup.json() == {"model_version": str(serving.pk)}
        (answer,) = client.post(f"{at}/predict", project(config, "x" * 9)).json()["results"]
        assert answer["result"][0]["value"]["choices"] == [chosen]
        assert answer["model_version"] == str(serving.pk)


@pytest.mark.django_db(transaction=True)
def test_the_status_line_says_why(rita: User, row: Classifier, policy: Policy, live_server: LiveServer) -> None:
    secret = ApiToken.issue(user=rita, name="ls").secret
    at, config = f"{live_server.url}/api/v1/ml/{row.pk}", label_config(policy.rules)
    with httpx2.Client(auth=("anyone", secret), timeout=10) as label_studio:
        fine = label_studio.post(f"{at}/predict", json=project(config, "x" * 9))
        assert (fine.status_code, fine.reason_phrase) == (200, "OK")
        foreign = label_studio.post(f"{at}/setup", json={"project": "1.1", "schema": "<View/>"})
        assert (foreign.status_code, foreign.reason_phrase) == (
            400,
            "label_config: no Choices with 'Yes' and 'No'",
        )
        Policy.objects.filter(pk=policy.pk).update(name="härm\r\nX: y")
        Classifier.objects.update(policy=policy)
        blind = label_studio.post(f"{at}/setup", json={"project": "1.1", "schema": config})
        assert (blind.status_code, "x" in blind.headers) == (403, False)
        assert blind.reason_phrase.startswith("h?rm??X: y")
        assert blind.reason_phrase.endswith("keeps labelers from the classifier's opinion.")
    nobody = httpx2.get(f"{at}/health")
    assert (nobody.status_code, nobody.headers["www-authenticate"]) == (401, 'Basic realm="gauntlet"')


def test_who_may_not_score_may_not_ask(
    rita: User, alice: User, vera: User, row: Classifier, label_studio: Callable[[User], APIClient]
) -> None:
    at = f"/api/v1/ml/{row.pk}"
    body = project(label_config(row.policy.rules), "x")
    assert label_studio(vera).post(f"{at}/predict", body).json()["code"] == "forbidden"
    assert label_studio(alice).post(f"/api/v1/ml/{row.policy_id}/predict", body).status_code == 404
    assert label_studio(alice).post(f"{at}/setup", {}).status_code == 404
    for header in ("", "Basic !", "Basic " + b64encode(b"rita:wrong").decode(), "Bearer wrong"):
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=header)
        assert client.get(f"{at}/health").status_code == 401, header
    gone = label_studio(rita).get("/api/v1/ml/0193a5f2-7c1e-7b3a-9d2f-4e5a6b7c8d9e/health")
    assert gone.json()["code"] == "not_found"
