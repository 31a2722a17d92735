"""An evaluation whose labels a vendor gives: its batches are sent and launched by themselves, and confirmed there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.driving import hurry
from tests.labeling_adapters.webhook_vendor_harness import WebhookVendorHarness
from tests.workers.test_evaluations import created, guard
from webapi.models import Annotator, Classifier, Evaluation, Job, Label, Task
from webapi.services.evaluations import evaluation_report
from workers.evaluation_buying import at_work, fresh_of
from workers.evaluation_purchase import snippets_of
from workers.sweep import run_due_job

__all__ = ["guard"]
pytestmark = pytest.mark.django_db
ROUNDS = 4
"""So often everything that waits looks again: sent, launched, collected, bought on."""


@pytest.fixture
def vendor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[WebhookVendorHarness]:
    settings.JOB_LEASE_SECONDS = 3600
    for name, value in WebhookVendorHarness.environment.items():
        monkeypatch.setenv(name, value)
    with WebhookVendorHarness(tmp_path / "vendor") as harness:
        yield harness


def go_on(evaluation: Evaluation) -> Evaluation:
    for _ in range(ROUNDS):
        hurry()
        for _ in range(10):
            if not run_due_job():
                break
    return Evaluation.objects.get(pk=evaluation.pk)


def test_a_vendor_labels_and_confirms_with_nobody_pressing_launch(
    guard: Classifier, vendor: WebhookVendorHarness
) -> None:
    about = {"adapter": "webhook_vendor", "config": dict(vendor.config), "confirmations": 2}
    evaluation = go_on(created(guard, **about))
    assert (evaluation.state, evaluation.error) == ("labelling", "")
    assert list(vendor.fake.states.values()) == ["in_progress"], "launched, though nobody asked for it"
    first = list(Task.objects.filter(batch__evaluation=evaluation))
    assert sorted(vendor.holds()) == sorted(str(task.pk) for task in first)
    assert {task.wanted for task in first} == {1}
    suspects = {task.snippet_id for task in first[:2]}
    for task in first:
        vendor.answer(str(task.pk), "ann", "Yes" if task.snippet_id in suspects else "No")
    evaluation = go_on(evaluation)
    assert evaluation.state == "labelling"
    later = Task.objects.filter(batch__evaluation=evaluation).exclude(pk__in=[task.pk for task in first])
    assert {task.snippet_id: task.wanted for task in later} == dict.fromkeys(suspects, 2)
    assert set(vendor.fake.states.values()) == {"in_progress"}
    one, other = later
    for task, said in ((one, "Yes"), (other, "No")):
        assert vendor.keeps_out(str(task.pk)) == {"ann"}, "who suspected does not confirm"
        vendor.answer(str(task.pk), "ben", said)
        vendor.answer(str(task.pk), "cleo", said)
    evaluation = go_on(evaluation)
    assert (evaluation.state, evaluation.error) == ("succeeded", "")
    report = evaluation_report(evaluation)
    assert (report["confirming"]["suspected"], report["confirming"]["confirmed"]) == _of(evaluation, suspects, one)
    assert report["bought"]["labels"] == Label.objects.count() == len(first) + 4
    assert report["notice"] is None, "these labels are nobody's simulation"
    assert {row.vendor for row in Annotator.objects.all()} == {"webhook_vendor"}
    assert Job.objects.filter(kind="move_batch", state="succeeded").count() == evaluation.batches.count() == 2


def _of(evaluation: Evaluation, suspects: set[Any], confirmed: Task) -> tuple[int, int]:
    """Outputs of the two suspected texts and of the confirmed one: several outputs may be one text."""

    work = at_work(fresh_of(evaluation.pk))
    keys = snippets_of(work.buying, work.order[: evaluation.bought])
    return sum(key in suspects for key in keys), sum(key == confirmed.snippet_id for key in keys)
