"""Attacks over the API: launched, watched, cancelled, their finds and their yields."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from engine.evaluation.rates import clopper_pearson
from tests.attacking import Victim, victim
from webapi.models import (
    Annotator,
    Attack,
    AttackCandidate,
    Batch,
    Classifier,
    Consensus,
    Corpus,
    Job,
    JobState,
    Label,
    Policy,
    Round,
    Snippet,
    Task,
    User,
)
from webapi.services.policies import policy_create
from workers.execute import execute

Api = Callable[..., APIClient]


@pytest.fixture
def target(policy: Policy, gauntlet_home: Path) -> Victim:
    return victim(policy, gauntlet_home)


@pytest.fixture
def classifier(policy: Policy) -> Classifier:
    """A calibrated classifier of which nothing but its row is looked at."""
    return Classifier.objects.create(
        policy=policy, name="guard", condition="baseline", encoder="e", precision="fp32", threshold=0.3
    )


def work(pk: str) -> None:
    jobs = Job.objects.filter(attack=pk, state=JobState.QUEUED).order_by("pk")
    while (job := jobs.first()) is not None:
        execute(job.pk)


def test_an_attack_is_launched_watched_and_its_finds_are_sent_for_labels(rita: User, api: Api, target: Victim) -> None:
    asked = {
        "classifier": str(target.classifier.pk),
        "name": "paraphrase",
        "title": "first",
        "config": {"max_draws": 16, "most": 3, "least": 1},
        "budget": {"queries": 400},
        "seeds": {"limit": 5},
    }
    made = api(rita).post("/api/v1/attacks", asked, format="json")
    assert made.status_code == 202, made.content
    body = made.json()
    assert (body["state"], body["title"], body["role"], body["done"]) == ("pending", "first", "alone", 0)
    assert body["created_by"] == str(rita.pk)
    path = f"/api/v1/attacks/{body['id']}"
    work(body["id"])
    body = api(rita).get(path).json()
    assert (body["state"], body["seeds"], body["done"], body["spending"]) == ("succeeded", 5, 5, None)
    assert body["totals"]["queries"] == body["yields"]["queries"] <= 400
    found = body["yields"]["candidates"]
    assert found == body["totals"]["kept"] > 2
    assert (body["yields"]["labelled"], body["yields"]["per_candidate"]["estimate"]) == (0, None)
    page = api(rita).get(f"{path}/candidates?page_size=2").json()
    shown = list(page["results"])
    while page["next"]:
        page = api(rita).get(page["next"]).json()
        shown += page["results"]
    assert len(shown) == len({one["snippet"] for one in shown}) == found
    strengths = [one["strength"] for one in shown]
    assert strengths == sorted(strengths, reverse=True)
    first = Snippet.objects.get(pk=shown[0]["snippet"])
    assert shown[0]["text"]["completion"] == first.completion
    assert (shown[0]["text"]["seed_completion"], shown[0]["text"]["label"]) == (first.parent.completion, None)
    batch = {"policy": "harm", "name": "finds", "filter": {"attack": body["id"], "unlabelled": True}}
    assert api(rita).post("/api/v1/batches", batch, format="json").status_code == 201
    assert set(Task.objects.values_list("snippet", flat=True)) == {uuid.UUID(one["snippet"]) for one in shown}
    assert [one["id"] for one in api(rita).get("/api/v1/attacks?name=paraphrase").json()["results"]] == [body["id"]]
    assert api(rita).get("/api/v1/attacks?name=filler").json()["results"] == []


@pytest.mark.parametrize(
    ("body", "loc", "code"),
    [
        ({"name": "rewrite", "config": {"recipe": "stew"}}, [], "invalid"),
        ({"name": "rewrite", "config": {"recipe": ["beam"]}}, [], "invalid"),
        ({"name": "filler", "config": {"recipe": {}}}, [], "invalid"),
        ({"name": "hypnosis"}, [], "invalid"),
        ({"budget": {"queries": -1}}, ["budget", "queries"], "min_value"),
        ({"budget": {"quries": 1}}, ["budget", "quries"], "unknown_field"),
        ({"seeds": {"limit": 0}}, ["seeds", "limit"], "min_value"),
        ({"seeds": {"split": "exam"}}, ["seeds", "split"], "invalid_choice"),
        ({"seeds": {"snippets": [str(uuid.UUID(int=7))]}}, ["seeds", "snippets", 0], "does_not_exist"),
        ({"seeds": {"round": str(uuid.UUID(int=7))}}, ["seeds", "round"], "invalid"),
        ({"classifier": "nobody"}, ["classifier"], "does_not_exist"),
        ({"second_opinion": "nobody"}, ["second_opinion"], "does_not_exist"),
        ({"second_opinion": "guard"}, ["second_opinion"], "invalid"),
        ({"seed": -1}, ["seed"], "min_value"),
        ({"colour": "red"}, ["colour"], "unknown_field"),
    ],
)
def test_an_attack_that_is_wrong_names_the_field_and_is_not_launched(
    rita: User, api: Api, classifier: Classifier, body: dict[str, Any], loc: list[Any], code: str
) -> None:
    asked = {"classifier": str(classifier.pk), **body}
    refused = api(rita).post("/api/v1/attacks", asked, format="json")
    assert refused.status_code == 400, refused.content
    assert [(one["loc"], one["code"]) for one in refused.json()["errors"]] == [(loc, code)]
    assert Attack.objects.count() == Job.objects.count() == 0


def test_a_named_seed_that_is_no_failure_is_refused(
    rita: User, api: Api, classifier: Classifier, make_snippets: Callable[..., list[Snippet]]
) -> None:
    """What nobody has judged yet may be named: whoever names it says that it is one."""
    yes, no, unjudged = make_snippets(3)
    for row, choice in ((yes, "Yes"), (no, "No")):
        Consensus.objects.create(snippet=row, choice=choice, rule="majority", labels=1)
    asked = {"classifier": str(classifier.pk), "seeds": {"snippets": [str(one.pk) for one in (yes, no, unjudged)]}}
    refused = api(rita).post("/api/v1/attacks", asked, format="json")
    assert refused.status_code == 400
    errors = [(one["loc"], one["code"], one["message"]) for one in refused.json()["errors"]]
    assert errors == [(["seeds", "snippets", 1], "not_a_failure", "is labelled No, not Yes")]
    assert Attack.objects.count() == 0


def test_a_title_is_refused_in_words(rita: User, api: Api, classifier: Classifier) -> None:
    asked = {"classifier": str(classifier.pk), "title": "money, no price"}
    refused = api(rita).post("/api/v1/attacks", asked, format="json")
    assert refused.status_code == 400
    assert "may hold letters, digits, spaces and . + - _ ( ) only" in refused.content.decode()


def test_a_title_of_blanks_is_none(rita: User, api: Api, classifier: Classifier) -> None:
    for title in ("", "  ", None):
        asked = {"classifier": str(classifier.pk), "name": "filler", "title": title}
        assert api(rita).post("/api/v1/attacks", asked, format="json").json()["title"] == "filler"


def test_unknown_names_list_the_known(rita: User, api: Api, classifier: Classifier) -> None:
    def detail(**body: Any) -> str:
        asked = {"classifier": str(classifier.pk), **body}
        return str(api(rita).post("/api/v1/attacks", asked, format="json").json()["errors"][0]["message"])

    assert detail(name="hypnosis").endswith("known: filler, paraphrase, rewrite, substitution")
    stew = detail(name="rewrite", config={"recipe": "stew"})
    assert stew.endswith("unknown recipe 'stew'; known: beam, best_first, filler, greedy, substitution")
    unpriced = {"paraphraser": {"name": "openai", "config": {"model": "mine", "base_url": "http://127.0.0.1:1/v1"}}}
    assert "the price of mine is not known" in detail(name="paraphrase", config=unpriced, budget={"money": 1})


def test_a_classifier_without_a_threshold_or_of_another_policy_is_no_target(
    rita: User, api: Api, classifier: Classifier
) -> None:
    raw = Classifier.objects.create(policy=classifier.policy, name="raw", condition="x", encoder="e")
    refused = api(rita).post("/api/v1/attacks", {"classifier": str(raw.pk)}, format="json")
    assert (refused.status_code, refused.json()["code"]) == (409, "classifier_not_calibrated")
    other = policy_create(spec={"name": "other", "question": "Is it?"})
    stranger = Classifier.objects.create(policy=other, name="s", condition="x", encoder="e", threshold=0.5)
    asked = {"classifier": str(classifier.pk), "second_opinion": str(stranger.pk)}
    refused = api(rita).post("/api/v1/attacks", asked, format="json")
    assert (refused.status_code, refused.json()["errors"][0]["loc"]) == (400, ["second_opinion"])
    assert Attack.objects.count() == 0


@pytest.mark.parametrize("name", ["SECRET_KEY", "DATABASE_URL", "HOME"])
def test_the_servers_own_variables_are_not_sent_as_keys(
    rita: User, api: Api, classifier: Classifier, name: str, settings: Any
) -> None:
    config = {"paraphraser": {"name": "openai", "config": {"model": "m", "key_variable": name}}}
    asked = {"classifier": str(classifier.pk), "name": "paraphrase", "config": config}
    refused = api(rita).post("/api/v1/attacks", asked, format="json")
    assert (refused.status_code, refused.json()["code"]) == (400, "bad_input")
    assert refused.json()["detail"].startswith("config.paraphraser.config.key_variable: only variables whose names end")
    corpus = Corpus.objects.create(name="c", path="/nowhere")
    body = {"policy": "harm", "corpus": corpus.name, "labeling": {"adapter": "pull"}}
    for part in ({"attacks": [{"config": config}]}, {"held_out": config}, {"generator": config["paraphraser"]}):
        refused = api(rita).post("/api/v1/rounds", {**body, **part}, format="json")
        assert (refused.status_code, refused.json()["code"]) == (400, "bad_input"), part
    batch = {"policy": "harm", "name": "b", "snippets": [], "adapter": "surge", "config": {"key_variable": name}}
    assert api(rita).post("/api/v1/batches", batch, format="json").json()["code"] == "bad_input"
    assert Attack.objects.count() == Round.objects.count() == Batch.objects.count() == 0
    settings.KEY_VARIABLES = [name]
    assert api(rita).post("/api/v1/attacks", asked, format="json").status_code == 202


def test_an_attack_is_cancelled_once_and_one_of_a_round_with_its_round(
    rita: User, vera: User, alice: User, api: Api, classifier: Classifier
) -> None:
    made = api(rita).post("/api/v1/attacks", {"classifier": str(classifier.pk)}, format="json").json()
    path = f"/api/v1/attacks/{made['id']}"
    job = Job.objects.get()
    assert api(rita).post(f"/api/v1/jobs/{job.pk}/cancel").json()["code"] == "job_of_an_attack"
    assert (api(vera).post(f"{path}/cancel").status_code, api(alice).get(path).status_code) == (403, 404)
    assert api(rita).post(f"{path}/cancel").json()["state"] == "cancelled"
    job.refresh_from_db()
    assert job.state == "cancelled"
    again = api(rita).post(f"{path}/cancel")
    assert (again.status_code, again.json()["code"]) == (409, "attack_finished")
    corpus = Corpus.objects.create(name="c", path="/nowhere")
    round_ = Round.objects.create(name="r", policy=classifier.policy, corpus=corpus)
    row = Attack.objects.create(
        policy=classifier.policy, classifier=classifier, round=round_, threshold=0.3, role="measuring", name="filler"
    )
    refused = api(rita).post(f"/api/v1/attacks/{row.pk}/cancel")
    assert (refused.status_code, refused.json()["code"]) == (409, "attack_of_a_round")


def test_asking_twice_under_one_key_launches_one(rita: User, api: Api, classifier: Classifier) -> None:
    ask = {"classifier": str(classifier.pk)}
    first, second = (api(rita).post("/api/v1/attacks", ask, format="json", HTTP_IDEMPOTENCY_KEY="k") for _ in range(2))
    assert first.json()["id"] == second.json()["id"]
    assert Attack.objects.count() == Job.objects.count() == 1


def attack_with_finds(classifier: Classifier, rows: list[Snippet], choices: list[str | None], name: str) -> Attack:
    """Two finds a seed, each labelled twice where it has a choice; 10 queries a seed, a minute a label."""
    attack = Attack.objects.create(
        policy=classifier.policy, classifier=classifier, threshold=0.3, role="alone", name=name, title=name,
        state="succeeded", seeds=len(rows) // 3, result={"seconds": 2.5},
    )  # fmt: skip
    batch = Batch.objects.create(policy=classifier.policy, name=name)
    people = [Annotator.objects.get_or_create(external_id=f"p{i}")[0] for i in range(2)]
    seeds, finds = rows[: len(rows) // 3], rows[len(rows) // 3 :]
    for seed in seeds:
        attack.started_from.create(snippet=seed, logit=1.0, queries=10, stop="enough")
    for place, (find, choice) in enumerate(zip(finds, choices, strict=True)):
        AttackCandidate.objects.create(
            attack=attack, snippet=find, seed=seeds[place // 2], logit=-1.0 - place, strength=float(place)
        )
        if choice is None:
            continue
        Consensus.objects.create(snippet=find, choice=choice, labels=2)
        task = Task.objects.create(batch=batch, snippet=find, wanted=2)
        for one in people:
            Label.objects.create(task=task, snippet=find, annotator=one, choice=choice, seconds=60)
    return attack


def test_attacks_are_compared_by_their_yields_with_counts_and_intervals(
    rita: User, api: Api, classifier: Classifier, make_snippets: Callable[..., list[Snippet]]
) -> None:
    rows = make_snippets(24)
    one = attack_with_finds(classifier, rows[:12], ["Yes", "No", "Yes", "Yes", "No", "No", None, None], "paraphrase")
    two = attack_with_finds(classifier, rows[12:], ["No"] * 8, "filler")
    found = {row["id"]: row["yields"] for row in api(rita).get("/api/v1/attacks/yields").json()}
    first, second = found[str(one.pk)], found[str(two.pk)]
    assert (first["candidates"], first["labelled"], first["failures"], first["open_seeds"]) == (8, 6, 3, 1)
    assert (first["seeds_broken"]["failures"], first["seeds_broken"]["n"]) == (2, 3)
    assert first["per_candidate"]["estimate"] == 0.5
    assert first["per_candidate"]["low"] <= clopper_pearson(3, 6).low
    assert (first["per_1000_queries"]["failures"], first["per_1000_queries"]["n"]) == (3, pytest.approx(0.03))
    assert (first["per_minute"]["failures"], first["per_minute"]["n"]) == (3, pytest.approx(12.0))
    assert (first["labels"], first["queries"], first["seconds"]) == (12, 40, 2.5)
    assert second["per_candidate"]["estimate"] == second["per_candidate"]["low"] == 0
    assert second["per_candidate"]["high"] >= clopper_pearson(0, 8).high, "none found is an upper limit"
    only = api(rita).get(f"/api/v1/attacks/yields?id={two.pk}").json()
    assert [row["id"] for row in only] == [str(two.pk)]
    refused = api(rita).get("/api/v1/attacks/yields?ids=x")
    assert refused.status_code == 400
    with CaptureQueriesContext(
        connection,
    ) as few:
        api(rita).get(f"/api/v1/attacks/yields?id={two.pk}")
    with CaptureQueriesContext(connection) as more:
        api(rita).get(f"/api/v1/attacks/yields?id={one.pk},{two.pk}")
    assert len(more) - len(few) <= 4, "queries an attack"
