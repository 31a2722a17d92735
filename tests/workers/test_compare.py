"""Comparisons of a round: which pairs are asked, each once, and what is made of the answers."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.db import connection

from engine.errors import BadInput
from engine.progress import silent
from engine.snippets import Snippet as Text
from tests.driving import WorkerKilled, killed_at
from webapi.models import (
    Annotator,
    Batch,
    Classifier,
    Corpus,
    Job,
    Label,
    Policy,
    Preference,
    Round,
    Snippet,
    SplitName,
    Stage,
    Task,
)
from workers import compare
from workers.aggregate import aggregate_round
from workers.artifacts import round_path
from workers.compared_pairs import Pair, pairs_of, wins_of
from workers.generate import alternates_path
from workers.jobs import JobRun
from workers.record import Answer, record_labels
from workers.round_settings import comparing_adapter, round_settings
from workers.sweep import sweep

pytestmark = pytest.mark.django_db
PROMPT = "He took the knife. She cut the bread. They sat down."
DRAWS = 12


@pytest.fixture
def make_round(
    policy: Policy, make_snippets: Callable[..., list[Snippet]], gauntlet_home: Path
) -> Callable[..., Round]:
    """A calibrated round with alternates of its validation prompts: those of the first prompt are all accepted, of the
    second none. The fourth completion of each is empty; the third pair of the first prompt is its first one, turned.
    """

    def make(adapter: str = "pull", prompts: int = 3, **quality: Any) -> Round:
        config = round_settings(
            {
                "sizes": {"validation_prompts": prompts, "validation_completions": DRAWS},
                "labeling": {"adapter": adapter},
                "quality": quality,
            }
        ).model_dump(mode="json")
        round_ = Round.objects.create(
            name="r", policy=policy, corpus=Corpus.objects.create(name="c"), config=config, state="paused"
        )
        rows = make_snippets(prompts, split="validation", source="corpus")
        table: list[tuple[str, str, str]] = []
        for n, row in enumerate(rows):
            texts = [f"Completion number {n} {k} was told." for k in range(DRAWS)]
            texts[3] = ""
            if n == 0:
                texts[4:6] = texts[1], texts[0]
            table += [(str(row.pk), PROMPT, text) for text in texts]
        columns = [list(column) for column in zip(*table, strict=True)]
        path = alternates_path(round_, SplitName.VALIDATION)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns, names=["prompt_id", "prompt", "completion"]), path)
        logits = np.where(np.arange(prompts)[:, None] == 1, 5.0, -5.0) + np.arange(DRAWS) / 100
        logits[:, 3] = 1e4
        (path.parent / "logits").mkdir()
        for condition in ("baseline", "+paraphrases"):
            Classifier.objects.create(
                policy=policy, round=round_, name=condition, condition=condition, encoder="e", threshold=0.5
            )
            np.save(round_path(round_, f"logits/{condition}-validation.npy"), logits.astype(np.float32).ravel())
        for position, name in enumerate(("compare", "quality")):
            Stage.objects.create(round=round_, name=name, position=position, state="running")
        return round_

    return make


def run_of(round_: Round, stage: str, shard: str = "0") -> JobRun:
    found = round_.stages.get(name=stage)
    job, _ = Job.objects.get_or_create(kind="stage", stage=found, shard=shard, defaults={"state": "running"})
    return JobRun(job)


def answer_all(round_: Round, choice: Callable[[Task], str], names: Sequence[str] = ("ann",)) -> None:
    people = [Annotator.objects.get_or_create(name=n, vendor="acme", external_id=n)[0] for n in names]
    tasks = Task.objects.filter(batch__round=round_, state="open").select_related("snippet", "rival")
    record_labels([Answer(task.pk, one.pk, choice(task)) for task in tasks for one in people])


def test_hard_prompts_have_more_pairs_and_some_need_nobody(make_round: Callable[..., Round]) -> None:
    round_ = make_round()
    pairs = pairs_of(round_, silent)
    by_prompt = [len(list(group)) for _, group in itertools.groupby(pairs, key=lambda pair: pair.prompt)]
    assert by_prompt == [4, 6, 4], "at least 4, and all there are where none is accepted"
    assert [(pair.first, pair.second) for pair in pairs[:4]] == [(0, 1), (2, 3), (4, 5), (6, 7)]
    assert [pair.decided for pair in pairs] == [None, 1.0, None, None, None, 1.0, *[None] * 5, 1.0, None, None]
    assert pairs_of(round_, silent) == pairs


@pytest.mark.parametrize(
    ("texts", "expected"), [(("", ""), 0.5), (("", "x y"), 0.0), (("x  y", "x y"), 0.5), (("x\0", "y"), 0.0)]
)
def test_what_needs_nobody(texts: tuple[str, str], expected: float) -> None:
    one, other = (Text(PROMPT, text) for text in texts)
    assert Pair(uuid.uuid4(), 0, 1, (one, other)).decided == expected
    assert Pair(uuid.uuid4(), 0, 1, (other, one)).decided == 1 - expected


def test_each_pair_is_asked_once_and_its_completions_join_nothing(make_round: Callable[..., Round]) -> None:
    round_ = make_round()
    assert compare.send(run_of(round_, "compare")) == {"comparisons": 10}
    compare.send(run_of(round_, "compare"))
    batch = Batch.objects.get()
    assert (batch.kind, batch.adapter, batch.state, batch.tasks.count()) == ("compare", "pull", "open", 10)
    assert compare.settle(round_.stages.get(name="compare")) is None
    made = Snippet.objects.filter(source="generated")
    assert made.count() == 20
    assert set(made.values_list("split", "prompt")) == {("validation", PROMPT)}
    assert not made.filter(memberships__round=round_).exists()
    answer_all(round_, lambda task: "left")
    assert compare.settle(round_.stages.get(name="compare")) == {"comparisons": 10}
    assert (Preference.objects.count(), Label.objects.count()) == (10, 0)
    assert aggregate_round(run_of(round_, "compare")) == {"consensus": 0}


def test_an_answer_counts_for_whoever_it_named(make_round: Callable[..., Round]) -> None:
    """Everybody prefers the completion whose text comes first in the alphabet."""
    round_ = make_round()
    compare.send(run_of(round_, "compare"))
    answer_all(round_, lambda task: "left" if task.snippet.completion < task.rival.completion else "right")  # type: ignore[union-attr]
    wins = wins_of(round_, pairs_of(round_, silent))
    assert wins[:4] == [1.0, 1.0, 0.0, 1.0], "the third pair is the first, turned"
    assert wins[4:] == [
        pair.decided if pair.decided is not None else float(pair.texts[0].completion < pair.texts[1].completion)
        for pair in pairs_of(round_, silent)[4:]
    ]


def test_several_answers_are_averaged_and_a_changed_one_counts_as_it_stands(make_round: Callable[..., Round]) -> None:
    round_ = make_round()
    compare.send(run_of(round_, "compare"))
    Task.objects.update(wanted=2)
    answer_all(round_, lambda task: "left", names=("ann", "bob"))
    one = Preference.objects.filter(annotator__name="bob").order_by("-snippet__completion").first()
    assert one is not None
    Preference.objects.create(
        task=one.task, snippet=one.snippet, rival=one.rival, annotator=one.annotator, choice="equally_bad", revision=1
    )
    pairs = pairs_of(round_, silent)
    text = one.snippet.text
    (pair,) = [pair for pair in pairs[4:] if text in pair.texts]
    assert wins_of(round_, pairs)[pairs.index(pair)] == (0.75 if pair.texts[0] == text else 0.25)


def test_quality_is_told_of_both_classifiers_and_told_again_alike(make_round: Callable[..., Round]) -> None:
    round_ = make_round()
    compare.send(run_of(round_, "compare"))
    answer_all(round_, lambda task: "equally_good")
    assert compare.measure(run_of(round_, "quality")) == {"comparisons": 14}
    found = [row.metrics["quality"] for row in round_.classifiers.order_by("pk")]
    assert found[0] == found[1]
    told = found[0]
    assert (told["asked"], told["decided"], told["unanswered"], told["prompts"], told["note"]) == (11, 3, 0, 3, "")
    # Of the first and the third prompt 7 of 8 are accepted: 6 ties and one that won against an empty one.
    assert told["in_use"]["estimate"] == pytest.approx(2 / 3 * (6 * 0.5 + 1) / 7)
    assert (told["in_use"]["failures"], told["in_use"]["n"]) == (1, 3)
    assert told["curve"][-1][1] == 0.5
    compare.measure(run_of(round_, "quality"))
    assert [row.metrics["quality"] for row in round_.classifiers.order_by("pk")] == found


def test_what_nobody_answered_is_left_out_and_said(make_round: Callable[..., Round]) -> None:
    round_ = make_round()
    compare.send(run_of(round_, "compare"))
    assert compare.measure(run_of(round_, "quality")) == {"comparisons": 3}
    told = round_.classifiers.first().metrics["quality"]  # type: ignore[union-attr]
    assert (told["asked"], told["decided"], told["unanswered"]) == (0, 3, 11)


@pytest.mark.parametrize("changed", [{"prompts": 0}, {"adapter": "surge"}])
def test_without_anybody_who_compares_nothing_is_asked(make_round: Callable[..., Round], changed: Any) -> None:
    round_ = make_round(changed.get("adapter", "pull"))
    round_.config["quality"]["prompts"] = changed.get("prompts", 100)
    round_.save()
    assert compare.send(run_of(round_, "compare")) == {"comparisons": 0}
    assert compare.settle(round_.stages.get(name="compare")) == {"comparisons": 0}
    assert compare.measure(run_of(round_, "quality")) == {"comparisons": 0}
    assert not Batch.objects.exists()
    assert all("quality" not in row.metrics for row in round_.classifiers.all())


def test_who_compares_is_who_labels_if_it_can_or_whoever_is_named() -> None:
    def who(**settings: Any) -> str | None:
        return comparing_adapter(round_settings(settings))

    assert who() == "simulated"
    assert who(labeling={"adapter": "pull"}) == "pull"
    assert who(labeling={"adapter": "surge"}) is None
    assert who(labeling={"adapter": "surge"}, quality={"adapter": "pull"}) == "pull"
    assert who(quality={"prompts": 0}) is None
    for wrong, message in (
        ({"adapter": "surge"}, "surge takes no comparisons; pull, simulated do"),
        ({"adapter": "nobody"}, "unknown labeling adapter"),
        ({"prompts": 1}, "0, or at least 2"),
    ):
        with pytest.raises(BadInput, match=message):
            round_settings({"quality": wrong})


@pytest.mark.django_db(transaction=True)
def test_killed_at_any_statement_and_swept_it_asks_for_everything_once(make_round: Callable[..., Round]) -> None:
    round_ = make_round()
    for statement in itertools.count():
        Task.objects.all().delete()
        Batch.objects.all().delete()
        Snippet.objects.filter(source="generated").delete()
        died = False
        with connection.execute_wrapper(killed_at(statement)):
            try:
                compare.send(run_of(round_, "compare", str(statement)))
            except WorkerKilled:
                died = True
        sweep()
        compare.send(run_of(round_, "compare", str(statement)))
        sweep()
        assert [(batch.state, batch.tasks.count()) for batch in Batch.objects.all()] == [("open", 10)]
        if not died:
            break
    assert statement > 10
