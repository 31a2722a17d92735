"""Scores kept in bulk: one file a shard, whole or not at all; whoever reads scores finds them as if they had rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from django.db import connection

from tests.driving import WorkerKilled, killed_at
from tests.selecting import run_stage, scored_round
from webapi.models import Policy, Round, Score, ScoreShard, Snippet, Stage, User
from workers import score, scoring
from workers.export_tables import export_of
from workers.score import choosable, plan
from workers.score_reading import scores_of, shard_rows
from workers.scoring import keep_rows, logits_of

pytestmark = pytest.mark.django_db


class LengthScorer:
    """Scores a text by its length, and counts."""

    def __init__(self) -> None:
        self.scored = 0

    def logits(self, texts: list[Any], **_: Any) -> Any:
        self.scored += len(texts)
        return np.array([len(text.text) / 7 - 9 for text in texts], dtype=np.float32)


@pytest.fixture
def scorer(monkeypatch: pytest.MonkeyPatch) -> LengthScorer:
    made = LengthScorer()
    monkeypatch.setattr(scoring, "load_classifier", lambda row: made)
    monkeypatch.setattr(scoring, "CHUNK", 8)
    monkeypatch.setattr(score, "SHARD", 32)
    return made


@pytest.fixture
def round_(policy: Policy) -> Round:
    """Ninety to choose from, of which ten have scores in rows."""
    round_ = scored_round(policy)
    Score.objects.exclude(snippet__in=choosable(round_)[:10]).delete()
    return round_


def scored(round_: Round) -> dict[str, Any]:
    stage, _ = Stage.objects.get_or_create(round=round_, name="score", defaults={"position": 7})
    for shard, args in plan(stage).items():
        stage.jobs.filter(shard=shard).delete()
        run_stage(round_, "score", lambda run, shard=shard: _named(run, shard), **args)
    return plan(stage)


def _named(run: Any, shard: str) -> dict[str, Any]:
    run.job.shard = shard
    return score.score(run)


def test_every_snippet_is_scored_once_and_read_as_if_it_had_a_row(round_: Round, scorer: LengthScorer) -> None:
    assert list(scored(round_)) == ["00000", "00001", "00002"]
    assert scorer.scored == 80
    row = round_.classifiers.get()
    ids = choosable(round_)
    assert Score.objects.count() == 10
    assert [shard.count for shard in ScoreShard.objects.order_by("pk")] == [32, 32, 26]
    known = logits_of(row, ids)
    assert set(known) == set(ids)
    snippets = Snippet.objects.in_bulk(ids)
    with_row = set(Score.objects.values_list("snippet", flat=True))
    for pk in ids:
        if pk not in with_row:
            assert known[pk] == pytest.approx(len(snippets[pk].text.text) / 7 - 9, abs=1e-5)
    scored(round_)
    assert scorer.scored == 80
    for shard in ScoreShard.objects.all():
        keys = shard_rows(shard).keys.tolist()
        assert keys == sorted(keys)
    assert logits_of(row, []) == {}
    assert logits_of(row, list(Snippet.objects.exclude(pk__in=ids).values_list("pk", flat=True))) == {}


def test_a_snippet_tells_its_scores_from_rows_and_shards(
    round_: Round, scorer: LengthScorer, rita: User, api: Any
) -> None:
    scored(round_)
    without = next(pk for pk in choosable(round_) if not Score.objects.filter(snippet=pk).exists())
    snippet = Snippet.objects.get(pk=without)
    (found,) = scores_of(snippet)
    assert found.classifier == round_.classifiers.get()
    shown = api(rita).get(f"/api/v1/snippets/{without}").json()["lineage"]["scores"]
    assert [(one["logit"], one["threshold"]) for one in shown] == [(found.logit, 0.1)]
    keep_rows(round_.classifiers.get(), [without])
    assert api(rita).get(f"/api/v1/snippets/{without}").json()["lineage"]["scores"] == shown


def test_the_export_holds_each_score_once(round_: Round, scorer: LengthScorer) -> None:
    scored(round_)
    row = round_.classifiers.get()
    keep_rows(row, choosable(round_)[:20])
    export = export_of("scores", {"classifier": str(row.pk)})
    rows = list(export.read({"classifier": str(row.pk)}).rows)
    assert sorted(line[0] for line in rows) == sorted(str(pk) for pk in choosable(round_))
    known = logits_of(row, choosable(round_))
    names = list(export.columns)
    for line in rows:
        told = dict(zip(names, line, strict=True))
        logit = next(value for pk, value in known.items() if str(pk) == told["snippet"])
        assert told["logit"] == pytest.approx(logit)
        assert told["score"] == pytest.approx(1 / (1 + np.exp(-logit)))
        assert told["content_hash"] == Snippet.objects.get(pk=told["snippet"]).content_hash
    of_round = export.read({"classifier": str(row.pk), "round": str(round_.pk)}).rows
    assert len(list(of_round)) == 90
    elsewhere = scored_round(round_.policy, candidates=1, finds=0)
    assert list(export.read({"classifier": str(row.pk), "round": str(elsewhere.pk)}).rows) == [
        line for line in rows if line[0] == str(choosable(elsewhere)[0])
    ]


@pytest.mark.parametrize("statement", [0, 2, 4, 6, 8, 10])
def test_killed_in_mid_shard_nothing_half_is_seen(round_: Round, scorer: LengthScorer, statement: int) -> None:
    try:
        with connection.execute_wrapper(killed_at(statement + 8)):
            scored(round_)
    except WorkerKilled:
        pass
    for shard in ScoreShard.objects.all():
        assert shard_rows(shard).keys.size == shard.count
    scored(round_)
    assert set(logits_of(round_.classifiers.get(), choosable(round_))) == set(choosable(round_))
    assert sum(shard.count for shard in ScoreShard.objects.all()) == 90


def test_jobs_of_an_earlier_version_are_understood(round_: Round, scorer: LengthScorer) -> None:
    ids = [str(pk) for pk in choosable(round_)[:20]]
    run_stage(round_, "score", lambda run: _named(run, "00000"), ids=ids)
    assert ScoreShard.objects.get().count == 20


def test_a_damaged_shard_is_scored_again(round_: Round, scorer: LengthScorer) -> None:
    scored(round_)
    shard = ScoreShard.objects.order_by("pk")[1]
    shard.artifact.file.write_bytes(b"x")
    scored(round_)
    assert set(logits_of(round_.classifiers.get(), choosable(round_))) == set(choosable(round_))
    assert ScoreShard.objects.count() == 3
