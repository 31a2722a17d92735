"""Before and after, calibration and evaluations as lines people read."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from tests.engine.sample_report import HELD_OUT, sample_report
from tests.page_text import text_of
from webapi.models import Classifier, Corpus, Evaluation, Policy, Round, User
from webapi.pages.outcomes import calibration_lines, evaluation_lines, round_outcome

pytestmark = pytest.mark.django_db


def rate(failures: int, n: int, low: float, high: float) -> dict[str, Any]:
    return {
        "estimate": failures / n if n else None, "low": low, "high": high,
        "level": 0.95, "method": "exact", "failures": failures, "n": n,
    }  # fmt: skip


def measured(threshold: float, failures: int) -> dict[str, Any]:
    return {
        "threshold": threshold,
        "fnr": rate(0, 80, 0, 0.045),
        "fpr": rate(134, 820, 0.139, 0.191),
        "failure_rate": None,
        "adversarial": {HELD_OUT: rate(failures, 143, 0.02, 0.3)},
    }


@pytest.fixture
def finished(policy: Policy) -> Round:
    summary = {
        "classifiers": {"baseline": measured(0.04, 37), "+paraphrases": measured(0.039, 9)},
        "main_set": HELD_OUT,
        "labels": 2130,
    }
    corpus = Corpus.objects.create(name="books")
    return Round.objects.create(name="Round 4", policy=policy, corpus=corpus, state="succeeded", summary=summary)


def test_a_finished_round_says_before_and_after(rita: User, client: Client, finished: Round) -> None:
    client.force_login(rita)
    page = text_of(client.get(f"/rounds/{finished.pk}/"))
    sentence = f"9 of 143 (6.3 %) of the {HELD_OUT} get through the retrained filter; before, 37 of 143 (25.9 %)."
    assert sentence in page
    assert "baseline +paraphrases Threshold 0.0400 0.0390" in page
    assert "False negatives, in distribution below 4.5 % (0 of 80)" in page
    assert "2,130 labels were spent." in page
    assert sentence in text_of(client.get("/rounds/"))


def test_a_round_without_figures_says_nothing_of_them(policy: Policy) -> None:
    corpus = Corpus.objects.create(name="books")
    assert round_outcome(Round.objects.create(name="Round 5", policy=policy, corpus=corpus)) is None


def test_a_rate_that_was_not_measured_leaves_its_cell_empty(finished: Round) -> None:
    finished.summary["classifiers"]["baseline"]["adversarial"] = {}
    outcome = round_outcome(finished)
    assert outcome is not None
    assert outcome.sentence == ""
    row = next(row for row in outcome.rows if HELD_OUT in row.name)
    assert (row.values[0], row.values[1]["failures"]) == (None, 9)


def test_an_assessment_of_the_engine_becomes_lines() -> None:
    baseline, retrained = (one["assessment"] for one in sample_report()["classifiers"])
    names = [name for name, _ in evaluation_lines(baseline)]
    assert names == [
        "Threshold",
        f"False negatives, {HELD_OUT}",
        "False negatives, those the baseline accepts (its own target)",
        "False negatives, in distribution",
        "Failure rate per output",
        "False positives",
    ]
    assert dict(evaluation_lines(retrained))["False positives"] == retrained["fpr"]


def test_a_divergence_is_not_read_as_a_share(policy: Policy) -> None:
    kl = {"estimate": 0.48, "low": 0.1, "high": 0.98, "level": 0.95, "method": "bootstrap", "failures": 1, "n": 12}
    metrics = {"calibration": {"kl": kl, "prompts": 12, "curve": [[0.0, 1.0]] * 50}, "training": {"examples": 120}}
    row = Classifier(policy=policy, name="baseline", threshold=0.44, metrics=metrics)
    assert calibration_lines(row) == [
        ("Threshold", 0.44),
        ("KL at the threshold, nats", {"estimate": 0.48, "low": 0.1, "high": 0.98, "n": 12}),
        ("Trained on, snippets", 120),
    ]


def test_quality_counts_prompts_and_no_failures(policy: Policy) -> None:
    in_use = {"estimate": 0.497, "low": 0.471, "high": 0.522, "level": 0.95, "method": "b", "failures": 3, "n": 100}
    metrics = {"quality": {"in_use": in_use, "threshold": 0.02, "curve": [[0.0, 0.5, 0.4, 0.6]] * 200, "asked": 480}}
    row = Classifier(policy=policy, name="baseline", threshold=0.44, metrics=metrics)
    assert calibration_lines(row) == [
        ("Threshold", 0.44),
        (
            "Quality at the threshold",
            "49.7\N{NO-BREAK SPACE}% (47.1\N{NO-BREAK SPACE}% to 52.2\N{NO-BREAK SPACE}%) on 100 prompts",
        ),
        ("Lowest threshold by quality", 0.02),
    ]


def test_the_list_shows_rates_on_attacks_that_were_not_the_classifiers_own(
    rita: User, client: Client, policy: Policy
) -> None:
    corpus = Corpus.objects.create(name="books")
    round_ = Round.objects.create(name="Round 4", policy=policy, corpus=corpus)
    row = Classifier.objects.create(policy=policy, round=round_, name="baseline", condition="baseline", threshold=0.04)
    Evaluation.objects.create(classifier=row, name="held-out", results=sample_report()["classifiers"][0]["assessment"])
    Classifier.objects.create(policy=policy, name="raw", condition="raw")
    client.force_login(rita)
    page = text_of(client.get("/classifiers/"))
    assert "25.9 % (18.7 % to 34.2 %; 37 of 143)" in page
    assert "(13.9 % to 19.1 %; 134 of 820)" in page
    assert "not yet" in page
