"""Two classifiers side by side, counted by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rest_framework.test import APIClient

from tests.webapi.attack_rows import classifier_of, snippet_of
from webapi.models import Classifier, Corpus, DatasetSnapshot, Evaluation, Policy, Round, Score, User
from webapi.services.policies import policy_create
from workers.artifacts import register

Api = Callable[..., APIClient]
RATE: dict[str, Any] = {"estimate": 0.5, "low": 0.1, "high": 0.9, "level": 0.95, "method": "x", "failures": 1, "n": 2}


@pytest.fixture
def round_(policy: Policy) -> Round:
    return Round.objects.create(name="r", policy=policy, corpus=Corpus.objects.create(name="c", path="/"))


@pytest.fixture
def two(round_: Round, gauntlet_home: Path) -> list[Classifier]:
    """`a` was trained on snippets 1, 2, 3, `b` on 2, 3, 4; they disagree on 3."""
    made = []
    for name, rows in (("a", {"1": "No", "2": "Yes", "3": "No"}), ("b", {"2": "Yes", "3": "Yes", "4": "No"})):
        path = gauntlet_home / f"{name}.parquet"
        pq.write_table(pa.table({"snippet_id": list(rows), "choice": list(rows.values())}), path)
        snapshot = DatasetSnapshot.objects.create(
            round=round_, condition=name, artifact=register(path, "snapshot"), size=3
        )
        recipe = {"seed": 0, "epochs": 1 if name == "a" else 2, "loss": {"name": "focal", "gamma": len(made) + 1}}
        environment = {"python": "3.11.9", "packages": {"torch": "2.13" if name == "a" else "2.12"}}
        fields = {"snapshot": snapshot, "recipe": recipe, "environment": environment, "round": round_}
        made.append(classifier_of(round_.policy, name, condition=name, **fields))
    return made


def compared(client: APIClient, a: Classifier, b: Classifier) -> Any:
    response = client.get(f"/api/v1/classifiers/compare?a={a.pk}&b={b.pk}")
    assert response.status_code == 200, response.content
    return response.json()


def test_what_differs(two: list[Classifier], rita: User, api: Api) -> None:
    found = compared(api(rita), *two)
    assert (found["a"]["name"], found["b"]["name"]) == ("a", "b")
    assert found["recipe"] == [{"name": "epochs", "a": 1, "b": 2}, {"name": "loss.gamma", "a": 1, "b": 2}]
    assert found["environment"] == [{"name": "packages.torch", "a": "2.13", "b": "2.12"}]
    assert found["rows"] == {"only_a": 1, "only_b": 1, "both": 2, "relabelled": 1}
    assert found["decisions"] is None
    assert found["rates"] == []


def test_a_classifier_is_as_itself(two: list[Classifier], rita: User, api: Api) -> None:
    found = compared(api(rita), two[0], two[0])
    assert (found["recipe"], found["environment"]) == ([], [])
    assert found["rows"] == {"only_a": 0, "only_b": 0, "both": 3, "relabelled": 0}


def test_decisions_are_of_what_both_scored(two: list[Classifier], rita: User, api: Api, policy: Policy) -> None:
    a, b = two
    Classifier.objects.filter(pk=b.pk).update(threshold=0.7310585786300049)  # a logit of 1
    for number, (of_a, of_b) in enumerate([(-1.0, 0.5), (0.0, 0.5), (2.0, 1.0), (-3.0, 4.0), (5.0, None), (None, 5.0)]):
        snippet = snippet_of(policy, f"Number {number}.")
        for row, logit in ((a, of_a), (b, of_b)):
            if logit is not None:
                Score.objects.create(classifier=row, snippet=snippet, logit=logit)
    decisions = compared(api(rita), a, b)["decisions"]
    assert (decisions["equal"]["failures"], decisions["equal"]["n"]) == (2, 4)
    assert (decisions["only_a_rejects"], decisions["only_b_rejects"]) == (1, 1)
    turned = compared(api(rita), b, a)["decisions"]
    assert turned["equal"] == decisions["equal"]


def test_rates_are_of_the_same_held_out_sets(two: list[Classifier], round_: Round, rita: User, api: Api) -> None:
    other = Round.objects.create(name="other", policy=round_.policy, corpus=round_.corpus)
    for row, failures in zip(two, (1, 2), strict=True):
        rate = {**RATE, "failures": failures}
        results = {"n": 2, "fnr": rate, "adversarial": {"re-tellings": {"fnr": rate, "own_target": False}}}
        Evaluation.objects.create(classifier=row, round=round_, name="held-out", results=results)
        elsewhere = round_ if row == two[0] else other
        Evaluation.objects.create(classifier=row, round=elsewhere, name="other", results=results)
    rates = compared(api(rita), *two)["rates"]
    assert [(one["name"], one["a"]["failures"], one["b"]["failures"]) for one in rates] == [
        ("fnr", 1, 2),
        ("adversarial, re-tellings, fnr", 1, 2),
    ]


def test_two_policies_are_not_compared(two: list[Classifier], rita: User, api: Api, policy: Policy) -> None:
    foreign = classifier_of(policy_create(spec={**policy.spec, "name": "other"}), "foreign")
    at = f"/api/v1/classifiers/compare?a={two[0].pk}"
    refused = api(rita).get(f"{at}&b={foreign.pk}")
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid")
    missing = api(rita).get(at)
    assert missing.json()["errors"][0]["loc"] == ["b"]


def test_a_snapshot_whose_file_was_changed_is_not_believed(two: list[Classifier], rita: User, api: Api) -> None:
    file = two[0].snapshot.artifact.file  # type: ignore[union-attr]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    refused = api(rita).get(f"/api/v1/classifiers/compare?a={two[0].pk}&b={two[1].pk}")
    assert (refused.status_code, refused.json()["code"]) == (500, "damaged")
