"""Where a round stands: the sentence, counts, rates and times to go; the funnel."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from webapi.models import (
    Annotator,
    Batch,
    Consensus,
    Corpus,
    Job,
    Label,
    Policy,
    Round,
    RoundSnippet,
    Snippet,
    Stage,
    Story,
)
from webapi.selectors.round_progress import round_funnel, round_progress
from webapi.selectors.round_words import duration

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 4, 15, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django.utils.timezone.now", lambda: NOW)


@pytest.fixture
def round_(policy: Policy) -> Round:
    made = Round.objects.create(
        name="Round 4",
        policy=policy,
        corpus=Corpus.objects.create(name="books"),
        state="running",
        started_at=NOW - timedelta(minutes=10),
    )
    states = {"ingest": "succeeded", "generate": "running", "label": "pending"}
    for position, (name, state) in enumerate(states.items()):
        Stage.objects.create(round=made, name=name, position=position, state=state, started_at=NOW)
    return made


def job(round_: Round, stage: str, **fields: object) -> Job:
    return Job.objects.create(kind="stage", stage=round_.stages.get(name=stage), **fields)


def waiting(round_: Round) -> Stage:
    """The round has come to its last labeling."""
    round_.stages.filter(name="generate").update(state="succeeded")
    round_.stages.filter(name="label").update(state="waiting")
    return round_.stages.get(name="label")


def test_jobs_under_way_give_counts_rate_and_end(round_: Round) -> None:
    begun = NOW - timedelta(seconds=20)
    job(round_, "generate", shard="0", state="succeeded", done=100, total=100, started_at=begun)
    job(round_, "generate", shard="1", state="running", done=40, total=100, started_at=begun)
    job(round_, "generate", shard="2", state="queued", total=100)
    progress = round_progress(round_)
    stage = progress.stages[1]
    assert (stage.done, stage.total, stage.rate) == (140, 300, 2.0)
    assert stage.eta == NOW + timedelta(seconds=80)
    assert progress.headline == "Round 4 is writing completions: 140 of 300"
    assert (progress.current, progress.eta, progress.finished_stages) == ("generate", stage.eta, 1)


def test_millions_are_told_as_a_share(round_: Round) -> None:
    job(round_, "generate", state="running", done=2_452_726, total=2_718_738, started_at=NOW)
    assert round_progress(round_).headline == "Round 4 is writing completions: 90 %"


def test_without_a_rate_there_is_no_end(round_: Round) -> None:
    job(round_, "generate", state="running", done=0, total=100, started_at=NOW)
    progress = round_progress(round_)
    assert (progress.stages[1].rate, progress.eta) == (None, None)
    assert progress.headline == "Round 4 is writing completions: 0 of 100"


def test_a_labeling_stage_counts_labels_of_all_its_batches(round_: Round, make_batch: Callable[..., Batch]) -> None:
    waiting(round_)
    batch = make_batch(3, wanted=2, round=round_, name="selected")
    make_batch(2, wanted=1, round=round_, name="held_out_attack")
    make_batch(5, round=round_, name="initial")
    Batch.objects.update(created_at=NOW - timedelta(hours=1))
    task = batch.tasks.first()
    for name in ("alice", "bob"):
        annotator = Annotator.objects.create(name=name)
        Label.objects.create(task=task, snippet=task.snippet, annotator=annotator, choice="No")
    batch.tasks.filter(pk=task.pk).update(taken=2, labelled=2)
    stage = round_progress(round_).stages[2]
    assert (stage.done, stage.total) == (2, 8)
    assert stage.rate == pytest.approx(2 / 600)
    assert stage.eta == NOW + timedelta(seconds=6 * 300)


@pytest.mark.parametrize(
    ("state", "line", "moving"),
    [
        ("pending", "Round 4 has not started yet", True),
        ("running", "Round 4 is writing completions", True),
        ("paused", "Round 4 is paused while writing completions", True),
        ("failed", "Round 4 stopped while writing completions", False),
        ("cancelled", "Round 4 was cancelled", False),
        ("succeeded", "Round 4 is finished, after 10 min", False),
    ],
)
def test_the_sentence_of_each_state(round_: Round, state: str, line: str, moving: bool) -> None:
    round_.state = state
    round_.finished_at = NOW
    if state == "failed":
        round_.stages.filter(name="generate").update(state="failed", error="no memory")
        round_.error = "generate: no memory"
    progress = round_progress(round_)
    assert (progress.headline, progress.moving) == (line, moving)
    assert progress.error == ("generate: no memory" if state == "failed" else "")


def test_a_paused_round_has_no_rate(round_: Round) -> None:
    job(round_, "generate", state="running", done=40, total=100, started_at=NOW - timedelta(seconds=20))
    round_.state = "paused"
    assert round_progress(round_).stages[1].rate is None


def test_progress_costs_the_same_for_any_number_of_batches_and_jobs(
    round_: Round, make_batch: Callable[..., Batch], django_assert_num_queries: Callable[[int], object]
) -> None:
    for number in range(6):
        make_batch(2, round=round_, name=f"batch {number}")
        job(round_, "generate", shard=str(number))
    with django_assert_num_queries(4):
        round_progress(round_)


def test_the_funnel_counts_what_got_how_far(
    round_: Round, policy: Policy, make_snippets: Callable[..., list[Snippet]]
) -> None:
    story = Story.objects.create(corpus=round_.corpus, name="the-ferry.txt")
    elsewhere = Story.objects.create(corpus=Corpus.objects.create(name="other"), name="another.txt")
    corpus, generated = make_snippets(5, story=story), make_snippets(4, first=10, source="generated")
    make_snippets(2, first=30, story=elsewhere)
    found = make_snippets(3, first=20, source="paraphrase")
    pools = [(corpus, "prompt"), (generated, "initial"), (found, "attack")]
    RoundSnippet.objects.bulk_create(
        RoundSnippet(round=round_, snippet=row, pool=pool, selected=row in found[:2])
        for rows, pool in pools
        for row in rows
    )
    for row, choice in ((generated[0], "Yes"), (found[0], "Yes"), (found[1], "Unsure")):
        Consensus.objects.create(snippet=row, choice=choice, rule="policy_rule", labels=1)
    assert [(step.key, step.count) for step in round_funnel(round_)] == [
        ("corpus", 5),
        ("generated", 4),
        ("labelled", 3),
        ("attack", 3),
        ("selected", 2),
        ("failures", 1),
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (89.4, "89 s"),
        (90, "2 min"),
        (89 * 60, "89 min"),
        (90 * 60, "1 h 30 min"),
        (7200, "2 h"),
        (47.6 * 3600, "47 h 36 min"),
        (49 * 3600, "2 days"),
    ],
)
def test_spans_of_time_as_people_say_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words
