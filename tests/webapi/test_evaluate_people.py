"""An evaluation whose labels people give over the API: cancelled in the middle, answered late, gone on with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from engine.simulation import SIMULATED_NOTICE
from tests.people import person
from tests.workers.test_evaluations import created, guard, run
from webapi.models import Classifier, Evaluation, Label, Lease, Role, Task, User
from webapi.services.evaluations import evaluation_report

__all__ = ["guard"]
Api = Callable[..., APIClient]
pytestmark = pytest.mark.django_db


@pytest.fixture
def contractors(api: Api) -> list[APIClient]:
    """Enough for a first label and its confirmations by others."""
    return [api(person(name, Role.CONTRACTOR)) for name in ("ann", "ben", "cleo", "dan")]


def leased(client: APIClient, count: int = 1) -> list[dict[str, Any]]:
    answer = client.post("/api/v1/tasks/lease", {"count": count}, format="json")
    assert answer.status_code == 200, answer.json()
    tasks: list[dict[str, Any]] = answer.json()["tasks"]
    return tasks


def said(client: APIClient, task: dict[str, Any], choice: str) -> str:
    body = {"task": task["id"], "lease": task["lease"]["token"], "choice": choice}
    answer = client.post("/api/v1/labels", body, format="json")
    assert answer.status_code in (200, 201), answer.json()
    outcome: str = answer.json()["outcome"]
    return outcome


def choice_of(task: dict[str, Any]) -> str:
    """Everybody agrees: by the text alone."""
    return "Yes" if sum(map(ord, task["completion"])) % 2 else "No"


def all_answered(clients: list[APIClient]) -> int:
    """Everybody takes tasks until none is free; how many answers were recorded."""
    given = 0
    while tasks := [(client, task) for client in clients for task in leased(client, 2)]:
        given += sum(said(client, task, choice_of(task)) == "recorded" for client, task in tasks)
    return given


def until_done(row: Evaluation, clients: list[APIClient]) -> Evaluation:
    for _ in range(9):
        row = run(row)
        if row.state != "labelling":
            return row
        assert all_answered(clients), "it waits for labels that nobody can give"
    raise AssertionError(row.state)


def test_people_label_cancel_and_go_on(
    guard: Classifier,
    rita: User,
    api: Api,
    contractors: list[APIClient],
) -> None:
    researcher = api(rita)
    evaluation = run(created(guard, adapter="pull", at_once=5))
    assert evaluation.state == "labelling"
    (held,) = leased(contractors[0])
    kept = leased(contractors[1])[0]
    assert said(contractors[1], kept, choice_of(kept)) == "recorded"
    assert researcher.post(f"/api/v1/evaluations/{evaluation.pk}/cancel").status_code == 200
    assert not any(leased(client) for client in contractors)
    assert said(contractors[0], held, choice_of(held)) == "recorded", "who held a task has the answer counted"
    assert researcher.post(f"/api/v1/evaluations/{evaluation.pk}/retry").status_code == 200
    evaluation = until_done(evaluation, contractors)
    assert evaluation.results["tiers"]["certificate"]["n"] == evaluation.plan["chosen"]["outputs"]
    all_bought_once(evaluation)


def all_bought_once(evaluation: Evaluation) -> None:
    """One label a text, and its confirmations where that one said Yes; the report counts them all."""
    assert (evaluation.state, evaluation.error) == ("succeeded", "")
    bought = evaluation.results["bought"]
    assert (bought["labels"], bought["had"]) == (Label.objects.count(), 0), "those of cancelled batches among them"
    per_text = Counter(Label.objects.values_list("snippet", flat=True))
    yes = set(Label.objects.filter(choice="Yes").values_list("snippet", flat=True))
    wanted = 1 + evaluation.config["confirmations"]
    assert {per_text[pk] for pk in per_text if pk in yes} == {wanted}
    assert {per_text[pk] for pk in per_text if pk not in yes} == {1}
    assert not Task.objects.filter(state="open").exists()


def test_what_is_held_of_a_cancelled_batch_is_not_asked_of_others(
    guard: Classifier, rita: User, api: Api, contractors: list[APIClient]
) -> None:
    researcher = api(rita)
    evaluation = run(created(guard, adapter="pull", at_once=5))
    before = set(Task.objects.values_list("snippet", flat=True))
    held = leased(contractors[0], 3)
    for move in ("cancel", "retry"):
        assert researcher.post(f"/api/v1/evaluations/{evaluation.pk}/{move}").status_code == 200
    run(evaluation)
    texts = set(Task.objects.filter(pk__in=[task["id"] for task in held]).values_list("snippet", flat=True))
    asked = set(Task.objects.filter(state="open").values_list("snippet", flat=True))
    assert len(texts) == 3
    assert asked == before - texts, "whoever holds those may still answer"
    for task in held[:2]:
        assert said(contractors[0], task, choice_of(task)) == "recorded"
    Lease.objects.filter(state="live").update(expires_at="2000-01-01T00:00Z")
    evaluation = until_done(evaluation, contractors)
    all_bought_once(evaluation)


def test_labels_that_were_there_are_told_as_what_they_are(guard: Classifier, contractors: list[APIClient]) -> None:
    simulated = run(created(guard))
    asked = run(created(guard, adapter="pull", price=0.5))
    assert (asked.state, asked.error) == ("succeeded", ""), "every text had its labels"
    report, before = evaluation_report(asked), evaluation_report(simulated)
    assert report["notice"] == before["notice"] == SIMULATED_NOTICE
    assert (report["bought"]["labels"], report["bought"]["had"]) == (0, before["bought"]["labels"])
    batches = report["lineage"]["batches"]
    assert [one["bought"] for one in batches] == [False] * len(batches)
    assert {one["adapter"] for one in batches} == {"simulated"}
    assert sum(one["labels"] for one in batches) == before["bought"]["labels"]
    assert report["lineage"]["simulated"] == report["lineage"]["annotators"] == before["lineage"]["annotators"] > 0
