"""`manage.py evaluate --against`: the difference of two filters, found again, certified from a parent."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tests.workers.test_evaluations import created, guard, run, stricter
from webapi.management.commands import evaluate as command
from webapi.models import Classifier, Evaluation

__all__ = ["guard"]
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs are run here, in the test's transaction, not by a worker's thread."""
    monkeypatch.setattr(command, "_watched", lambda evaluation, **_: run(evaluation))


def evaluate(**options: Any) -> str:
    out = StringIO()
    call_command("evaluate", stdout=out, stderr=StringIO(), **{"copies": 20, "confirmations": 0, **options})
    return out.getvalue()


def test_a_plan_is_made_beside_evaluations_with_settings_that_a_plan_may_not_have(guard: Classifier) -> None:
    run(created(guard, pilot=10, guess=None))
    said = evaluate(classifier=str(guard.pk), plan=True, guess=0.3, precision=0.9)
    planned = Evaluation.objects.order_by("pk").last()
    assert planned is not None
    assert (planned.state, planned.plan["guess"]) == ("planned", 0.3)
    assert said.startswith(f"Evaluation {planned.pk}: ")
    assert evaluate(classifier=str(guard.pk), plan=True, guess=0.3, precision=0.9) == said, "not planned anew"


def test_planned_then_bought_and_certified(guard: Classifier) -> None:
    first, later = run(created(guard)), stricter(guard)
    about = {"classifier": str(later.pk), "against": str(guard.pk), "parent": str(first.pk)}
    planned = evaluate(**about, plan=True)
    assert "* Where the two filters differ" in planned
    assert "Two separate tests" in planned
    assert "floor:" not in planned
    row = Evaluation.objects.get(kind="difference")
    assert (row.against, row.parent, row.state) == (guard, first, "planned")
    told = json.loads(evaluate(**about, json=True))
    assert told["evaluation"] == str(row.pk), "what was planned goes on"
    found = told["report"]["difference"]
    assert found["found"]["prompts"] == 160
    assert found["chained"]["wrong"] == pytest.approx(0.025)
    again = evaluate(**about)
    assert Evaluation.objects.filter(kind="difference").count() == 1, "the same command finds it"
    assert "Going on from the other's certificate, at most" in again
    assert "difference, nothing assumed" in again
    alone = json.loads(evaluate(**{**about, "parent": None}, plan=True, json=True))
    assert alone["evaluation"] != told["evaluation"], "without its parent it is another"


def test_each_output_by_both_scores_and_what_finds_an_improvement(guard: Classifier) -> None:
    later = stricter(guard)
    about = {"classifier": str(later.pk), "against": str(guard.pk), "plan": True}
    pairs = json.loads(evaluate(**about, json=True))["plan"]
    assert pairs["chosen"]["design"] == "differing", "by pairs unless asked"
    assert pairs["designs"].keys() >= {"differing", "differing_outputs", "two_tests", "shared"}
    assert (pairs["power"]["improvement"], pairs["power"]["power"]) == (0.5, 0.8)
    planned = evaluate(**about, design="stratified", interval="certificate", improvement=0.4, power=0.9)
    assert "* Where they differ, by both scores" in planned
    assert "fails 40 % less often than the other is found with a chance of 90 %" in planned
    row = Evaluation.objects.get(design="stratified")
    assert (row.config["interval"], row.config["improvement"]) == ("certificate", 0.4)
    assert Evaluation.objects.count() == 2
    Evaluation.objects.filter(pk=row.pk).update(
        config={name: value for name, value in row.config.items() if name != "label_error"}
    )
    evaluate(**about, design="stratified", interval="certificate", improvement=0.4, power=0.9)
    assert Evaluation.objects.count() == 2, "one of before that lacks a new setting is found"


def test_what_has_no_place_in_a_difference_is_refused(guard: Classifier, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="leave --judgements out"):
        evaluate(against=str(guard.pk), judgements=tmp_path)
    with pytest.raises(CommandError, match="--parent is of a difference"):
        evaluate(parent=str(guard.pk))
    with pytest.raises(CommandError, match="against: is the classifier itself"):
        evaluate(classifier=str(guard.pk), against=str(guard.pk))
    with pytest.raises(CommandError, match="there is no classifier 'nobody'"):
        evaluate(classifier=str(guard.pk), against="nobody")
    with pytest.raises(CommandError, match="pilot: a difference is planned from"):
        evaluate(classifier=str(stricter(guard).pk), against=str(guard.pk), pilot=5)
    about = {"classifier": str(Classifier.objects.get(name="stricter").pk), "against": str(guard.pk)}
    with pytest.raises(CommandError, match="design: a difference cannot be bought by 'until_failures'"):
        evaluate(**about, design="until_failures")
    with pytest.raises(CommandError, match="second: of a difference the second opinion"):
        evaluate(**about, second=str(guard.pk))
    with pytest.raises(CommandError, match="--improvement is of a difference"):
        evaluate(improvement=0.5)
    with pytest.raises(CommandError, match="power"):
        evaluate(**about, power=1.0)
    assert not Evaluation.objects.exists()
