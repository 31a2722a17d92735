"""Validation snippets for a sweep: drawn from validation text alone, labelled, re-told, and sent out once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.driving import WorkerKilled, drive, new_round
from webapi.models import Batch, BatchState, Job, Label, Round, Snippet, Sweep
from webapi.services.sweeps import sweep_cancel, sweep_create, sweep_retry
from workers import training_sweeps, validation_labels
from workers.conditions import baseline_of
from workers.snapshots import Composing, snapshot_of
from workers.sweep import run_due_job
from workers.sweep import sweep as look
from workers.validation_mix import read_mix

pytestmark = [pytest.mark.django_db, pytest.mark.slow]
WANTED = {"in_distribution": 40, "seeds": 30, "draws": 3}


@pytest.fixture
def round_(tmp_path: Path, gauntlet_home: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Round:
    """A round that has its first labels and is paused before it trains."""
    settings.JOB_LEASE_SECONDS = 3600
    monkeypatch.setattr(training_sweeps, "queue_runs", lambda sweep: None)
    # Not 0: the worker takes the oldest due job, and a job that is always due lets no other run.
    monkeypatch.setattr(validation_labels, "SOON", 0.2)
    round_ = drive(new_round(tmp_path), until="train_baseline")
    assert round_.pause()
    return round_


def sweep_of(round_: Round) -> Sweep:
    snapshot = snapshot_of(round_.policy, baseline_of(round_), Composing(), seed=0, round_=round_)
    return sweep_create(snapshot=snapshot, settings={"label": WANTED, "learning_rates": [1e-3], "seeds": [0]})


def prepared(sweep: Sweep, seconds: float = 300) -> Sweep:
    """Runs what is due until the sweep has its mix, or has ended."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        sweep.refresh_from_db()
        if sweep.state != "pending":
            return sweep
        look()
        if not run_due_job():
            time.sleep(0.05)
    raise AssertionError("the sweep is not prepared")


def test_what_is_labelled_is_validation_text_and_chosen_words_choose_nothing(round_: Round) -> None:
    before = set(Snippet.objects.filter(split="test").values_list("pk", flat=True))
    labels = Label.objects.count()
    sweep = prepared(sweep_of(round_))
    assert (sweep.state, sweep.error) == ("running", "")
    sent = Snippet.objects.filter(tasks__batch__name__startswith=f"sweep {sweep.pk} ").distinct()
    assert set(sent.values_list("split", flat=True)) == {"validation"}
    assert set(sent.values_list("source", flat=True)) == {"generated", "paraphrase"}
    assert not sent.filter(consensus=None).exists()
    assert Label.objects.count() > labels
    assert set(Snippet.objects.filter(split="test").values_list("pk", flat=True)) == before
    read = read_mix(sweep.mix)  # type: ignore[arg-type]
    enriched = sent.filter(details__validation="enriched")
    assert enriched.exists()
    random = sent.filter(source="generated").exclude(pk__in=enriched)
    assert random.count() <= WANTED["in_distribution"]
    texts = {text.content_hash for text in read.texts}
    assert not texts & set(enriched.values_list("content_hash", flat=True))
    retold = sent.filter(source="paraphrase", consensus__choice__in=["Yes", "No"])
    assert int((read.mix.sources == "paraphrase").sum()) == retold.count() > 0
    assert set(retold.values_list("parent__consensus__choice", flat=True)) == {"Yes"}
    assert "paraphrase" in read.mix.weighed


@pytest.mark.parametrize("place", ["_send", "freeze_mix"])
def test_killed_anywhere_it_sends_nothing_twice(round_: Round, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    owner: Any = validation_labels if place == "_send" else training_sweeps
    whole, killed = getattr(owner, place), []

    def dying(*args: Any, **kwargs: Any) -> Any:
        found = whole(*args, **kwargs)
        if not killed:
            killed.append(place)
            raise WorkerKilled
        return found

    monkeypatch.setattr(owner, place, dying)
    sweep = sweep_of(round_)
    with pytest.raises(WorkerKilled):
        prepared(sweep)
    Job.objects.filter(state="running").update(state="queued")
    prepared(sweep)
    assert sweep.state == "running"
    batches = Batch.objects.filter(name__startswith=f"sweep {sweep.pk} ")
    assert sorted(batches.values_list("name", "state")) == [
        (f"sweep {sweep.pk} first", "done"),
        (f"sweep {sweep.pk} retold", "done"),
    ]
    tasks = [pk for batch in batches for pk in batch.tasks.values_list("snippet", flat=True)]
    assert len(tasks) == len(set(tasks))


def test_cancelled_its_snippets_are_taken_back_and_retried_sent_anew(round_: Round) -> None:
    sweep = sweep_of(round_)
    first = Batch.objects.filter(name=f"sweep {sweep.pk} first")
    while not first.exists():  # what the round left to do comes first
        assert run_due_job()
    batch = first.get()
    assert batch.state == BatchState.OPEN
    sweep_cancel(sweep=sweep)
    batch.refresh_from_db()
    assert batch.state == BatchState.CANCELLED
    sweep_retry(sweep=sweep)
    assert prepared(sweep).state == "running"
