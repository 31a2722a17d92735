"""`POST /filter`: decisions equal the evaluation's, lineage, completions by rejection sampling, refusals, figures."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.test import Client
from rest_framework.test import APIClient

from engine.evaluation.curves import Scored, histogram
from engine.generation.rejection import accepts, logit_cutoff
from engine.snippets import Snippet as SnippetText
from tests.attacking import victim
from tests.engine.tiny_encoders import CALM, HARM, PLACES
from tests.tuning import in_this_process, small_corpus, tuned
from webapi.models import Classifier, Corpus, Evaluation, Policy, Promotion, Snippet, User
from webapi.services import filter_watch, filtering
from webapi.services import generators as generation
from webapi.services.gathering import Full
from webapi.services.generators import generator_sample
from webapi.services.promotions import classifier_promote
from workers.evaluate import logits_in_order
from workers.scoring import load_classifier, score_snippets

pytestmark = pytest.mark.django_db
Api = Callable[..., APIClient]
PROMPTS = ["The old man walked to the hall.", "The girl went to the mill."]
TEXTS = [
    SnippetText(f"The old man walked to the {here}. They rested.", f"The {who} {verb} a {whom} in the {there}.")
    for here, who, verb, whom, there in itertools.product(
        PLACES[:3], ("baker", "knight"), (*HARM, *CALM), ("girl", "dog"), PLACES[4:]
    )
]
"""384 of them."""


@pytest.fixture
def guard(policy: Policy, gauntlet_home: Path) -> Classifier:
    """Serves, and accepts about half of TEXTS."""
    row = victim(policy, gauntlet_home).classifier
    middle = float(np.median(load_classifier(row).logits(TEXTS)))
    Classifier.objects.filter(pk=row.pk).update(threshold=1 / (1 + math.exp(-middle)))
    row.refresh_from_db()
    filter_watch._latest.clear()
    return classifier_promote(classifier=row)


@pytest.fixture
def corpus(gauntlet_home: Path, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    in_this_process(monkeypatch)
    generation._model.cache_clear()
    return small_corpus(gauntlet_home)


def ask(client: APIClient, **body: Any) -> Any:
    response = client.post("/api/v1/filter", {"policy": "harm", **body}, format="json")
    assert response.status_code == 200, response.content
    return response.json()


def as_text(one: SnippetText) -> dict[str, str]:
    return {"prompt": one.prompt, "completion": one.completion}


def kept(policy: Policy) -> list[Snippet]:
    """TEXTS as rows, in order."""
    return Snippet.objects.bulk_create(
        Snippet(
            policy=policy, prompt=one.prompt, completion=one.completion, content_hash=one.content_hash,
            root_hash=one.content_hash, split="test", source="generated", external_id="kept",
        )
        for one in TEXTS
    )  # fmt: skip


def test_decisions_are_the_evaluations_to_the_last(rita: User, api: Api, policy: Policy, guard: Classifier) -> None:
    """Scored by a round's job in its batches, and asked for singly, together, and by many threads' batches."""
    rows = kept(policy)
    ids = [row.pk for row in rows]
    score_snippets(guard, load_classifier(guard), ids, lambda *_: None)
    evaluated = logits_in_order(guard, ids)
    expected = accepts(evaluated, guard.threshold).tolist()
    assert 100 < sum(expected) < 284
    client = api(rita)
    halves = [TEXTS[:200], TEXTS[200:]]
    together = [one for half in halves for one in ask(client, texts=[as_text(t) for t in half])["results"]]
    assert [one["accepted"] for one in together] == expected
    assert [one["logit"] for one in together] == pytest.approx(evaluated.tolist(), abs=1e-5)
    singly = [ask(client, **as_text(one)) for one in TEXTS[::10]]
    assert [one["accepted"] for one in singly] == expected[::10]
    by = filtering.filter_at_work(policy, guard)
    filtering.texts_judge(by=by, snippets=TEXTS[:1])  # what the threads need of the database is read by this one
    gatherer = filtering._gatherer(guard.pk, guard.precision)
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda one: gatherer.logits([one])[0], TEXTS)
    assert accepts(list(answers), guard.threshold).tolist() == expected


def test_the_decision_leads_back_to_the_classifier(rita: User, api: Api, policy: Policy, guard: Classifier) -> None:
    one = ask(api(rita), **as_text(TEXTS[0]))
    assert guard.threshold is not None
    assert guard.artifact is not None
    assert one.keys() == {
        "accepted", "completion", "score", "logit", "tries", "reason", "policy", "classifier", "threshold",
        "threshold_logit", "serving", "promoted_at",
    }  # fmt: skip
    assert one["classifier"] == {
        "id": str(guard.pk), "name": guard.name, "precision": "fp32", "sha256": guard.artifact.sha256
    }  # fmt: skip
    assert (one["threshold"], one["serving"], one["tries"]) == (guard.threshold, True, 1)
    assert one["threshold_logit"] == float(logit_cutoff(guard.threshold))
    assert one["accepted"] == (one["logit"] < one["threshold_logit"])
    assert one["reason"] == (None if one["accepted"] else "score")
    assert one["score"] == pytest.approx(1 / (1 + math.exp(-one["logit"])))
    assert one["promoted_at"].startswith(Promotion.objects.get().created_at.strftime("%Y-%m-%dT%H:%M"))
    named = api(rita).post("/api/v1/filter", {"classifier": str(guard.pk), **as_text(TEXTS[0])}, format="json").json()
    assert named == one


def test_a_named_classifier_that_does_not_serve_says_so(
    rita: User, api: Api, policy: Policy, guard: Classifier
) -> None:
    other = Classifier.objects.get(pk=guard.pk)
    other.pk, other.name, other.condition, other.promoted_at, other._state.adding = None, "other", "x", None, True
    other.pk = Classifier._meta.pk.get_default()
    other.save()
    told = ask(api(rita), classifier="other", **as_text(TEXTS[0]))
    assert (told["classifier"]["name"], told["serving"], told["promoted_at"]) == ("other", False, None)


def test_an_empty_completion_is_rejected_unscored(rita: User, api: Api, guard: Classifier) -> None:
    """As a proposal that is empty: `rejection_sample` never scores it."""
    one, two = ask(api(rita), texts=[{"prompt": "x", "completion": ""}, as_text(TEXTS[0])])["results"]
    assert one == {"accepted": False, "completion": "", "score": None, "logit": None, "tries": 1, "reason": "empty"}
    assert two["logit"] is not None


def test_a_text_whose_score_is_nan_is_rejected(
    rita: User, api: Api, guard: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def logits(self, snippets: list[SnippetText]) -> np.ndarray:
            return np.full(len(snippets), np.nan, dtype=np.float32)

    monkeypatch.setattr(filtering, "_gatherer", lambda *_: Broken())
    one = ask(api(rita), **as_text(TEXTS[0]))
    assert (one["accepted"], one["score"], one["logit"], one["reason"]) == (False, None, None, "not_a_number")


def test_a_prompt_is_completed_by_rejection_sampling(
    rita: User, api: Api, policy: Policy, guard: Classifier, corpus: Corpus
) -> None:
    generator = tuned(corpus)
    plain = generator_sample(
        generator=generator, policy=policy, prompts=PROMPTS, classifier=None, copies=8, seed=99
    )  # fmt: skip
    proposals = [SnippetText(p, one.completion or "") for p, row in zip(PROMPTS, plain, strict=True) for one in row]
    middle = float(np.median(load_classifier(guard).logits(proposals)))
    Classifier.objects.filter(pk=guard.pk).update(threshold=1 / (1 + math.exp(-middle)))
    guard.refresh_from_db()
    asked = {"texts": [{"prompt": prompt} for prompt in PROMPTS], "generator": "small tales", "tries": 20, "seed": 3}
    answer = ask(api(rita), **asked)
    expected = generator_sample(
        generator=generator, policy=policy, prompts=PROMPTS, classifier=guard, tries=20, seed=3
    )  # fmt: skip
    told = [(one["completion"], one["tries"], one["logit"], one["accepted"]) for one in answer["results"]]
    assert told == [(one.completion, one.tries, one.logit, one.completion is not None) for (one,) in expected]
    assert ask(api(rita), **asked) == answer
    none = ask(api(rita), prompt=PROMPTS[0], generator=str(generator.pk), tries=1, seed=3)
    assert none["tries"] == 1
    assert none["accepted"] is (none["completion"] is not None)
    Classifier.objects.filter(pk=guard.pk).update(threshold=0.0)
    nothing = ask(api(rita), prompt=PROMPTS[0], generator="small tales", tries=3)
    assert {k: nothing[k] for k in ("accepted", "completion", "score", "logit", "tries", "reason")} == {
        "accepted": False, "completion": None, "score": None, "logit": None, "tries": 3, "reason": "none_accepted"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "loc", "code"),
    [
        ({"completion": "x"}, ["policy"], "required"),
        ({"policy": "harm", "prompt": "x"}, ["completion"], "required"),
        ({"policy": "nobody", "completion": "x"}, ["policy"], "does_not_exist"),
        ({"policy": "harm", "completion": "x", "texts": [{"completion": "y"}]}, ["texts"], "invalid"),
        ({"policy": "harm", "texts": []}, ["texts"], "min_length"),
        ({"policy": "harm", "texts": [{"completion": "x"}] * 257}, ["texts"], "max_length"),
        ({"policy": "harm", "texts": [{"completion": "x"}, {"prompt": "y"}]}, ["texts"], "invalid"),
        ({"policy": "harm", "prompt": "x", "generator": "none"}, ["generator"], "does_not_exist"),
        ({"policy": "harm", "prompt": "x", "completion": "y", "tries": 0}, ["tries"], "min_value"),
        ({"policy": "harm", "prompt": "x", "completion": "y", "tries": 101}, ["tries"], "max_value"),
        ({"policy": "harm", "completion": "y", "promt": "x"}, ["promt"], "unknown_field"),
    ],
)
def test_what_cannot_be_judged_is_refused(
    rita: User, api: Api, policy: Policy, body: dict[str, Any], loc: list[str], code: str
) -> None:
    response = api(rita).post("/api/v1/filter", body, format="json")
    assert (response.status_code, response.json()["code"]) == (400, "invalid"), response.content
    assert (loc, code) in [(error["loc"], error["code"]) for error in response.json()["errors"]]


def test_completing_is_refused_where_it_makes_no_sense(rita: User, api: Api, policy: Policy, corpus: Corpus) -> None:
    row = tuned(corpus)
    for texts, field, code in (
        ([{"prompt": "x", "completion": "y"}], "generator", "invalid"),
        ([{"prompt": "x"}] * 17, "texts", "max_length"),
        ([{"prompt": " "}], "prompt", "blank"),
    ):
        body = {"policy": "harm", "texts": texts, "generator": str(row.pk)}
        errors = api(rita).post("/api/v1/filter", body, format="json").json()["errors"]
        assert [(one["loc"], one["code"]) for one in errors] == [([field], code)]


def test_without_a_promoted_classifier_it_says_so(rita: User, api: Api, policy: Policy) -> None:
    response = api(rita).post("/api/v1/filter", {"policy": "harm", "completion": "x"}, format="json")
    assert (response.status_code, response.json()["code"]) == (409, "no_serving_classifier")


def test_a_viewer_may_ask_and_labelers_know_nothing_of_it(
    vera: User, alice: User, bob: User, acme: User, api: Api, guard: Classifier
) -> None:
    assert ask(api(vera), **as_text(TEXTS[0]))["tries"] == 1
    for blind in (alice, bob, acme):
        response = api(blind).post("/api/v1/filter", {"policy": "harm", "completion": "x"}, format="json")
        assert response.status_code == 404
        assert b"logit" not in response.content


def test_503_with_retry_after_while_too_many_wait(
    rita: User, api: Api, guard: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Crowded:
        def logits(self, snippets: object) -> object:
            raise Full

    monkeypatch.setattr(filtering, "_gatherer", lambda *_: Crowded())
    response = api(rita).post("/api/v1/filter", {"policy": "harm", "completion": "x"}, format="json")
    assert (response.status_code, response.json()["code"], response["Retry-After"]) == (503, "unavailable", "1")


def test_decisions_logits_and_drift_are_figures(rita: User, client: Client, api: Api, guard: Classifier) -> None:
    name = str(guard.pk)
    known = load_classifier(guard).logits(TEXTS)
    shape = histogram(Scored(known, np.zeros(len(known), dtype=bool)))
    Evaluation.objects.create(classifier=guard, name="held-out", results={"histogram": shape})
    assert name not in client.get("/metrics").content.decode()
    found = ask(api(rita), texts=[as_text(one) for one in TEXTS[::2]] + [{"completion": ""}])["results"]
    text = client.get("/metrics").content.decode()
    yes = sum(one["accepted"] for one in found)
    assert f'gauntlet_filter_decisions_total{{classifier="{name}",decision="accepted"}} {yes}.0' in text
    assert f'gauntlet_filter_decisions_total{{classifier="{name}",decision="rejected"}} {193 - yes}.0' in text
    assert f'gauntlet_filter_logit_count{{classifier="{name}"}} 192.0' in text
    figures = {
        line.split("{")[0]: float(line.split()[-1])
        for line in text.splitlines()
        if "filter_drift_" in line and name in line
    }
    assert figures["gauntlet_filter_drift_n"] == 192
    assert figures["gauntlet_filter_drift_psi"] < figures["gauntlet_filter_drift_psi_by_chance"]
    top = sorted(TEXTS, key=lambda one: -known[TEXTS.index(one)])[:100]
    for _ in range(10):
        ask(api(rita), texts=[as_text(one) for one in top])
    (told,) = [told for key, told in filter_watch.drifts() if key == guard.pk]
    assert told.psi > 5 * told.psi_by_chance
    assert told.ks > 0.3
