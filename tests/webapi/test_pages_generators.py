"""The pages of generators: what their first line says, in each state, and samples with the filter on and off."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.test import Client

from engine.errors import GeneratorError
from tests.page_text import text_of
from tests.people import weights
from tests.tuning import RECIPE, in_this_process, small_corpus
from webapi.errors import DomainError
from webapi.models import Artifact, Classifier, Corpus, Generator, Job, Policy, User
from webapi.pages import generators as pages
from webapi.services.classifiers import Scored
from webapi.services.generators import SampledText, generator_create
from webapi.services.promotions import classifier_promote

pytestmark = pytest.mark.django_db


@pytest.fixture
def corpus(gauntlet_home: Path, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    in_this_process(monkeypatch)
    return small_corpus(gauntlet_home, 4)


@pytest.fixture
def watcher(rita: User, client: Client) -> Client:
    client.force_login(rita)
    return client


def perplexity(value: float) -> dict:
    return {"estimate": value, "low": value * 0.9, "high": value * 1.1, "level": 0.95, "method": "m", "n": 40}


def ready(corpus: Corpus, name: str = "tales") -> Generator:
    """A tuned generator of which nothing but its row is looked at."""
    row = generator_create(name=name, corpus=corpus, recipe=RECIPE)
    Job.objects.filter(pk=row.job_id).update(state="succeeded")
    metrics = {
        "before": perplexity(17.5), "after": perplexity(11.25), "change": perplexity(0.643), "measured_on": "test",
        "measured_stories": 40, "measured_tokens": 9000, "best_step": 200, "stories": 80, "stopped_early": True,
        "parameters": 2_100_000, "seconds": 75.0, "tokens_per_second": 9000.0,
        "curve": [
            {"step": 0, "blocks": 0, "loss": None, "validation_loss": 2.86},
            {"step": 200, "blocks": 3200, "loss": 2.5, "validation_loss": 2.42},
            {"step": 400, "blocks": 6400, "loss": 2.2, "validation_loss": 2.47},
        ],
    }  # fmt: skip
    artifact = Artifact.objects.create(kind="generator", path=f"generators/{row.pk}", sha256="9f" * 32, size=8_400_000)
    row.finish(artifact, metrics, {"torch": "2.13.0"})
    row.refresh_from_db()
    return row


def test_an_empty_list_says_what_to_do(watcher: Client) -> None:
    shown = text_of(watcher.get("/generators/"))
    assert "No generator has been tuned yet." in shown
    assert "manage.py tune_generator" in shown


def test_the_list_tells_state_and_perplexity(watcher: Client, corpus: Corpus) -> None:
    ready(corpus)
    shown = text_of(watcher.get("/generators/"))
    assert "tales is tuned." in shown
    assert "17.5" in shown
    assert "10.1 to 12.4" in shown
    row = generator_create(name="more", corpus=corpus, recipe=RECIPE)
    Job.objects.filter(pk=row.job_id).update(state="running", done=12, total=400)
    response = watcher.get("/generators/")
    assert "more is being tuned: 12 of 400 blocks." in text_of(response)
    assert 'hx-trigger="every 5s"' in response.content.decode()


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ("queued", "tales waits for a worker."),
        ("running", "tales is being tuned: it is reading its stories."),
        ("failed", "tales could not be tuned."),
        ("cancelled", "tales was cancelled."),
    ],
)
def test_a_generator_says_where_it_stands(watcher: Client, corpus: Corpus, state: str, says: str) -> None:
    row = generator_create(name="tales", corpus=corpus, recipe=RECIPE)
    Job.objects.filter(pk=row.job_id).update(state=state, error="memory ran out" if state == "failed" else "")
    response = watcher.get(f"/generators/{row.pk}/")
    shown = text_of(response)
    assert says in shown
    assert ("memory ran out" in shown) == (state == "failed")
    assert ("hx-get" in response.content.decode()) == (state in ("queued", "running"))
    assert "Sample from it" not in shown
    assert "data-chart" not in response.content.decode()


def test_a_tuned_one_shows_its_curve_and_figures(watcher: Client, corpus: Corpus, policy: Policy) -> None:
    row = ready(corpus)
    response = watcher.get(f"/generators/{row.pk}/")
    shown = text_of(response)
    assert "tales was at a perplexity of 17.5 before tuning and is at 11.2 after it." in shown
    assert "200 steps on 80 stories of small; measured on 40 held-out ones" in shown
    assert "there was no gain after it, so training stopped" in shown
    assert "generator:tales" in shown
    assert 'data-chart="losses"' in response.content.decode()
    assert "2.10 M" in shown
    assert "Sample from it" in shown


def test_a_viewer_reads_and_samples_nothing(vera: User, client: Client, corpus: Corpus, policy: Policy) -> None:
    row = ready(corpus)
    client.force_login(vera)
    assert "Sample from it" not in text_of(client.get(f"/generators/{row.pk}/"))
    asked = {"prompt": "She ran.", "policy": str(policy.pk)}
    assert client.post(f"/generators/{row.pk}/", asked).status_code == 403


def test_samples_stand_side_by_side(
    watcher: Client, corpus: Corpus, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = ready(corpus)
    guard = Classifier.objects.create(
        policy=policy, name="guard", condition="b", encoder="e", threshold=0.2,
        artifact=weights(),
    )  # fmt: skip
    classifier_promote(classifier=guard)
    seen = []

    def sample(*, classifier: Classifier | None, prompts: list[str], copies: int, seed: int, **_: object):
        seen.append((classifier, prompts, copies, seed))
        if classifier is None:
            return [[SampledText("It fell on her.", 1, None, None), SampledText("She slept.", 1, None, None)]]
        return [[SampledText("She woke.", 3, 0.05, -2.9), SampledText(None, 25, None, None)]]

    monkeypatch.setattr(pages, "generator_sample", sample)
    monkeypatch.setattr(pages, "classifier_score", lambda **_: [Scored(0.9, 2.2, True), Scored(0.1, -2.2, False)])
    asked = {"prompt": "She lay down.", "policy": str(policy.pk), "seed": "7"}
    response = watcher.post(f"/generators/{row.pk}/", asked)
    shown = text_of(response)
    assert response.status_code == 200
    assert seen == [(None, ["She lay down."], 4, 7), (guard, ["She lay down."], 4, 7)]
    assert "It fell on her. 0.900 rejected" in shown
    assert "She slept. 0.100 accepted" in shown
    assert "She woke. 0.0500 accepted" in shown
    assert "proposal 3, the others rejected" in shown
    assert "No completion: all 25 proposals were rejected." in shown
    assert "She lay down." in response.content.decode().split("<textarea")[1]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"prompt": " "}, "Write what is to be completed."),
        ({"prompt": "x" * 10_001}, "At most 10,000 characters."),
        ({"prompt": "She ran.", "seed": "many"}, "Enter a whole number."),
        ({"prompt": "She ran.", "policy": "01a21ed2-e010-7392-b574-a20ef5849df6"}, "There is no such policy."),
        ({"prompt": "She ran."}, "No classifier has been promoted"),
    ],
)
def test_what_cannot_be_sampled_is_said_at_its_field(
    watcher: Client, corpus: Corpus, policy: Policy, asked: dict[str, str], says: str
) -> None:
    row = ready(corpus)
    response = watcher.post(f"/generators/{row.pk}/", {"policy": str(policy.pk), **asked})
    assert response.status_code == 400
    assert says in text_of(response)


@pytest.mark.parametrize("error", [GeneratorError("no weights"), DomainError("unavailable", "no weights")])
def test_what_goes_wrong_while_sampling_is_told(
    watcher: Client, corpus: Corpus, policy: Policy, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    row = ready(corpus)
    guard = Classifier.objects.create(
        policy=policy, name="guard", condition="b", encoder="e", threshold=0.2,
        artifact=weights(),
    )  # fmt: skip
    classifier_promote(classifier=guard)

    def failing(**_: object) -> None:
        raise error

    monkeypatch.setattr(pages, "generator_sample", failing)
    response = watcher.post(f"/generators/{row.pk}/", {"prompt": "She ran.", "policy": str(policy.pk)})
    assert (response.status_code, "no weights" in text_of(response)) == (400, True)
