"""Evaluations over the API and on pages: begun, planned, cancelled, retried, reported; rows by hand."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from engine.evaluation.designs import LabelPlan
from engine.evaluation.purchase_data import PurchaseReport
from engine.evaluation.purchase_report import render_purchase
from engine.evaluation.rates import clopper_pearson
from tests.engine.sample_purchase import sample_by_outputs, sample_difference, sample_purchase
from tests.page_text import text_of
from tests.webapi.attack_rows import classifier_of
from webapi.models import Artifact, Classifier, Corpus, Evaluation, Job, Policy, Round, User
from workers.evaluation_report import write_report

Api = Callable[..., APIClient]
PLAN = LabelPlan("simple_random", "Simple random sampling", 40, 40, 40, 52, 4.0, 17, 2.6, 0.2, True, 0.5, (), "As is.")


@pytest.fixture
def guard(policy: Policy, gauntlet_home: Path) -> Classifier:
    corpus = Corpus.objects.create(name="world", path=str(gauntlet_home))
    round_ = Round.objects.create(name="Round 1", policy=policy, corpus=corpus)
    weights = Artifact.objects.create(kind="classifier", path="weights", sha256="0" * 64, size=1)
    return classifier_of(policy, "guard", round=round_, artifact=weights)


def planned(guard: Classifier, **fields: Any) -> Evaluation:
    plan = {"chosen": PLAN.as_dict(), "designs": {"simple_random": PLAN.as_dict(), "stratified": WRONG}}
    about: dict[str, Any] = {
        "kind": "failure_rate",
        "design": "simple_random",
        "state": "planned",
        "plan": plan,
        "threshold": 0.5,
    }
    if fields.get("kind") == "difference":
        about["against"] = Classifier.objects.filter(name="elder").first() or classifier_of(guard.policy, "elder")
    return Evaluation.objects.create(**{"classifier": guard, "name": "first", **about, "config": {}, **fields})


RATE = clopper_pearson(1, 10).as_dict()
WRONG = {"design": "stratified", "title": "Stratified", "error": "pool: needs <more>"}


def reported(
    guard: Classifier, name: str = "first", content: PurchaseReport | None = None, **changed: Any
) -> Evaluation:
    content = content or sample_purchase(name=name, **changed)
    row = planned(guard, name=name, state="labelling", kind=content["kind"])
    results = {key: content[key] for key in ("tiers", "difference", "bought", "confirming", "asked")}  # type: ignore[literal-required]
    assert row.succeed(results, write_report(row, content))
    row.refresh_from_db()
    return row


def test_an_evaluation_is_begun_and_a_plan_alone_buys_nothing(guard: Classifier, rita: User, api: Api) -> None:
    body = {"classifier": str(guard.pk), "relative": 0.25, "outputs": {"copies": 3}, "name": "mine"}
    made = api(rita).post("/api/v1/evaluations", body)
    assert made.status_code == 202, made.content
    found = made.json()
    assert (found["kind"], found["state"], found["design"], found["threshold"]) == (
        "failure_rate",
        "planning",
        "simple_random",
        0.5,
    )
    assert (found["config"]["relative"], found["config"]["buy"], found["plan"]) == (0.25, True, {})
    (job,) = Job.objects.all()
    assert (job.kind, str(job.evaluation_id)) == ("prepare_evaluation", found["id"])
    again = api(rita).post("/api/v1/evaluations", body)
    assert (again.status_code, again.json()["code"]) == (409, "name_taken")
    only = api(rita).post("/api/v1/evaluations/plan", {**body, "name": "plan", "buy": True})
    assert (only.status_code, only.json()["config"]["buy"]) == (202, False)
    refused = api(rita).post(f"/api/v1/jobs/{job.pk}/cancel")
    assert (refused.status_code, refused.json()["code"]) == (409, "job_of_an_evaluation")


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({"classifier": "nobody"}, "classifier"),
        ({}, "classifier"),
        ({"nonsense": 1}, None),
        ({"design": "magic"}, None),
        ({"relative": 0}, None),
        ({"outputs": {"split": "train"}}, None),
    ],
)
def test_what_makes_no_sense_is_refused(
    body: dict[str, Any], loc: str | None, guard: Classifier, rita: User, api: Api
) -> None:
    asked = body if loc else {"classifier": str(guard.pk), **body}
    refused = api(rita).post("/api/v1/evaluations", asked)
    assert refused.status_code == 400, refused.content
    if loc:
        assert [one["loc"] for one in refused.json()["errors"]] == [[loc]]
    assert not Evaluation.objects.exists()
    assert not Job.objects.exists()


def test_classifiers_that_do_not_fit_are_refused(guard: Classifier, rita: User, api: Api) -> None:
    raw = classifier_of(guard.policy, "raw")
    body: dict[str, Any] = {"classifier": str(guard.pk), "against": str(raw.pk)}
    assert api(rita).post("/api/v1/evaluations", body).json()["code"] == "classifier_not_trained"
    Classifier.objects.filter(pk=raw.pk).update(artifact=guard.artifact, threshold=None)
    assert api(rita).post("/api/v1/evaluations", body).json()["code"] == "classifier_not_calibrated"
    itself = api(rita).post("/api/v1/evaluations", {**body, "against": str(guard.pk)})
    assert itself.json()["errors"][0]["loc"] == ["against"]
    assert not Evaluation.objects.exists()


def test_begun_cancelled_and_set_going_again(guard: Classifier, rita: User, vera: User, api: Api) -> None:
    row = planned(guard)
    client, at = api(rita), f"/api/v1/evaluations/{row.pk}"
    assert api(vera).post(f"{at}/begin").status_code == 403
    assert client.get(at).json()["plan"]["chosen"]["labels"] == 52
    assert client.post(f"{at}/retry").json()["code"] == "evaluation_not_stopped"
    assert client.post(f"{at}/begin").json()["state"] == "labelling"
    assert client.post(f"{at}/begin").json()["code"] == "evaluation_not_planned"
    assert list(row.jobs.values_list("kind", "state")) == [("buy_labels", "queued")]
    assert client.get(f"{at}/report").json()["code"] == "evaluation_not_reported"
    assert client.post(f"{at}/cancel").json()["state"] == "cancelled"
    assert list(row.jobs.values_list("state", flat=True)) == ["cancelled"]
    assert client.post(f"{at}/cancel").json()["code"] == "evaluation_finished"
    assert client.post(f"{at}/retry").json()["state"] == "labelling"
    assert list(row.jobs.values_list("kind", "state")) == [("buy_labels", "queued")]


def test_the_report_as_json_and_as_a_file(guard: Classifier, rita: User, api: Api) -> None:
    row = reported(guard)
    found = api(rita).get(f"/api/v1/evaluations/{row.pk}/report").json()
    assert found["report"] == json.loads(json.dumps(sample_purchase(name="first")))
    assert found["html"].endswith(f"/api/v1/evaluations/{row.pk}/report.html")
    page = api(rita).get(f"/api/v1/evaluations/{row.pk}/report.html")
    assert "sandbox" in page.headers["Content-Security-Policy"]
    assert b"".join(page.streaming_content).decode() == render_purchase(sample_purchase(name="first"))  # type: ignore[attr-defined]
    listed = api(rita).get("/api/v1/evaluations?kind=failure_rate&state=succeeded").json()["results"]
    assert [one["id"] for one in listed] == [str(row.pk)]


# Pages


def shown(client: Client, row: Evaluation) -> str:
    """The page's text, with plain spaces and apostrophes."""
    return html.unescape(text_of(client.get(f"/evaluations/{row.pk}/"))).replace("\N{NO-BREAK SPACE}", " ")


def test_the_pages_of_a_plan_that_waits(guard: Classifier, rita: User, vera: User, alice: User, client: Client) -> None:
    client.force_login(alice)
    assert client.get("/evaluations/").status_code == 404
    client.force_login(rita)
    assert "No evaluation yet." in text_of(client.get("/evaluations/"))
    row = planned(guard)
    page = text_of(client.get(f"/evaluations/{row.pk}/"))
    assert "“first” waits: 52 labels are planned, and none is bought." in page
    assert "Simple random sampling chosen 40 52 17 2.60 0.2 ±50.0 %" in page
    assert "pool: needs &lt;more&gt;" in page
    assert "Cancel “first”?" in text_of(client.get(f"/evaluations/{row.pk}/cancel/"))
    client.force_login(vera)
    assert "Buy the labels" not in text_of(client.get(f"/evaluations/{row.pk}/"))
    client.force_login(rita)
    assert client.post(f"/evaluations/{row.pk}/magic").status_code == 404
    client.post(f"/evaluations/{row.pk}/begin")
    row.refresh_from_db()
    assert row.state == "labelling"
    row.fail("no labels <b>at all</b>")
    failed = client.get(f"/evaluations/{row.pk}/")
    assert "no labels &lt;b&gt;at all" in failed.content.decode()
    client.post(f"/evaluations/{row.pk}/retry")
    row.refresh_from_db()
    assert row.state == "labelling"
    client.post(f"/evaluations/{row.pk}/cancel/")
    row.refresh_from_db()
    assert row.state == "cancelled"


def test_the_answer_on_a_page_and_two_beside_one_another(guard: Classifier, vera: User, client: Client) -> None:
    first = reported(guard)
    second = reported(guard, "second", confirmed=0)
    client.force_login(vera)
    listed = text_of(client.get("/evaluations/"))
    assert "No evaluation is under way." in listed
    assert "guard failure rate: Simple random sampling" in listed
    assert "; 4 of 40)" in listed
    uneven = {**first.results["tiers"], "estimate": {**first.results["tiers"]["estimate"], "estimate": 0.08}}
    Evaluation.objects.filter(pk=first.pk).update(results={**first.results, "tiers": uneven})
    assert "4 of 40" not in text_of(client.get("/evaluations/"))
    planned(guard, name="idle")
    assert "No evaluation is under way; 1 waits, planned." in text_of(client.get("/evaluations/"))
    page = shown(client, first)
    assert "10.0 % of the filter's outputs fail (4 of 40; 95 % interval 2.8 to 23.7 %)." in page
    assert "at most 23.7 % fail (97.5 %, one-sided), if the labels are right." in page
    assert "It took 52 labels; 52 were planned." in page
    zero = shown(client, second)
    assert "No failure among 40 outputs: at most 8.8 % fail (97.5 %, one-sided)." in zero
    assert client.get(f"/evaluations/{first.pk}/report.html").status_code == 200
    beside = text_of(client.get(f"/evaluations/diff/?a={first.pk}&b={second.pk}"))
    assert "confirmed 4 0" in beside
    assert "the same" in text_of(client.get(f"/evaluations/diff/?a={first.pk}&b={first.pk}"))
    assert client.get("/evaluations/diff/?a=x&b=y").status_code == 404


def test_a_difference_in_the_list_on_its_page_and_over_the_api(
    guard: Classifier, rita: User, api: Api, client: Client
) -> None:
    content = sample_difference()
    row, other = reported(guard, "apart", content), reported(guard, "first")
    planned(guard, name="begun", kind="difference", plan={}, state="planning")
    reported(guard, "unlinked", sample_difference(name="unlinked", linked=False))
    certified = content["difference"]["chained"]  # type: ignore[index]
    assert api(rita).get(f"/api/v1/evaluations/{row.pk}").json()["results"]["difference"]["chained"] == certified
    client.force_login(rita)
    listed = html.unescape(text_of(client.get("/evaluations/"))).replace("\N{NO-BREAK SPACE}", " ")
    assert "\N{MINUS SIGN}1.0 points (" in listed
    assert "7 of 40" not in listed, "labels of both filters: no rate is that fraction"
    assert f") {100 * certified['upper']:.1f} %" in listed  # type: ignore[index]
    page = shown(client, row)
    assert f"at most {100 * certified['upper']:.1f} %" in page  # type: ignore[index]
    assert "Beside another unlinked Show" in page, "the third is of another kind"
    assert "Beside another" not in shown(client, other)
    problem = text_of(client.get(f"/evaluations/diff/?a={row.pk}&b={other.pk}"))
    assert "The two cannot be compared." in problem
    again = reported(guard, "again", sample_difference(name="again", new=2))
    assert f'<option value="{again.pk}">again</option>' in client.get(f"/evaluations/{row.pk}/").content.decode()
    beside = text_of(client.get(f"/evaluations/diff/?a={row.pk}&b={again.pk}"))
    assert "Where the two reports differ." in beside
    ended = text_of(client.get(f"/evaluations/{row.pk}/cancel/"))
    assert "“apart” has ended." in ended
    assert "Cancel this evaluation" not in ended


def test_a_classifier_lists_what_was_bought_by_its_headline(guard: Classifier, vera: User, client: Client) -> None:
    reported(guard)
    reported(guard, "apart", sample_difference())
    planned(guard, name="begun")
    Evaluation.objects.create(classifier=guard, name="held out", results={"fnr": RATE, "fpr": RATE})
    client.force_login(vera)
    page = html.unescape(text_of(client.get(f"/classifiers/{guard.pk}/"))).replace("\N{NO-BREAK SPACE}", " ")
    bought = page.partition("Evaluations that bought labels")[2]
    assert "begun failure rate planned apart difference against elder The filter is" in bought
    assert "first failure rate 10.0 % of the filter's outputs fail (4 of 40; 95 % interval 2.8 to 23.7 %)." in bought
    assert "Evaluation: held out False negatives, in distribution" in page
    assert "asked, what" not in page


def test_the_plan_of_a_difference_has_no_floor_and_marks_its_choice(
    guard: Classifier, rita: User, client: Client
) -> None:
    row = planned(guard, kind="difference", plan=sample_difference()["plan"])
    client.force_login(rita)
    page = shown(client, row)
    assert "What each way to the difference would take" in page
    assert "Where the two filters differ chosen 40 52 2.60 0.2 ±50.0 %" in page
    assert "Floor" not in page
    row.plan["designs"]["two_tests"]["floor"] = 123
    row.save()
    assert "Floor" in (page := shown(client, row))
    assert " 123 " in page


def test_a_difference_by_outputs_on_its_page_and_over_the_api(
    guard: Classifier, rita: User, vera: User, api: Api, client: Client
) -> None:
    content = sample_by_outputs()
    waits = planned(guard, kind="difference", plan=content["plan"])
    row = reported(guard, "by outputs", content)
    told = api(rita).get(f"/api/v1/evaluations/{row.pk}").json()
    assert told["results"]["difference"]["found"]["paired"] is False
    client.force_login(vera)
    assert "That this filter fails 50 % less often takes 338 outputs." in shown(client, waits)
    assert "of 30 of the other's outputs 6 fail" in html.unescape(shown(client, row))
    other = classifier_of(guard.policy, "newer")
    Classifier.objects.filter(pk=other.pk).update(artifact=guard.artifact, threshold=0.1)
    body = {"classifier": str(guard.pk), "against": str(other.pk), "design": "until_failures"}
    refused = api(rita).post("/api/v1/evaluations", body)
    assert refused.status_code == 400
    assert refused.json()["errors"][0]["loc"] == ["design"]
    bad = api(rita).post("/api/v1/evaluations", {**body, "design": "stratified", "power": 1.0, "improvement": 0})
    assert bad.status_code == 400
    assert all(f"{name}: " in bad.content.decode() for name in ("improvement", "power"))
