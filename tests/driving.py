"""Drives rounds in the test's own thread, so that a test decides when a worker looks, and when it dies."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from engine.policies import load_policy
from engine.simulation import StoryWorld
from webapi.models import (
    Classifier,
    Consensus,
    Corpus,
    DatasetSnapshot,
    Evaluation,
    Job,
    JobState,
    Label,
    Policy,
    Preference,
    Round,
    RoundState,
    Score,
    Snippet,
    Task,
)
from webapi.services.policies import policy_create
from workers import rounds
from workers.round_settings import PRESETS, round_settings
from workers.sweep import run_due_job, sweep

STORIES = 330


class WorkerKilled(BaseException):
    """Stands for SIGKILL: nothing in the job may catch it, nothing is tidied up."""


def killed_at(statement: int) -> Callable[..., Any]:
    """For `connection.execute_wrapper`: the worker dies at that statement of its next ones, the first is 0."""
    seen = itertools.count()

    def dying(execute: Callable[..., Any], *call: Any) -> Any:
        if next(seen) == statement:
            raise WorkerKilled
        return execute(*call)

    return dying


def hurry() -> None:
    """What waits is due; what died is found."""
    sweep()
    now = timezone.now()
    Job.objects.filter(state="queued", not_before__gt=now).update(not_before=now)


def _work_on() -> None:
    while run_due_job():
        hurry()


def killed_buying(evaluation: Evaluation, statement: int) -> None:
    """Drives the evaluation to its purchase; at that statement from there on the worker dies, and its lease ends."""
    while not evaluation.jobs.filter(kind="buy_labels").exists():
        run_due_job()
    with pytest.raises(WorkerKilled), connection.execute_wrapper(killed_at(statement)):
        _work_on()
    Job.objects.filter(state="running").update(lease_expires_at="2000-01-01T00:00Z")


def world_policy() -> Policy:
    """The injury policy, judged by the simulated story world."""
    spec = load_policy("injury").model_dump(mode="json")
    return policy_create(spec={**spec, "simulation": {**spec["simulation"], "judge": "story_world"}})


def world_corpus(home: Path, stories: int = STORIES) -> Corpus:
    """A small simulated story world on disk."""
    StoryWorld(0).write_stories(home / "stories", stories)
    return Corpus.objects.create(name="world", path=str(home / "stories"), simulated=True)


def new_round(home: Path, *, seed: int = 0, **overrides: Any) -> Round:
    """A tiny round that has not begun."""
    settings = {
        **PRESETS["tiny"],
        "attacks": [_told_by_the_world(one) for one in PRESETS["tiny"]["attacks"]],
        "held_out": {**PRESETS["tiny"]["held_out"], "paraphraser": {"name": "story_world"}},
        "training": {"epochs": 1, "export_int8": False},
        "precision": "fp32",
        **overrides,
    }
    config = round_settings(settings).model_dump(mode="json")
    return Round.objects.create(name="tiny", policy=world_policy(), corpus=world_corpus(home), config=config, seed=seed)


def _told_by_the_world(attack: dict[str, Any]) -> dict[str, Any]:
    if attack["name"] != "paraphrase":
        return attack
    return {**attack, "config": {**attack["config"], "paraphraser": {"name": "story_world"}}}


def drive(round_: Round, *, until: str | None = None, most: int = 500) -> Round:
    """Starts the round and runs what is due until it ends, or until the stage `until` has begun."""
    rounds.start(round_)
    for _ in range(most):
        round_.refresh_from_db()
        if round_.state not in (RoundState.PENDING, RoundState.RUNNING) or (until and begun(round_, until)):
            return round_
        sweep()
        if not run_due_job():  # whatever rests before it looks again need not
            Job.objects.filter(state=JobState.QUEUED).update(not_before=timezone.now())
    raise AssertionError(f"round does not end: {list(round_.stages.values_list('name', 'state'))}")


def begun(round_: Round, name: str) -> bool:
    """Whether the stage has begun."""
    return round_.stages.filter(name=name).exclude(state="pending").exists()


def fingerprint(round_: Round) -> dict[str, Any]:
    """What a round left behind, without ids and times: two rounds that did the same have the same."""
    labels = Label.objects.filter(task__batch__round=round_)
    preferences = Preference.objects.filter(task__batch__round=round_)
    return {
        "members": sorted(round_.members.values_list("snippet__content_hash", "pool", "selected")),
        "labels": sorted(labels.values_list("snippet__content_hash", "annotator__external_id", "choice")),
        "comparisons": sorted(
            preferences.values_list(
                "snippet__content_hash", "rival__content_hash", "annotator__external_id", "choice", "flipped"
            )
        ),
        "quality": sorted(
            (row.condition, json.dumps(row.metrics.get("quality"), sort_keys=True))
            for row in Classifier.objects.filter(round=round_)
        ),
        "certified": sorted(
            (row.name, row.classifier.condition, json.dumps(row.results["tiers"], sort_keys=True))
            for row in Evaluation.objects.filter(round=round_).exclude(kind="held_out").select_related("classifier")
        ),
        "tasks": sorted(Task.objects.filter(batch__round=round_).values_list("wanted", "labelled", "state")),
        "consensus": sorted(
            Consensus.objects.filter(snippet__memberships__round=round_).values_list("snippet__content_hash", "choice")
        ),
        "scores": sorted(
            (c, h, round(x, 4))
            for c, h, x in Score.objects.filter(classifier__round=round_).values_list(
                "classifier__condition", "snippet__content_hash", "logit"
            )
        ),
        "snapshots": sorted(
            (row.condition, row.size, json.dumps(row.counts, sort_keys=True))
            for row in DatasetSnapshot.objects.filter(round=round_)
        ),
        "thresholds": sorted(
            (c, round(t, 6)) for c, t in Classifier.objects.filter(round=round_).values_list("condition", "threshold")
        ),
        "snippets": Snippet.objects.filter(policy=round_.policy).count(),
        "jobs": sorted(Job.objects.filter(stage__round=round_).values_list("stage__name", "shard", "state")),
    }
