"""A whole round, embedded: undisturbed, with every job killed in its middle, and with every job run twice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from engine.attacks.paraphrase import retell
from engine.attacks.paraphrasers import make_paraphraser
from engine.generation.rejection import accepts
from tests.driving import WorkerKilled, drive, fingerprint, new_round
from webapi.models import (
    Artifact,
    AttackCandidate,
    Evaluation,
    Job,
    JobState,
    Label,
    Pool,
    Preference,
    Round,
    RoundState,
    Snippet,
    Task,
)
from webapi.selectors.rounds import known_failures
from workers.artifacts import round_path
from workers.execute import execute
from workers.jobs import JobRun
from workers.rounds import STAGES
from workers.scoring import logits_of, threshold_of

pytestmark = [pytest.mark.django_db, pytest.mark.slow]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, settings: Any) -> Path:
    settings.GAUNTLET_HOME = tmp_path
    settings.JOB_LEASE_SECONDS = 3600  # the test's transaction holds the database: no heartbeat could be written
    return tmp_path


@contextmanager
def undone() -> Iterator[None]:
    """What is written inside is rolled back."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


@contextmanager
def every_job_killed(patch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Each job dies at its second report of progress, then at its first, then with all done but its end unsaid."""
    killed: Counter[str] = Counter()
    reports: Counter[tuple[object, int]] = Counter()
    progress, succeed = JobRun.progress, Job.succeed

    def dying_progress(run: JobRun, done: int, total: int) -> None:
        attempt = run.job.attempts
        reports[run.job.pk, attempt] += 1
        if attempt <= 2 and reports[run.job.pk, attempt] == 3 - attempt:
            killed[f"{run.job.kind} {run.job.stage and run.job.stage.name}"] += 1
            raise WorkerKilled
        progress(run, done, total)

    def dying_succeed(job: Job, result: dict[str, object]) -> bool:
        if job.attempts < 4:
            killed[f"{job.kind} {job.stage and job.stage.name}"] += 1
            raise WorkerKilled
        return succeed(job, result)

    with patch.context() as patched:
        patched.setattr(JobRun, "progress", dying_progress)
        patched.setattr(Job, "succeed", dying_succeed)
        yield killed


def drive_through_kills(round_: Round) -> Round:
    while True:
        try:
            return drive(round_)
        except WorkerKilled:
            past = timezone.now() - timedelta(seconds=1)
            Job.objects.filter(state=JobState.RUNNING).update(lease_expires_at=past)


def test_killing_every_job_changes_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with undone():
        undisturbed = new_round(home)
        assert drive(undisturbed).state == RoundState.SUCCEEDED, undisturbed.error
        expected = fingerprint(undisturbed)
    round_ = new_round(home)
    with every_job_killed(monkeypatch) as killed:
        drive_through_kills(round_)
    assert round_.state == RoundState.SUCCEEDED, round_.error
    found = fingerprint(round_)
    for key, value in expected.items():
        assert found[key] == value, key
    assert set(killed) == {f"stage {spec.name}" for spec in STAGES} | {
        "collect_labels label_first",
        "collect_labels label",
        "collect_labels compare",
        "collect_labels label_after",
        "follow_labels None",
        "prepare_evaluation None",
        "draw_outputs None",
        "plan_labels None",
        "buy_labels None",
        "report_evaluation None",
        "send_batch None",
        "collect_labels None",
    }
    assert set(round_.stages.values_list("runs", flat=True)) == {1}, "no stage was repeated"


def test_a_round_keeps_its_promises_and_running_its_jobs_again_changes_nothing(home: Path) -> None:
    round_ = drive(new_round(home))
    assert round_.state == RoundState.SUCCEEDED, round_.error
    assert list(round_.stages.values_list("name", "state", "runs")) == [(s.name, "succeeded", 1) for s in STAGES]
    _labels_are_what_tasks_wanted(round_)
    _nothing_leaks_between_splits(round_)
    _the_held_out_set_is_whole(round_)
    _completions_were_compared(round_)
    _the_filters_are_certified(round_)
    _the_report_is_whole(round_)
    _the_cross_matrix_counts_what_attacks_found(round_)
    before, artifacts = fingerprint(round_), dict(Artifact.objects.values_list("path", "sha256"))
    evaluations = list(Evaluation.objects.order_by("pk").values_list("results", flat=True))
    for pk in list(Job.objects.filter(stage__round=round_).order_by("pk").values_list("pk", flat=True)):
        Job.objects.filter(pk=pk).update(state=JobState.QUEUED)
        assert execute(pk)
    assert fingerprint(round_) == before
    assert list(Evaluation.objects.order_by("pk").values_list("results", flat=True)) == evaluations
    changed = {p for p, digest in Artifact.objects.values_list("path", "sha256") if artifacts.get(p) != digest}
    assert {Path(path).name for path in changed} <= {"report.html", "report.json"}, "the report tells times"


def _the_filters_are_certified(round_: Round) -> None:
    """Each filter's failures, and the difference by labels where the two differ, lead back to people's answers."""
    rows = {row.kind: row for row in round_.evaluations.exclude(kind="held_out").order_by("pk")}
    assert set(rows) == {"failure_rate", "difference"}
    report = json.loads(round_path(round_, "report.json").read_text())["reliability"]
    found, difference = report["compared"]["found"], rows["difference"]
    assert found["prompts"] == 40
    assert difference.against_id == difference.parent.classifier_id
    assert report["difference"]["labels"] == Label.objects.filter(task__batch__evaluation=difference).count()
    for one in report["rates"].values():
        rate = one["tiers"]["estimate"]
        assert rate["n"] == one["outputs"]
        assert rate["low"] <= rate["estimate"] <= rate["high"] <= one["tiers"]["certificate"]["high"]
    assert report["compared"]["chained"]["upper"] >= found["only_second"]["estimate"]


def _labels_are_what_tasks_wanted(round_: Round) -> None:
    tasks = list(Task.objects.filter(batch__round=round_).values_list("wanted", "taken", "labelled", "state"))
    assert tasks
    assert all(row == (row[0], row[0], row[0], "done") for row in tasks)
    given = [kind.objects.filter(task__batch__round=round_).count() for kind in (Label, Preference)]
    assert sum(given) == sum(row[0] for row in tasks)
    assert all(given)
    assert set(Label.objects.values_list("annotator__simulated", flat=True)) == {True}


def _nothing_leaks_between_splits(round_: Round) -> None:
    splits: dict[str, set[str]] = {}
    for root, split in round_.members.values_list("snippet__root_hash", "snippet__split"):
        splits.setdefault(root, set()).add(split)
    assert all(len(found) == 1 for found in splits.values())
    pools = set(round_.members.values_list("pool", "snippet__split"))
    assert pools == {
        ("initial", "train"),
        ("candidate", "train"),
        ("attack", "train"),
        ("test", "test"),
        ("seed", "test"),
        ("attack_test", "test"),
        ("measured", "test"),
    }


def _the_held_out_set_is_whole(round_: Round) -> None:
    """An attack that is measured tells some of the same: they must not be taken out of the set that favours nobody."""
    seeds = [Snippet.objects.get(pk=pk).text for pk in known_failures(round_, Pool.TEST, Pool.SEED)]
    rules = round_.policy.rules
    retold = retell(seeds, make_paraphraser("story_world", rules, {}), 4, rules=rules.snippet_rules, seed=round_.seed)
    held_out = set(round_.members.filter(pool=Pool.ATTACK_TEST).values_list("snippet__content_hash", flat=True))
    assert held_out == {one.snippet.content_hash for one in retold} != set()
    measured = round_.attacks.filter(role="measuring", name="paraphrase")
    found = set(AttackCandidate.objects.filter(attack__in=measured).values_list("snippet__content_hash", flat=True))
    assert found & held_out, "else nothing is tested"


def _completions_were_compared(round_: Round) -> None:
    """None of them is a member of the round, and nobody labels them."""
    batch = round_.batches.get(kind="compare")
    assert (batch.name, batch.adapter, batch.state) == ("comparisons", "simulated", "done")
    asked = Snippet.objects.filter(tasks__batch=batch) | Snippet.objects.filter(rival_tasks__batch=batch)
    assert set(asked.values_list("split", "source")) == {("validation", "generated")}
    assert not asked.filter(memberships__round=round_).exists()
    assert not asked.filter(labels__task__batch__round=round_).exists()
    assert not asked.exclude(consensus=None).exists()
    for row in round_.classifiers.all():
        found = row.metrics["quality"]
        assert found["asked"] >= batch.tasks.count() > 0
        assert found["comparisons"] == found["asked"] + found["decided"]
        assert (found["unanswered"], found["prompts"], found["quality"]["n"]) == (0, 12, 12)
        assert found["curve"][-1][1:] == [0.5, 0.5, 0.5]


def _the_report_is_whole(round_: Round) -> None:
    content = json.loads(round_path(round_, "report.json").read_text())
    assert [one["name"] for one in content["classifiers"]] == ["baseline", "+paraphrases"]
    mine = Q(task__batch__round=round_) | Q(task__batch__evaluation__round=round_)
    assert content["labels"]["spent"] == Label.objects.filter(mine).count()
    assert all("imulated annotators compared" in one["quality"]["note"] for one in content["classifiers"])
    batches = {"initial", "test", "seed", "selected", "held_out_attack", "measured", "measured_after"}
    assert {name for name in content["labels"]["by_batch"] if " of " not in name} == batches
    assert "imulated" in content["round"]["simulated"]
    page = round_path(round_, "report.html").read_text()
    assert content["round"]["simulated"].split(".")[0] in page
    assert round_.summary["labels"] == content["labels"]["spent"]


def _the_cross_matrix_counts_what_attacks_found(round_: Round) -> None:
    """Each classifier accepts all that was found on it; of the rest as many as their scores say."""
    content = json.loads(round_path(round_, "report.json").read_text())["robustness"]
    cells = {(one["classifier"], one["set"]): one for one in content["false_negatives"]["cells"]}
    failure = round_.policy.rules.failure
    for condition in ("baseline", "+paraphrases"):
        found = AttackCandidate.objects.filter(attack__round=round_, attack__role="measuring")
        ids = set(
            found.filter(attack__classifier__condition=condition, snippet__consensus__choice=failure).values_list(
                "snippet_id", flat=True
            )
        )
        own = cells[condition, f"finds on {condition}"]
        assert ids
        assert own["own_target"]
        assert (own["credible"]["failures"], own["credible"]["n"]) == (len(ids), len(ids))
        for row in round_.classifiers.all():
            logits = logits_of(row, ids)
            accepted = int(accepts(list(logits.values()), threshold_of(row)).sum())
            assert cells[row.condition, f"finds on {condition}"]["credible"]["failures"] == accepted
    assert {"test set, in distribution", "re-tellings of held-out failures"} < set(content["false_positives"]["sets"])
