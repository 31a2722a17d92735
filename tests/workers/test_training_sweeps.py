"""Sweeps: every run a row, the lowest picked by one half of the mix, killed and resumed without repeating anything."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.utils import timezone

from engine.errors import BadInput, Damaged
from tests.driving import WorkerKilled
from tests.sweeping import labelled, new_sweep, sweepable, tiny_encoder, work
from webapi.errors import DomainError
from webapi.models import Classifier, Consensus, DatasetSnapshot, Job, JobState, Policy, Snippet, Sweep, TrainingRun
from webapi.services.sweeps import sweep_cancel, sweep_create, sweep_retry
from workers import training_sweeps, validation_mix
from workers.jobs import JobRun
from workers.scoring import load_classifier
from workers.snapshots import training_rows
from workers.sweep import run_due_job
from workers.validation_mix import read_mix

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def snapshot(policy: Policy, gauntlet_home: Path, encoder: Path, settings: Any) -> DatasetSnapshot:
    settings.JOB_LEASE_SECONDS = 3600  # the test's transaction holds the database: no heartbeat could be written
    return sweepable(policy, gauntlet_home, encoder)


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, int]]:
    """Learning rate and seed of each training that was asked for, in order."""
    seen: list[tuple[float, int]] = []
    train = training_sweeps.train

    def noted(examples: Any, recipe: Any, **kwargs: Any) -> Any:
        seen.append((recipe.learning_rate, recipe.seed))
        return train(examples, recipe, **kwargs)

    monkeypatch.setattr(training_sweeps, "train", noted)
    return seen


def test_every_run_is_a_row_and_the_lowest_is_picked(
    snapshot: DatasetSnapshot, trainings: list[tuple[float, int]]
) -> None:
    sweep = new_sweep(snapshot)
    assert [(run.learning_rate, run.seed, run.state) for run in sweep.runs.all()] == [
        (1e-3, 0, "pending"),
        (1e-3, 1, "pending"),
        (1e-2, 0, "pending"),
        (1e-2, 1, "pending"),
    ]
    work()
    sweep.refresh_from_db()
    assert (sweep.state, sweep.error) == ("succeeded", "")
    assert trainings == [(1e-3, 0), (1e-3, 1), (1e-2, 0), (1e-2, 1)]
    runs = list(sweep.runs.all())
    assert {run.state for run in runs} == {"succeeded"}
    best = min(runs, key=lambda run: (run.fnr, run.log_loss))
    assert sweep.picked == best
    assert [run.pk for run in runs if run.classifier_id] == [best.pk]
    row = Classifier.objects.get(training_run=best)
    assert (row.round, row.condition, row.snapshot, row.threshold) == (sweep.round, "sweep", snapshot, best.threshold)
    assert (row.recipe["learning_rate"], row.recipe["seed"]) == (best.learning_rate, best.seed)
    assert row.environment["packages"]["numpy"] == np.__version__
    assert row.artifact == best.artifact
    assert sweep.result["fnr"] == best.metrics["choosing"]["fnr"]
    assert sweep.result["fnr_confirmed"] == best.metrics["confirming"]["fnr"]
    assert sweep.result["sources"] == ["in distribution", "paraphrase"]
    assert set(sweep.jobs.values_list("state", flat=True)) == {"succeeded"}
    assert not (best.artifact.file / "checkpoints").exists()


def test_a_runs_figures_are_those_of_its_classifier(snapshot: DatasetSnapshot) -> None:
    """Counted anew from the weights in the store."""
    sweep = new_sweep(snapshot, learning_rates=[1e-2], seeds=[3])
    work()
    sweep.refresh_from_db()
    run, row = sweep.runs.get(), Classifier.objects.get(condition="sweep")
    read = read_mix(sweep.mix)  # type: ignore[arg-type]
    logits, at = load_classifier(row).logits(read.texts), np.log(run.threshold / (1 - run.threshold))
    for half, name in ((read.mix.choosing, "choosing"), (~read.mix.choosing, "confirming")):
        shares = []
        for source in ("in distribution", "paraphrase"):
            rows = half & (read.mix.sources == source) & read.mix.failures
            told = run.metrics[name]["by_source"][source]
            assert (told["failures"], told["n"]) == (int((logits[rows] < at).sum()), int(rows.sum()))
            shares.append(float((logits[rows] < at).mean()))
        assert run.metrics[name]["fnr"]["estimate"] == pytest.approx(np.mean(shares))
    assert run.fnr == run.metrics["choosing"]["fnr"]["estimate"]
    assert run.metrics["calibration"]["target"] == 0.5
    assert run.metrics["calibration"]["kl"]["estimate"] <= 0.5


def test_the_mix_is_validation_alone_and_halved_by_origin(snapshot: DatasetSnapshot, policy: Policy) -> None:
    labelled(policy, "validation", 90, choice="Unsure")
    labelled(policy, "validation", 93, details={"validation": "enriched"})
    labelled(policy, "test", 96)
    sweep = new_sweep(snapshot, learning_rates=[1e-2], seeds=[0])
    work()
    sweep.refresh_from_db()
    read = read_mix(sweep.mix)  # type: ignore[arg-type]
    wanted = Snippet.objects.filter(split="validation", consensus__choice__in=["Yes", "No"], details={})
    assert len(read.texts) == wanted.count() == 32
    roots = read.mix.clusters
    assert not set(roots[read.mix.choosing]) & set(roots[~read.mix.choosing])
    assert len(read.examples()) == int(read.mix.choosing.sum())


def test_a_mix_that_was_changed_is_refused(snapshot: DatasetSnapshot) -> None:
    sweep = new_sweep(snapshot, learning_rates=[1e-2], seeds=[0])
    run_due_job()
    sweep.refresh_from_db()
    assert sweep.state == "running"
    file = sweep.mix.file  # type: ignore[union-attr]
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(Damaged):
        read_mix(sweep.mix)  # type: ignore[arg-type]
    work()
    sweep.refresh_from_db()
    assert sweep.state == "failed"
    assert "mix.parquet: its SHA-256 should be" in sweep.error


def test_a_run_that_diverges_leaves_the_others_alone(
    snapshot: DatasetSnapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = training_sweeps.train

    def diverging(examples: Any, recipe: Any, **kwargs: Any) -> Any:
        if recipe.learning_rate == 1e-2:
            raise BadInput("training diverged at 0.01; use less", where="learning_rate")
        return train(examples, recipe, **kwargs)

    monkeypatch.setattr(training_sweeps, "train", diverging)
    sweep = new_sweep(snapshot)
    work()
    sweep.refresh_from_db()
    assert sweep.state == "succeeded"
    assert list(sweep.runs.values_list("state", flat=True)) == ["succeeded"] * 2 + ["failed"] * 2
    assert sweep.runs.get(position=3).error == "learning_rate: training diverged at 0.01; use less"
    assert (sweep.result["runs"], sweep.result["succeeded"], sweep.result["failed"]) == (4, 2, 2)
    assert sweep.picked is not None
    assert sweep.picked.learning_rate == 1e-3


def test_nothing_that_came_to_an_end_is_a_failure_and_can_be_retried(
    snapshot: DatasetSnapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = training_sweeps.train
    monkeypatch.setattr(training_sweeps, "train", lambda *args, **kwargs: (_ for _ in ()).throw(BadInput("no")))
    sweep = new_sweep(snapshot, seeds=[0])
    work()
    sweep.refresh_from_db()
    assert (sweep.state, sweep.error) == ("failed", "none of 2 runs came to an end; the first: no")
    assert not Classifier.objects.exists()
    monkeypatch.setattr(training_sweeps, "train", train)
    sweep_retry(sweep=sweep)
    work()
    sweep.refresh_from_db()
    assert (sweep.state, sweep.error) == ("succeeded", "")


@pytest.mark.parametrize("moment", ["trained", "measured", "end unsaid"])
def test_a_killed_sweep_goes_on_without_repeating_finished_runs(
    snapshot: DatasetSnapshot, trainings: list[tuple[float, int]], monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """The third job to come so far dies there, once."""
    seen = 0

    def dying(run: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == 3:
            raise WorkerKilled
        return run

    places = {"trained": (training_sweeps, "register"), "measured": (TrainingRun, "succeed")}
    owner, name = places.get(moment, (Job, "succeed"))
    whole = getattr(owner, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if moment != "end unsaid" or args[0].kind == "training_run":
            dying(args[0])
        return whole(*args, **kwargs)

    monkeypatch.setattr(owner, name, wrapped)
    sweep = new_sweep(snapshot)
    with pytest.raises(WorkerKilled):
        work()
    assert sweep.runs.filter(state="succeeded").count() == (3 if moment == "end unsaid" else 2)
    finished = dict(sweep.runs.filter(state="succeeded").values_list("position", "finished_at"))
    Job.objects.filter(state=JobState.RUNNING).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    Job.objects.filter(state=JobState.RUNNING).update(state=JobState.QUEUED)
    work()
    sweep.refresh_from_db()
    assert sweep.state == "succeeded"
    for position, at in finished.items():
        assert sweep.runs.get(position=position).finished_at == at
    again = 0 if moment == "end unsaid" else 1  # asked for once more, and found finished in its folder
    assert len(trainings) == 4 + again
    assert Classifier.objects.count() == 1


def test_jobs_run_again_change_nothing(snapshot: DatasetSnapshot, trainings: list[tuple[float, int]]) -> None:
    sweep = new_sweep(snapshot, seeds=[0])
    work()
    before = list(sweep.runs.values())
    for job in sweep.jobs.all():
        Job.objects.filter(pk=job.pk).update(state=JobState.QUEUED)
    work()
    assert list(sweep.runs.values()) == before
    assert len(trainings) == 2
    assert Classifier.objects.count() == 1


def test_a_cancelled_sweep_stops_and_goes_on_where_it_was(
    snapshot: DatasetSnapshot, trainings: list[tuple[float, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = new_sweep(snapshot)
    progress, beaten = JobRun.progress, 0

    def cancelling(run: JobRun, done: int, total: int) -> None:
        nonlocal beaten
        if run.job.shard == "001" and not beaten:
            beaten += 1
            sweep_cancel(sweep=sweep)
            run.beat()
        progress(run, done, total)

    monkeypatch.setattr(JobRun, "progress", cancelling)
    work()
    sweep.refresh_from_db()
    assert sweep.state == "cancelled"
    assert list(sweep.runs.values_list("state", flat=True)) == ["succeeded", "cancelled", "cancelled", "cancelled"]
    assert trainings == [(1e-3, 0), (1e-3, 1)]
    with pytest.raises(DomainError) as refused:
        sweep_cancel(sweep=sweep)
    assert refused.value.code == "sweep_finished"
    sweep_retry(sweep=sweep)
    work()
    sweep.refresh_from_db()
    assert sweep.state == "succeeded"
    assert trainings[2:] == [(1e-3, 1), (1e-2, 0), (1e-2, 1)]


def test_without_labelled_validation_snippets_nothing_is_chosen(snapshot: DatasetSnapshot) -> None:
    Consensus.objects.filter(snippet__split="validation").delete()
    labelled(snapshot.policy, "test", 0)
    sweep = new_sweep(snapshot)
    work()
    sweep.refresh_from_db()
    assert sweep.state == "failed"
    assert "nothing of the validation split" in sweep.error
    assert not sweep.runs.exclude(state="pending").exists()


def test_what_shares_its_origin_with_training_rows_is_refused(
    snapshot: DatasetSnapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database forbids it; a snapshot from elsewhere may know no better."""
    origin = Snippet.objects.filter(split="validation").values_list("root_hash", flat=True)[0]
    rows = [row._replace(root_hash=origin) for row in training_rows(snapshot)[:1]]
    monkeypatch.setattr(validation_mix, "training_rows", lambda _: rows)
    sweep = new_sweep(snapshot)
    work()
    sweep.refresh_from_db()
    assert sweep.state == "failed"
    assert sweep.error == "validation mix: 2 snippets share their origin with training rows"


def test_what_does_not_belong_together_is_refused(snapshot: DatasetSnapshot, policy: Policy) -> None:
    for asked, code in (
        ({"learning_rates": [0.0]}, BadInput),
        ({"learning_rates": [1e-3, 1e-3]}, BadInput),
        ({"seeds": []}, BadInput),
        ({"recipe": {"epochs": 0}}, BadInput),
        ({"precision": "int8"}, BadInput),
    ):
        with pytest.raises(code):
            sweep_create(snapshot=snapshot, settings=asked)
    with pytest.raises(DomainError, match="name a snapshot"):
        sweep_create(settings={})
    for name in ("", "  ", "x" * 65):
        with pytest.raises(BadInput, match="name: takes 1 to 64 characters"):
            sweep_create(snapshot=snapshot, settings={}, name=name)
    assert not Sweep.objects.exists()
    new_sweep(snapshot)
    with pytest.raises(DomainError) as taken:
        new_sweep(snapshot)
    assert taken.value.code == "name_taken"
    assert (Sweep.objects.count(), TrainingRun.objects.count(), Job.objects.count()) == (1, 4, 1)
