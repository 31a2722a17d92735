"""Generators over the API: tuned, listed, asked for completions; and samplings as jobs."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rest_framework.test import APIClient

from engine.generation.rejection import accepts
from engine.snippets import Snippet as SnippetText
from tests.attacking import victim
from tests.people import weights
from tests.tuning import RECIPE, in_this_process, small_corpus, tuned
from webapi.models import Classifier, Corpus, Generator, Job, Policy, User
from webapi.services import generators as services
from webapi.services.classifiers import classifier_score, scorer_at_hand
from webapi.services.promotions import classifier_promote
from workers.execute import execute

pytestmark = pytest.mark.django_db
Api = Callable[..., APIClient]
PROMPTS = ["The old man walked to the hall.", "The girl went to the mill."]


@pytest.fixture
def corpus(gauntlet_home: Path, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    in_this_process(monkeypatch)
    services._model.cache_clear()
    return small_corpus(gauntlet_home)


@pytest.fixture
def generator(corpus: Corpus) -> Generator:
    return tuned(corpus)


@pytest.fixture
def guard(policy: Policy, gauntlet_home: Path, generator: Generator) -> Classifier:
    """Serves, and accepts about one proposal in two."""
    classifier = victim(policy, gauntlet_home).classifier
    found = services.generator_sample(
        generator=generator, policy=policy, prompts=PROMPTS, classifier=None, copies=8, seed=99
    )
    texts = [SnippetText(p, one.completion) for p, row in zip(PROMPTS, found, strict=True) for one in row]
    middle = float(np.median(scorer_at_hand(classifier).logits(texts)))
    Classifier.objects.update(threshold=1 / (1 + math.exp(-middle)))
    classifier.refresh_from_db()
    return classifier_promote(classifier=classifier)


def test_a_generator_is_asked_for_tuned_and_looked_at(rita: User, api: Api, corpus: Corpus) -> None:
    body = {"name": "small tales", "corpus": "small", "recipe": RECIPE.model_dump(mode="json")}
    made = api(rita).post("/api/v1/generators", body, format="json")
    assert made.status_code == 202, made.content
    queued = made.json()
    assert (queued["state"], queued["before"], queued["sha256"], queued["metrics"]) == ("queued", None, None, {})
    assert (queued["seed"], queued["created_by"], queued["base"]) == (0, str(rita.pk), "")
    assert api(rita).get(f"/api/v1/jobs/{queued['job']}").json()["queue"] == "training"
    again = api(rita).post("/api/v1/generators", body, format="json").json()
    assert (again["id"], again["job"], Job.objects.count()) == (queued["id"], queued["job"], 1)
    execute(queued["job"])
    shown = api(rita).get(f"/api/v1/generators/{queued['id']}").json()
    assert shown["state"] == "succeeded"
    assert shown["after"]["estimate"] < shown["before"]["estimate"]
    assert shown["after"]["low"] < shown["after"]["estimate"] < shown["after"]["high"]
    assert len(shown["sha256"]) == 64
    assert [point["step"] for point in shown["metrics"]["curve"]] == [0, 3, 6]
    for query, count in (("state=succeeded", 1), ("state=failed", 0), (f"corpus={corpus.pk}", 1), ("name=x", 0)):
        assert len(api(rita).get(f"/api/v1/generators?{query}").json()["results"]) == count, query


@pytest.mark.parametrize(
    ("body", "status", "loc", "code"),
    [
        ({"corpus": "small"}, 400, ["name"], "required"),
        ({"name": "x", "corpus": "nowhere"}, 400, ["corpus"], "does_not_exist"),
        ({"name": "x", "corpus": "small", "recipe": {"block_tokens": 1}}, 400, ["recipe", "block_tokens"], "min_value"),
        ({"name": "x", "corpus": "small", "recipe": {"nonsense": 1}}, 400, ["recipe", "nonsense"], "unknown_field"),
        ({"name": "x", "corpus": "small", "recipie": {}}, 400, ["recipie"], "unknown_field"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_queued(
    rita: User, api: Api, corpus: Corpus, body: dict[str, Any], status: int, loc: list[str], code: str
) -> None:
    response = api(rita).post("/api/v1/generators", body, format="json")
    assert response.status_code == status, response.content
    assert (loc, code) in [(error["loc"], error["code"]) for error in response.json()["errors"]]
    assert not Generator.objects.exists()
    assert not Job.objects.exists()


def test_a_name_stands_for_one_recipe_and_a_base_lies_under_a_data_root(
    rita: User, api: Api, corpus: Corpus, settings: Any, tmp_path: Path
) -> None:
    body = {"name": "small tales", "corpus": "small", "recipe": {}}
    assert api(rita).post("/api/v1/generators", body, format="json").status_code == 202
    other = api(rita).post("/api/v1/generators", {**body, "recipe": {"seed": 1}}, format="json")
    assert (other.status_code, other.json()["code"]) == (409, "name_taken")
    settings.DATA_ROOTS = [str(tmp_path / "data")]
    outside = {**body, "name": "other", "recipe": {"base": "/etc"}}
    refused = api(rita).post("/api/v1/generators", outside, format="json")
    assert (refused.status_code, refused.json()["code"]) == (400, "path_not_allowed")
    assert Generator.objects.count() == 1


def test_it_answers_with_what_the_serving_classifier_accepts(
    rita: User, api: Api, generator: Generator, guard: Classifier
) -> None:
    body = {"prompts": PROMPTS, "policy": "harm", "n": 4, "tries": 3, "seed": 5}
    response = api(rita).post(f"/api/v1/generators/{generator.pk}/sample", body, format="json")
    assert response.status_code == 200, response.content
    answer = response.json()
    assert (answer["generator"], answer["classifier"]) == (str(generator.pk), str(guard.pk))
    assert answer["threshold"] == guard.threshold
    assert [one["prompt"] for one in answer["results"]] == PROMPTS
    samples = [(one["prompt"], sample) for one in answer["results"] for sample in one["samples"]]
    assert len(samples) == 8
    accepted = [(prompt, one) for prompt, one in samples if one["completion"] is not None]
    assert accepted
    assert any(one["tries"] > 1 for _, one in samples)
    scored = classifier_score(
        classifier=guard, snippets=[SnippetText(prompt, one["completion"]) for prompt, one in accepted]
    )
    for (_, one), said in zip(accepted, scored, strict=True):
        assert said.rejected is False
        assert one["logit"] == pytest.approx(said.logit, abs=1e-4)
        assert one["score"] == pytest.approx(said.score, abs=1e-5)
        assert accepts(one["logit"], guard.threshold)
    for _, one in samples:
        if one["completion"] is None:
            assert (one["tries"], one["score"], one["logit"]) == (3, None, None)
    again = api(rita).post(f"/api/v1/generators/{generator.pk}/sample", body, format="json").json()
    assert again == answer
    by_name = {**body, "classifier": str(guard.pk)}
    del by_name["policy"]
    assert api(rita).post(f"/api/v1/generators/{generator.pk}/sample", by_name, format="json").json() == answer


def test_unfiltered_it_answers_with_the_first_proposal(
    rita: User, api: Api, generator: Generator, guard: Classifier
) -> None:
    body = {"prompts": PROMPTS, "policy": "harm", "n": 4, "filtered": False}
    answer = api(rita).post(f"/api/v1/generators/{generator.pk}/sample", body, format="json").json()
    assert (answer["classifier"], answer["threshold"]) == (None, None)
    samples = [sample for one in answer["results"] for sample in one["samples"]]
    assert {(one["tries"], one["score"], one["logit"]) for one in samples} == {(1, None, None)}
    assert all(one["completion"] for one in samples)


@pytest.mark.parametrize(
    ("body", "status", "code", "loc"),
    [
        ({"prompts": PROMPTS}, 400, "invalid", ["policy"]),
        ({"prompts": [], "policy": "harm"}, 400, "invalid", ["prompts"]),
        ({"prompts": [""], "policy": "harm"}, 400, "invalid", ["prompts", 0]),
        ({"prompts": ["  "], "policy": "harm"}, 400, "invalid", ["prompts", 0]),
        ({"prompts": ["x" * 10_001], "policy": "harm"}, 400, "invalid", ["prompts", 0]),
        ({"prompts": ["x"] * 17, "policy": "harm"}, 400, "invalid", ["prompts"]),
        ({"prompts": ["x"] * 16, "policy": "harm", "n": 8, "tries": 13}, 400, "invalid", ["tries"]),
        ({"prompts": PROMPTS, "policy": "harm", "n": 9}, 400, "invalid", ["n"]),
        ({"prompts": PROMPTS, "policy": "nobody"}, 400, "invalid", ["policy"]),
        ({"prompts": PROMPTS, "policy": "harm", "promts": []}, 400, "invalid", ["promts"]),
    ],
)
def test_what_cannot_be_sampled_is_refused(
    rita: User, api: Api, policy: Policy, corpus: Corpus, body: dict[str, Any], status: int, code: str, loc: list[Any]
) -> None:
    guard = Classifier.objects.create(
        policy=policy, name="c", condition="b", encoder="e", threshold=0.5,
        artifact=weights(),
    )  # fmt: skip
    classifier_promote(classifier=guard)
    row = services.generator_create(name="small tales", corpus=corpus, recipe=RECIPE)
    response = api(rita).post(f"/api/v1/generators/{row.pk}/sample", body, format="json")
    assert (response.status_code, response.json()["code"]) == (status, code), response.content
    assert loc in [error["loc"] for error in response.json()["errors"]]


def test_without_weights_or_a_serving_classifier_it_says_so(
    rita: User, api: Api, policy: Policy, corpus: Corpus
) -> None:
    row = services.generator_create(name="small tales", corpus=corpus, recipe=RECIPE)
    path, body = f"/api/v1/generators/{row.pk}/sample", {"prompts": PROMPTS, "policy": "harm"}
    response = api(rita).post(path, body, format="json")
    assert (response.status_code, response.json()["code"]) == (409, "no_serving_classifier")
    response = api(rita).post(path, {**body, "filtered": False}, format="json")
    assert (response.status_code, response.json()["code"]) == (409, "generator_not_tuned")
    assert "queued" in response.json()["detail"]


def test_one_request_samples_at_a_time(
    rita: User, api: Api, generator: Generator, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "WAIT_SECONDS", 0.01)
    body = {"prompts": PROMPTS, "policy": "harm", "filtered": False}
    with services._sampling:
        busy = api(rita).post(f"/api/v1/generators/{generator.pk}/sample", body, format="json")
    assert (busy.status_code, busy.json()["code"]) == (503, "unavailable")
    assert int(busy["Retry-After"]) >= 1
    assert api(rita).post(f"/api/v1/generators/{generator.pk}/sample", body, format="json").status_code == 200


def test_a_viewer_looks_and_does_not_sample(vera: User, alice: User, api: Api, corpus: Corpus) -> None:
    row = services.generator_create(name="small tales", corpus=corpus, recipe=RECIPE)
    assert api(vera).get(f"/api/v1/generators/{row.pk}").status_code == 200
    assert api(vera).post(f"/api/v1/generators/{row.pk}/sample", {}).status_code == 403
    assert api(alice).get(f"/api/v1/generators/{row.pk}").status_code == 404


def test_a_sampling_is_a_job(rita: User, api: Api, generator: Generator, guard: Classifier) -> None:
    body = {
        "policy": "harm",
        "generator": {"name": "causal_lm", "config": {"model": "generator:small tales", "device": "cpu"}},
        "prompts": {"texts": PROMPTS},
        "copies": 2,
        "tries": 4,
    }
    made = api(rita).post("/api/v1/samplings", body, format="json")
    assert made.status_code == 202, made.content
    assert (made.json()["kind"], made.json()["queue"]) == ("sample_completions", "generation")
    execute(made.json()["id"])
    shown = api(rita).get(f"/api/v1/samplings/{made.json()['id']}").json()
    assert (shown["state"], shown["error"]) == ("succeeded", "")
    assert (shown["result"]["samples"], shown["result"]["generator"]) == (4, str(generator.pk))
    assert [one["id"] for one in api(rita).get("/api/v1/samplings").json()["results"]] == [shown["id"]]


@pytest.mark.parametrize(
    ("change", "loc"),
    [
        ({"policy": "nobody"}, ["policy"]),
        ({"prompts": {}}, ["prompts"]),
        ({"tries": 1001}, ["tries"]),
        ({"generator": {"name": "gpt9"}}, ["generator"]),
        ({"corpus": "01a21ebc-6c64-70b8-91f1-386c54a76e09"}, ["corpus"]),
        ({"prompts": {"round": "01a21ebc-6c64-70b8-91f1-386c54a76e09"}}, ["prompts", "round"]),
    ],
)
def test_a_sampling_that_makes_no_sense_is_refused(
    rita: User, api: Api, policy: Policy, change: dict[str, Any], loc: list[str]
) -> None:
    guard = Classifier.objects.create(
        policy=policy, name="c", condition="b", encoder="e", threshold=0.5,
        artifact=weights(),
    )  # fmt: skip
    classifier_promote(classifier=guard)
    body = {"policy": "harm", "prompts": {"texts": PROMPTS}, **change}
    response = api(rita).post("/api/v1/samplings", body, format="json")
    assert response.status_code == 400, response.content
    assert loc in [error["loc"] for error in response.json()["errors"]]
    assert not Job.objects.exists()
