"""The loop's order: stages begin once, end once, and wait for nobody but people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.errors import BadInput
from tests.driving import new_round
from webapi.errors import DomainError
from webapi.models import Batch, Job, JobState, Round, RoundState, Snippet, StageState, Task
from webapi.services.rounds import round_cancel
from workers import rounds
from workers.jobs import JobRun
from workers.rounds import StageSpec
from workers.sweep import run_due_job, sweep

pytestmark = pytest.mark.django_db


class Script:
    """Three stages of which a test decides what happens: two shards, one that waits, one plain."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, str]] = []
        self.broken: set[str] = set()
        self.people_are_done = False

    def run(self, run: JobRun) -> dict[str, Any]:
        self.ran.append((run.stage.name, run.job.shard))
        if run.job.shard in self.broken:
            raise BadInput("broken", where=run.job.shard)
        return {"made": 2, "last": run.job.shard}

    def settle(self, stage: object) -> dict[str, Any] | None:
        return {"labels": 5} if self.people_are_done else None

    @property
    def stages(self) -> tuple[StageSpec, ...]:
        return (
            StageSpec("ingest", "default", self.run, plan=lambda _: {"a": {}, "b": {}}),
            StageSpec("label", "default", self.run, settle=self.settle),
            StageSpec("report", "training", self.run),
        )


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    script = Script()
    monkeypatch.setattr(rounds, "STAGES", script.stages)
    monkeypatch.setattr(rounds, "_SPECS", {spec.name: spec for spec in script.stages})
    return script


@pytest.fixture
def round_(script: Script, tmp_path: Path) -> Round:
    round_ = new_round(tmp_path)
    rounds.start(round_)
    return round_


def work() -> None:
    while run_due_job():
        pass


def states(round_: Round) -> list[str]:
    return list(round_.stages.order_by("position").values_list("state", flat=True))


def test_a_round_runs_its_stages_in_order_and_waits_for_people(script: Script, round_: Round) -> None:
    work()
    assert script.ran == [("ingest", "a"), ("ingest", "b"), ("label", "0")]
    assert states(round_) == ["succeeded", "waiting", "pending"]
    assert not run_due_job(), "nobody is held while people label"
    script.people_are_done = True
    sweep()
    work()
    round_.refresh_from_db()
    assert script.ran[3:] == [("report", "0")]
    assert (round_.state, states(round_)) == (RoundState.SUCCEEDED, ["succeeded"] * 3)
    assert round_.stages.get(name="ingest").result == {"made": 4, "last": "b"}
    assert round_.stages.get(name="label").result == {"labels": 5}
    assert list(round_.stages.values_list("runs", flat=True)) == [1, 1, 1]


def test_advancing_any_number_of_times_changes_nothing(script: Script, round_: Round) -> None:
    for _ in range(3):
        rounds.start(round_)
        rounds.advance(round_.pk)
    assert Job.objects.filter(stage__round=round_).count() == 2
    assert round_.stages.count() == 3
    assert script.ran == []


def test_a_failed_shard_fails_the_round_and_retry_runs_only_it(script: Script, round_: Round) -> None:
    script.broken = {"b"}
    work()
    round_.refresh_from_db()
    assert (round_.state, round_.error) == (RoundState.FAILED, "ingest: b: broken")
    assert states(round_) == ["failed", "pending", "pending"]
    script.broken = set()
    assert round_.retry() is True
    assert round_.retry() is False
    rounds.advance(round_.pk)
    work()
    assert script.ran == [("ingest", "a"), ("ingest", "b"), ("ingest", "b"), ("label", "0")]


def test_a_paused_round_begins_nothing_and_goes_on_where_it_was(script: Script, round_: Round) -> None:
    assert run_due_job()
    assert round_.pause() is True
    assert not run_due_job()
    sweep()
    assert not run_due_job()
    assert round_.resume() is True
    work()
    assert script.ran == [("ingest", "a"), ("ingest", "b"), ("label", "0")]


def test_a_job_that_ends_after_the_pause_is_not_lost(script: Script, round_: Round) -> None:
    job = Job.claim(Job.objects.order_by("pk")[0].pk, worker="w")
    assert job is not None
    round_.pause()
    assert job.succeed({"made": 1}) is True
    round_.resume()
    work()
    assert round_.stages.get(name="ingest").result == {"made": 3, "last": "b"}


def test_a_cancelled_round_begins_nothing_more(script: Script, round_: Round) -> None:
    assert round_.cancel() is True
    sweep()
    assert not run_due_job()
    assert round_.resume() is False
    assert script.ran == []


def test_cancelling_takes_the_open_tasks_back(round_: Round) -> None:
    batch = Batch.objects.create(policy=round_.policy, round=round_, name="initial")
    snippet = Snippet.objects.create(
        policy=round_.policy, completion="x", content_hash="h", root_hash="h", source="manual", split="train"
    )
    Task.objects.create(batch=batch, snippet=snippet)
    round_cancel(round_=round_)
    batch.refresh_from_db()
    assert (batch.state, Task.objects.get().state) == ("cancelled", "cancelled")
    with pytest.raises(DomainError):
        round_cancel(round_=round_)


def test_cancelling_stops_a_job_under_way(script: Script, round_: Round, monkeypatch: pytest.MonkeyPatch) -> None:
    from workers.jobs import JobEnded

    job = Job.claim(Job.objects.order_by("pk")[0].pk, worker="w")
    assert job is not None
    run = JobRun(job)
    round_.cancel()
    run.beat()
    with pytest.raises(JobEnded):
        run.progress(1, 2)


def test_a_plan_that_fails_fails_the_round(script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def plan(stage: object) -> dict[str, dict[str, Any]]:
        raise BadInput("nothing to do", where="plan")

    broken = (StageSpec("ingest", "default", script.run, plan=plan),)
    monkeypatch.setattr(rounds, "STAGES", broken)
    monkeypatch.setattr(rounds, "_SPECS", {spec.name: spec for spec in broken})
    round_ = new_round(tmp_path)
    rounds.start(round_)
    round_.refresh_from_db()
    assert (round_.state, round_.error) == (RoundState.FAILED, "ingest: plan: nothing to do")
    assert states(round_) == [StageState.FAILED]
    assert not Job.objects.filter(state=JobState.QUEUED).exists()
