"""Sampling jobs: decisions equal to the classifier's own, shards not repeated, totals told, wrong prompts refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from engine.evaluation.rates import clopper_pearson
from engine.generation.rejection import logit_cutoff
from engine.progress import silent
from engine.snippets import Snippet as SnippetText
from tests.attacking import Victim, victim
from tests.driving import WorkerKilled
from tests.engine.tiny_encoders import examples
from tests.tuning import in_this_process, small_corpus, tuned
from webapi.errors import DomainError
from webapi.models import Classifier, Corpus, Job, Policy, Round, Snippet, Story
from webapi.services.classifiers import classifier_score
from webapi.services.generators import sampling_create
from webapi.services.promotions import classifier_promote
from workers import sample as sample_job
from workers.execute import execute
from workers.sample import Sampling, samples_path

pytestmark = pytest.mark.django_db
PROMPTS = [f"The old man walked to the {place}." for place in ("hall", "yard", "barn", "road", "mill", "inn", "ford")]
DRAWN = [one.snippet.completion for one in examples(40)]


class Drawing:
    """Completions that the classifier knows, by chance; one in nine is silence."""

    calls = 0

    def complete(self, prompts, n, *, seed, progress=silent):
        type(self).calls += 1
        rng = np.random.default_rng([seed, 7])
        return [["" if rng.random() < 1 / 9 else str(rng.choice(DRAWN)) for _ in range(n)] for _ in prompts]


@pytest.fixture
def guard(policy: Policy, gauntlet_home: Path, monkeypatch: pytest.MonkeyPatch) -> Classifier:
    """A serving classifier that rejects about half of what is drawn."""
    found: Victim = victim(policy, gauntlet_home)
    logits = [one.logit for one in classifier_score(
        classifier=found.classifier, snippets=[SnippetText(p, c) for p in PROMPTS for c in set(DRAWN)]
    )]  # fmt: skip
    middle = float(np.median(logits))
    Classifier.objects.update(threshold=1 / (1 + math.exp(-middle)))
    found.classifier.refresh_from_db()
    monkeypatch.setattr(sample_job, "load_generator", lambda *_, **__: Drawing())
    monkeypatch.setattr(Drawing, "calls", 0)
    return classifier_promote(classifier=found.classifier)


def asked(**given: Any) -> Sampling:
    return Sampling.model_validate({"prompts": {"texts": PROMPTS}, "tries": 12, **given})


def run(policy: Policy, **given: Any) -> Job:
    job = sampling_create(policy=policy, sampling=asked(**given))
    execute(job.pk)
    job.refresh_from_db()
    return job


def rows_of(job: Job) -> list[dict[str, Any]]:
    files = sorted(samples_path(job).glob("*.parquet"))
    return pa.concat_tables([pq.read_table(file) for file in files]).to_pylist()


def test_every_decision_is_the_classifiers_own(policy: Policy, guard: Classifier) -> None:
    job = run(policy, copies=3, tries=2)
    assert (job.state, job.error) == ("succeeded", "")
    rows = rows_of(job)
    assert [(row["number"], row["copy"]) for row in rows] == [(n, c) for n in range(7) for c in range(3)]
    assert [row["prompt"] for row in rows] == [prompt for prompt in PROMPTS for _ in range(3)]
    kept = [row for row in rows if row["completion"] is not None]
    assert 0 < len(kept) < len(rows)
    scored = classifier_score(classifier=guard, snippets=[SnippetText(r["prompt"], r["completion"]) for r in kept])
    cutoff = logit_cutoff(guard.threshold)
    for row, said in zip(kept, scored, strict=True):
        assert said.rejected is False
        assert row["logit"] == pytest.approx(said.logit, abs=1e-4)
        assert row["proposals"] == len(row["rejected_logits"]) + 1
    for row in rows:
        assert all(np.float32(logit) >= cutoff for logit in row["rejected_logits"])
        if row["completion"] is None:
            assert (row["proposals"], row["logit"], len(row["rejected_logits"])) == (2, None, 2)


def test_the_totals_are_those_of_the_rows(policy: Policy, guard: Classifier) -> None:
    job = run(policy, tries=2)
    rows, result = rows_of(job), job.result
    without = sum(row["completion"] is None for row in rows)
    proposals = sum(row["proposals"] for row in rows)
    assert 0 < without < 7
    counted = ("prompts", "samples", "accepted", "proposals", "left_out")
    assert [result[name] for name in counted] == [7, 7, 7 - without, proposals, 0]
    assert result["without"] == clopper_pearson(without, 7).as_dict()
    assert (result["rejected"]["failures"], result["rejected"]["n"]) == (proposals - 7 + without, proposals)
    assert 0 < result["rejected"]["low"] < result["rejected"]["estimate"] < result["rejected"]["high"] < 1
    assert result["generator"] == "nearest_continuations"
    assert (job.done, job.total) == (7, 7)


def test_killed_in_its_middle_it_repeats_no_finished_shard(
    policy: Policy, guard: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample_job, "SHARD", 4)
    undisturbed = run(policy, copies=2)
    calls = Drawing.calls
    job = sampling_create(policy=policy, sampling=asked(copies=2))
    write = sample_job._write

    def dying(path: Path, *args: Any) -> None:
        write(path, *args)
        if path.name == "000001.parquet":
            raise WorkerKilled

    with monkeypatch.context() as patched:
        patched.setattr(sample_job, "_write", dying)
        with pytest.raises(WorkerKilled):
            execute(job.pk)
    before = {path.name: path.stat().st_mtime_ns for path in samples_path(job).glob("*.parquet")}
    assert sorted(before) == ["000000.parquet", "000001.parquet"]
    Job.objects.filter(pk=job.pk).update(state="queued")
    execute(job.pk)
    job.refresh_from_db()
    assert (job.state, job.error) == ("succeeded", "")
    assert all((samples_path(job) / name).stat().st_mtime_ns == when for name, when in before.items())
    assert rows_of(job) == rows_of(undisturbed)
    assert {**job.result, "path": ""} == {**undisturbed.result, "path": ""}
    assert Drawing.calls == 2 * calls
    again = Job.objects.filter(pk=job.pk)
    again.update(state="queued")
    execute(job.pk)
    assert (again.get().result, Drawing.calls) == (job.result, 2 * calls)


@pytest.mark.parametrize("file_format", ["jsonl", "csv", "parquet"])
def test_prompts_come_from_a_file(policy: Policy, guard: Classifier, tmp_path: Path, file_format: str) -> None:
    path = tmp_path / f"prompts.{file_format}"
    if file_format == "jsonl":
        path.write_text("".join(f'{{"prompt": "{prompt}", "other": 1}}\n' for prompt in PROMPTS))
    elif file_format == "csv":
        path.write_text("prompt\n" + "".join(f'"{prompt}"\n' for prompt in PROMPTS))
    else:
        pq.write_table(pa.table({"prompt": PROMPTS}), path)
    job = run(policy, prompts={"path": str(path), "limit": 5})
    assert (job.state, job.error) == ("succeeded", "")
    assert rows_of(job) == rows_of(run(policy, prompts={"texts": PROMPTS[:5]}))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"prompt": "  "}', "line 2: is empty"),
        ('{"prompt": 7}', "line 2: is no text"),
        ('{"text": "x"}', "line 2: has no column `prompt`"),
        ("{", "line 2: not JSON"),
        (f'{{"prompt": "{"x" * 100_001}"}}', "line 2: is longer than 100,000 characters"),
    ],
)
def test_a_wrong_line_ends_it_before_anything_is_drawn(
    policy: Policy, guard: Classifier, tmp_path: Path, line: str, said: str
) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(f'{{"prompt": "{PROMPTS[0]}"}}\n{line}\n')
    job = run(policy, prompts={"path": str(path)})
    assert job.state == "failed"
    assert said in job.error
    assert (Drawing.calls, samples_path(job).exists()) == (0, False)
    path.write_text("")
    assert "no prompt to complete" in run(policy, prompts={"path": str(path)}).error


def test_a_rounds_prompts_leave_out_stories_that_the_generator_was_trained_on(
    policy: Policy, guard: Classifier, gauntlet_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_this_process(monkeypatch)
    corpus = small_corpus(gauntlet_home)
    tuned(corpus)
    round_ = Round.objects.create(name="one", policy=policy, corpus=corpus)
    rows = []
    for number in range(16):
        text = SnippetText(f"The man of number {number} walked.", "He went home to his tea.")
        rows.append(
            Snippet(
                policy=policy, prompt=text.prompt, completion=text.completion, content_hash=text.content_hash,
                root_hash=text.content_hash, split="test", source="corpus",
                story=Story.objects.create(corpus=corpus, name=f"{number:02d}.txt"),
            )
        )  # fmt: skip
    Snippet.objects.bulk_create(rows)
    generator = {"name": "causal_lm", "config": {"model": "generator:small tales"}}
    job = run(policy, prompts={"round": str(round_.pk)}, generator=generator)
    assert (job.state, job.error) == ("succeeded", "")
    assert 0 < job.result["left_out"] < 16
    assert job.result["prompts"] == 16 - job.result["left_out"]
    assert {row["snippet"] for row in rows_of(job)} <= {str(row.pk) for row in rows}
    everything = run(policy, prompts={"round": str(round_.pk)})
    assert (everything.result["prompts"], everything.result["left_out"]) == (16, 0)


def test_a_generator_without_a_model_learns_from_the_corpus_named(
    policy: Policy, gauntlet_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = victim(policy, gauntlet_home).classifier
    corpus = Corpus.objects.create(name="books", path="/nowhere")
    story = Story.objects.create(corpus=corpus, name="one")
    for number, one in enumerate(examples(24)):
        prompt = f"{one.snippet.prompt} It was day {number}."
        text = SnippetText(prompt, one.snippet.completion)
        Snippet.objects.create(
            policy=policy, prompt=text.prompt, completion=text.completion, content_hash=text.content_hash,
            root_hash=text.content_hash, split="train", source="corpus", story=story,
        )  # fmt: skip
    job = sampling_create(policy=policy, sampling=asked(corpus=str(corpus.pk)), classifier=guard)
    execute(job.pk)
    job.refresh_from_db()
    assert (job.state, job.error) == ("succeeded", "")
    known = set(Snippet.objects.filter(story=story).values_list("completion", flat=True))
    drawn = {row["completion"] for row in rows_of(job)} - {None}
    assert drawn
    assert drawn <= known
    nothing = sampling_create(policy=policy, sampling=asked(), classifier=guard)
    execute(nothing.pk)
    nothing.refresh_from_db()
    assert (nothing.state, "no snippet with a completion to learn from" in nothing.error) == ("failed", True)


def test_without_a_classifier_that_may_filter_nothing_is_queued(policy: Policy) -> None:
    with pytest.raises(DomainError) as refused:
        sampling_create(policy=policy, sampling=asked())
    assert refused.value.code == "no_serving_classifier"
    row = Classifier.objects.create(policy=policy, name="c", condition="b", encoder="e")
    with pytest.raises(DomainError) as refused:
        sampling_create(policy=policy, sampling=asked(), classifier=row)
    assert refused.value.code == "classifier_not_calibrated"
    Classifier.objects.update(threshold=0.5)
    row.refresh_from_db()
    with pytest.raises(DomainError) as refused:
        sampling_create(policy=policy, sampling=asked(), classifier=row)
    assert refused.value.code == "classifier_not_trained"
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"prompts": {}}, "give one of texts, path and round"),
        ({"prompts": {"texts": ["a"], "path": "b.csv"}}, "give one of texts, path and round"),
        ({"prompts": {"texts": ["a", " "]}}, "prompt 2 is empty"),
        ({"prompts": {"texts": ["a\0b"]}}, "prompt 1 contains a null byte"),
        ({"tries": 0}, "tries"),
        ({"generator": {"name": "gpt9"}}, "unknown generator 'gpt9'"),
        ({"generator": {"name": "causal_lm"}}, "model"),
        ({"generator": {"name": "causal_lm", "config": {"model": "m", "temperature": math.inf}}}, "temperature"),
        ({"generator": {"name": "causal_lm", "config": {"model": "m", "batch_size": 10**30}}}, "batch_size"),
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        asked(**given)
