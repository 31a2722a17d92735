"""Evaluations of quality: drawn twice, planned, compared by simulated people, answered; killed, and refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.evaluation import quality_purchase
from engine.evaluation.bought_report import changes
from engine.evaluation.quality_check import check_quality
from engine.generation.rejection import logit_cutoff
from tests.driving import killed_buying
from tests.workers.test_evaluations import Drawing, guard, run  # noqa: F401
from webapi.errors import DomainError
from webapi.models import Classifier, Evaluation, Preference, Snippet, Task
from webapi.services.evaluations import (
    evaluation_begin,
    evaluation_cancel,
    evaluation_create,
    evaluation_file,
    evaluation_report,
    evaluation_retry,
)
from workers import evaluation_quality
from workers.evaluation_pool import read_outputs
from workers.evaluation_quality import pairs_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def judge(guard: Classifier, monkeypatch: pytest.MonkeyPatch) -> Classifier:  # noqa: F811
    monkeypatch.setattr(evaluation_quality, "generator_of", lambda *_, **__: Drawing())
    return guard


def created(judge: Classifier, **given: Any) -> Evaluation:
    settings = {"adapter": "simulated", "outputs": {"tries": 2}, "seed": 1, **given}
    return evaluation_create(classifier=judge, settings=settings, kind="quality")


def wins_of(evaluation: Evaluation) -> list[float]:
    """By the texts that were shown, not by the code under test."""
    outputs = read_outputs(evaluation)
    pairs = pairs_of(evaluation, outputs)
    wins = [float("nan")] * len(pairs.free)
    for place, won in pairs.decided.items():
        wins[place] = won
    for place in pairs.ask:
        kept, free = (outputs.completions[at] for at in (pairs.kept[place], pairs.free[place]))
        asked = Preference.objects.filter(snippet__prompt=outputs.texts[pairs.free[place]])
        one = asked.get(snippet__completion__in=[kept, free], rival__completion__in=[kept, free])
        better = {"first": one.snippet.completion, "second": one.rival.completion}.get(one.choice)
        wins[place] = 0.5 if better is None else float(better == kept)
    return wins


def test_from_prompts_to_a_report_by_comparisons(judge: Classifier) -> None:
    evaluation = run(created(judge, price=0.5))
    assert (evaluation.state, evaluation.error, evaluation.kind) == ("succeeded", "", "quality")
    outputs = read_outputs(evaluation)
    pairs = pairs_of(evaluation, outputs)
    assert outputs.drawing.prompts == len(pairs.free) == 8
    assert all(outputs.pool.logits[at] < logit_cutoff(judge.threshold) for at in pairs.kept if at is not None)
    assert (len(pairs.ask), len(pairs.decided)) == (3, 1)
    silent = sum(at is None for at in pairs.kept)
    assert silent == outputs.drawing.without
    tasks = Task.objects.filter(batch__evaluation=evaluation)
    assert tasks.count() == evaluation.bought == evaluation.plan["quality"]["asked"] == len(pairs.ask)
    assert set(tasks.values_list("batch__kind", flat=True)) == {"compare"}
    report = evaluation_report(evaluation)
    check = report["check"]
    assert check["wins"] + check["losses"] + check["ties"] == 8
    assert (check["asked"] - len(pairs.decided), len(check["without_completion"])) == (len(pairs.ask), silent)
    assert len(report["silent"]) == silent
    assert report["bought"]["labels"] == len(pairs.ask) == Preference.objects.count()
    assert report["bought"]["money"] == 0.5 * len(pairs.ask)
    again = check_quality(pairs.kept_logits, pairs.free_logits, wins_of(evaluation), pairs.cutoff)
    assert json.loads(json.dumps(again.as_dict())) == check == evaluation.results["check"]
    assert "48 %, the paper" in evaluation_file(evaluation, "report.html").read_text().replace(
        "\N{NO-BREAK SPACE}", " "
    )
    (chart,) = quality_purchase.render_parts(report)["quality"].split('data-figure="verified">')[1:]
    drawn = json.loads(chart.split("</script>")[0])
    assert drawn["data"][0]["x"] == [100 * check["quality"]["estimate"]]
    assert [line["x0"] for line in drawn["layout"]["shapes"]] == [50, 48]
    assert changes(report, report) == []


@pytest.mark.parametrize("statement", range(8, 330, 35))
def test_killed_in_the_purchase_it_asks_the_same(judge: Classifier, statement: int) -> None:
    evaluation = created(judge, at_once=1)
    killed_buying(evaluation, statement)
    evaluation = run(evaluation)
    assert (evaluation.state, evaluation.error) == ("succeeded", "")
    asked = evaluation.plan["quality"]["asked"]
    assert evaluation.bought == asked == Task.objects.count() == Preference.objects.count()
    assert len(set(Task.objects.values_list("snippet", "rival"))) == asked


def test_planned_it_asks_nobody_and_begun_it_goes_on(judge: Classifier) -> None:
    evaluation = run(created(judge, buy=False, quality={"half_width": 0.01}))
    assert (evaluation.state, Task.objects.count()) == ("planned", 0)
    plan = evaluation.plan["quality"]
    assert (plan["prompts"], plan["reachable"]) == (8, False)
    evaluation_begin(evaluation=evaluation)
    assert run(evaluation).state == "succeeded"


def test_cancelled_and_gone_on_with(judge: Classifier) -> None:
    evaluation = run(created(judge, buy=False))
    evaluation_cancel(evaluation=evaluation)
    assert evaluation_retry(evaluation=evaluation).state == "planned"


def test_what_was_compared_is_not_asked_again(judge: Classifier) -> None:
    first = run(created(judge))
    before = (Task.objects.count(), Preference.objects.count(), Snippet.objects.count())
    again = {"adapter": "simulated", "outputs": {"tries": 2}, "seed": 1}
    second = run(evaluation_create(classifier=judge, settings=again, kind="quality", name="again"))
    assert (first.state, second.state) == ("succeeded", "succeeded")
    assert (Task.objects.count(), Preference.objects.count(), Snippet.objects.count()) == before
    assert second.results["check"] == first.results["check"]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"outputs": {"copies": 2}}, "outputs"),
        ({"outputs": {"split": "validation"}}, "outputs"),
        ({"outputs": {"source": "texts"}}, "outputs"),
        ({"design": "stratified"}, "design"),
        ({"pilot": 3}, "pilot"),
    ],
)
def test_what_it_has_no_place_for_is_refused(judge: Classifier, given: dict[str, Any], field: str) -> None:
    with pytest.raises(DomainError, match=f"^{field}: "):
        created(judge, **given)
    assert not Evaluation.objects.exists()


@pytest.mark.parametrize("field", ["against", "second"])
def test_another_classifier_is_refused(judge: Classifier, field: str) -> None:
    with pytest.raises(DomainError, match=f"^{field}: "):
        evaluation_create(classifier=judge, settings={"adapter": "simulated"}, kind="quality", **{field: judge})
    assert not Evaluation.objects.exists()


def test_without_a_threshold_it_is_refused(judge: Classifier) -> None:
    judge.threshold = None
    with pytest.raises(DomainError) as caught:
        created(judge)
    assert caught.value.code == "classifier_not_calibrated"
