"""Tuning jobs: run, run twice, killed in their middle, gone on with; and what rounds make of a tuned generator."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from safetensors.torch import load_file

from engine.config import Named
from engine.errors import BadInput, MissingModel
from engine.generation.tuning import tune
from engine.generation.tuning.reading import story_hash
from engine.snippets import Snippet as SnippetText
from engine.snippets import split_of
from tests.driving import WorkerKilled, new_round
from tests.tuning import RECIPE, in_this_process, small_corpus, story, tuned
from webapi.errors import DomainError
from webapi.models import Artifact, Corpus, Generator, Job, JobState, Policy, Round, RoundSnippet, Snippet, Story
from webapi.services.generators import generator_create
from webapi.services.rounds import round_create
from workers import generate as generate_job
from workers import tune as tune_job
from workers.execute import execute
from workers.generators import check_chosen, chosen, load_generator, not_trained_on, weights_of
from workers.jobs import JobRun
from workers.tune import generator_path

pytestmark = pytest.mark.django_db
NAMED = Named(name="causal_lm", config={"model": "generator:small tales", "device": "cpu"})


@pytest.fixture
def corpus(gauntlet_home: Path) -> Corpus:
    return small_corpus(gauntlet_home)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    in_this_process(monkeypatch)


def lease_runs_out(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))


@pytest.mark.usefixtures("here")
def test_a_job_tunes_a_generator_once(corpus: Corpus) -> None:
    row = tuned(corpus)
    assert (row.state, row.ready, row.base) == ("succeeded", True, "")
    assert row.metrics["after"]["estimate"] < row.metrics["before"]["estimate"]
    assert row.environment.keys() >= {"packages", "python"}
    assert "environment" not in row.metrics
    assert row.artifact is not None
    assert (row.artifact.kind, row.artifact.file) == ("generator", generator_path(row))
    assert not generator_path(row).with_name(f"{row.pk}.checkpoints").exists()
    assert row.job.result["after"] == row.metrics["after"]
    assert row.job.done == row.job.total > 1
    before = Artifact.objects.get()
    again = Job.objects.create(kind="tune_generator", args={"generator": str(row.pk)})
    execute(again.pk)
    again.refresh_from_db()
    assert (again.state, again.result) == ("succeeded", row.job.result)
    assert Artifact.objects.get().sha256 == before.sha256


@pytest.mark.usefixtures("here")
def test_killed_at_a_checkpoint_it_goes_on_to_the_same_weights(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed = tuned(corpus, "undisturbed")
    row = generator_create(name="killed", corpus=corpus, recipe=RECIPE)

    def dying(*args: Any, **kwargs: Any) -> Any:
        def progress(done: int, total: int) -> None:
            if list(kwargs["checkpoints"].glob("step-*")):
                raise WorkerKilled

        return tune(*args, **{**kwargs, "progress": progress})

    with monkeypatch.context() as patched:
        patched.setattr(tune_job, "tune_apart", dying)
        with pytest.raises(WorkerKilled):
            execute(row.job_id)
    row.refresh_from_db()
    assert (row.state, row.ready, row.artifact) == ("running", False, None)
    lease_runs_out(row.job)
    execute(row.job_id)
    row.refresh_from_db()
    assert (row.state, row.job.attempts) == ("succeeded", 2)
    one, other = (load_file(weights_of(made) / "model.safetensors") for made in (undisturbed, row))
    assert all(one[name].equal(other[name]) for name in one)


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_in_a_process_of_its_own_it_survives_that_ones_death(corpus: Corpus, gauntlet_home: Path) -> None:
    long = RECIPE.model_copy(update={"steps": 1200, "evaluations": 60, "patience": None})
    row = generator_create(name="long", corpus=corpus, recipe=long)
    kept = generator_path(row).with_name(f"{row.pk}.checkpoints")
    worker = threading.Thread(target=execute, args=(row.job_id,))
    worker.start()
    deadline = time.monotonic() + 240
    while not list(kept.glob("step-*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    child = _child_that_tunes()
    os.kill(child, signal.SIGKILL)
    worker.join()
    row.refresh_from_db()
    assert (row.state, row.artifact) == ("queued", None)
    assert "killed (SIGKILL)" in row.job.error
    reached = max(path.name for path in kept.glob("step-*"))
    assert 0 < int(reached.removeprefix("step-")) < 1200
    Job.objects.update(not_before=timezone.now())
    execute(row.job_id)
    row.refresh_from_db()
    assert (row.state, row.metrics["steps"]) == ("succeeded", 1200)


def _child_that_tunes() -> int:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if b"engine.generation.tuning.run" in command and parent == os.getpid():
                return int(entry.name)
    raise AssertionError("no process tunes")


@pytest.mark.usefixtures("here")
def test_a_failure_is_told_and_asking_again_goes_on(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"name": "small tales", "corpus": corpus, "recipe": RECIPE}
    row = generator_create(**asked)
    assert generator_create(**asked).job_id == row.job_id
    with monkeypatch.context() as patched:
        patched.setattr(tune_job, "tune_apart", lambda *_, **__: (_ for _ in ()).throw(BadInput("too large")))
        execute(row.job_id)
    row.refresh_from_db()
    assert (row.state, row.job.error, row.ready) == ("failed", "too large", False)
    again = generator_create(**asked)
    assert (again.pk, again.state) == (row.pk, "queued")
    assert again.job_id != row.job_id
    execute(again.job_id)
    again.refresh_from_db()
    assert again.ready
    assert generator_create(**asked).job_id == again.job_id
    assert Generator.objects.count() == 1
    with pytest.raises(DomainError) as refused:
        generator_create(**{**asked, "recipe": RECIPE.model_copy(update={"seed": 1})})
    assert refused.value.code == "name_taken"
    assert Job.objects.count() == 2


@pytest.mark.usefixtures("here")
def test_a_cancelled_job_leaves_its_checkpoints(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    row = generator_create(name="small tales", corpus=corpus, recipe=RECIPE)

    def cancelled(*args: Any, **kwargs: Any) -> Any:
        def progress(done: int, total: int) -> None:
            if list(kwargs["checkpoints"].glob("step-*")):
                Job.objects.update(state=JobState.CANCELLED, lease_token=None)
                kwargs["progress"].__self__.beat()
            kwargs["progress"](done, total)

        return tune(*args, **{**kwargs, "progress": progress})

    with monkeypatch.context() as patched:
        patched.setattr(tune_job, "tune_apart", cancelled)
        execute(row.job_id)
    row.refresh_from_db()
    assert (row.state, row.artifact) == ("cancelled", None)
    assert list(generator_path(row).with_name(f"{row.pk}.checkpoints").glob("step-*"))


# What rounds make of it


@pytest.mark.usefixtures("here")
def test_a_tuned_generator_is_asked_by_name_or_key(corpus: Corpus, policy: Policy) -> None:
    row = tuned(corpus)
    by_key = Named(name="causal_lm", config={"model": f"generator:{row.pk}", "device": "cpu"})
    prompts = ["The dog walked to the inn.", "The man walked to the mill."]
    drawn = [load_generator(chosen(one), policy.rules).complete(prompts, 2, seed=1) for one in (NAMED, by_key)]
    assert drawn[0] == drawn[1]
    assert all(map(all, drawn[0]))
    assert chosen(NAMED).lineage == chosen(by_key).lineage == str(row.pk)
    assert chosen(Named(name="nearest_continuations")).lineage == "nearest_continuations"
    with pytest.raises(BadInput, match="there is no tuned generator 'nobody'"):
        chosen(Named(name="causal_lm", config={"model": "generator:nobody"}))
    check_chosen(NAMED)
    Artifact.objects.update(path="generators/gone")
    with pytest.raises(MissingModel, match="tune it again"):
        load_generator(chosen(NAMED), policy.rules)


def test_a_round_with_a_generator_that_is_not_tuned_yet_is_refused(corpus: Corpus, policy: Policy) -> None:
    generator = {"name": "causal_lm", "config": {"model": "generator:small tales"}}
    settings = {"generator": generator, "labeling": {"adapter": "pull"}}
    with pytest.raises(BadInput, match="there is no tuned generator"):
        round_create(policy=policy, corpus=corpus, settings=settings)
    generator_create(name="small tales", corpus=corpus, recipe=RECIPE)
    with pytest.raises(BadInput, match="small tales is queued; it has no weights yet"):
        round_create(policy=policy, corpus=corpus, settings=settings)


@pytest.mark.usefixtures("here")
def test_prompts_that_measure_come_from_stories_it_was_not_trained_on(
    corpus: Corpus, policy: Policy, gauntlet_home: Path
) -> None:
    row = tuned(corpus)
    copies = Corpus.objects.create(name="copies", path=str(gauntlet_home / "copies"))
    (gauntlet_home / "copies").mkdir()
    rows = []
    for number in range(16):
        (gauntlet_home / "copies" / f"other {number}.txt").write_text(f"  {story(number)}\n")
        for place, name in ((corpus, f"{number:02d}.txt"), (copies, f"other {number}.txt")):
            text = SnippetText(f"Prompt {number}.", f"Completion of {place.name}.")
            rows.append(
                Snippet(
                    policy=policy, prompt=text.prompt, completion=text.completion, content_hash=text.content_hash,
                    root_hash=text.content_hash, split="test", source="corpus",
                    story=Story.objects.create(corpus=place, name=name),
                )
            )  # fmt: skip
    held_out = {n for n in range(16) if split_of(story_hash(story(n))) != "train"}
    clear = not_trained_on(row, rows)
    assert 0 < len(clear) < len(rows)
    assert [one for one in rows if int(one.prompt[7:-1]) in held_out] == clear
    assert not_trained_on(None, rows) == rows
    (gauntlet_home / "copies" / f"other {min(held_out)}.txt").unlink()
    assert len(not_trained_on(row, rows)) == len(clear) - 1


@pytest.mark.usefixtures("here")
def test_completions_in_a_round_say_which_generator_made_them(
    gauntlet_home: Path,
) -> None:
    round_ = new_round(gauntlet_home / "world", generator=NAMED.model_dump())
    row = tuned(round_.corpus)
    known = json.loads((weights_of(row) / "stories.json").read_text())
    texts = {path.name: path.read_text() for path in Path(round_.corpus.path).iterdir()}
    stories = {name: Story.objects.create(corpus=round_.corpus, name=name) for name in list(texts)[:60]}
    prompts = []
    for name, one in stories.items():
        sentences = texts[name].replace("\n", " ").split(". ")
        prompt = SnippetText(". ".join(sentences[:3]) + ".", f"{sentences[3]}.")
        prompts.append(
            Snippet(
                policy=round_.policy, prompt=prompt.prompt, completion=prompt.completion, split="test",
                content_hash=prompt.content_hash, root_hash=prompt.content_hash, source="corpus", story=one,
            )
        )  # fmt: skip
    Snippet.objects.bulk_create(prompts)
    config = {**round_.config, "sizes": {**round_.config["sizes"], "test": 4, "seeds": 0, "test_completions": 2}}
    round_.config = config
    round_.save()
    stage = round_.stages.create(name="generate", position=1, state="running")
    Round.objects.update(state="running")
    job = Job.claim(Job.objects.create(kind="stage", stage=stage, args={"split": "test"}).pk, worker="this test")
    assert job is not None
    generate_job.generate(JobRun(job))
    made = list(Snippet.objects.filter(source="generated").select_related("story", "parent"))
    assert made
    assert {one.details["generator"] for one in made} == {str(row.pk)}
    assert all(story_hash(texts[one.story.name]) not in known["train"] for one in made)
    assert RoundSnippet.objects.filter(round=round_).count() == len(made)
