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
    assert not Evaluation.objects.exists()
