"""Tuning generators: what is learnt and kept, what a kill costs, what is refused."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from engine.errors import BadInput, MissingModel
from engine.generation import make_generator
from engine.generation.tuning import TuningRecipe, fitting, tune
from engine.generation.tuning.blocks import IGNORED, blocks_of
from engine.generation.tuning.checkpoints import State
from engine.generation.tuning.reading import check_stories_divide, story_hash
from engine.generation.tuning.results import trained_on
from engine.policies import load_policy
from engine.snippets import split_of
from tests.engine.tiny_encoders import write_language_model

PEOPLE = ["baker", "knight", "girl", "dog", "man"]
PLACES = ["hall", "yard", "barn", "road", "mill", "inn", "ford", "cave"]
FRESH = {"layers": 1, "width": 16, "heads": 2, "vocabulary": 300, "context": 64}
RECIPE = TuningRecipe(
    fresh=FRESH, block_tokens=24, batch_size=4, steps=12, evaluations=4, warmup=0.1, learning_rate=1e-2, seed=3,
    precision="fp32",
)  # fmt: skip


def story(number: int) -> str:
    chance = np.random.default_rng(number)
    sentences = [f"The {chance.choice(PEOPLE)} walked to the {chance.choice(PLACES)}." for _ in range(12)]
    return f"Story {number}. " + " ".join(sentences)


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stories")
    for number in range(24):
        (folder / f"{number:02d}.txt").write_text(story(number))
    return folder


@pytest.fixture(scope="module")
def undisturbed(stories: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "generator"
    tune(stories, RECIPE, out_dir=folder)
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def _result(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text())


class Broken(Exception):
    """The caller's wish to stop."""


def breaking_at(blocks: int):
    def progress(done: int, total: int) -> None:
        if done >= blocks:
            raise Broken

    return progress


def test_a_small_model_from_nothing_learns_and_is_a_generator(stories: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    logs = tmp_path / "logs"
    result = tune(
        stories, RECIPE, out_dir=tmp_path / "g", logs=logs, progress=lambda done, total: told.append((done, total))
    )
    assert [point.step for point in result.curve] == [0, 3, 6, 9, 12]
    assert [point.blocks for point in result.curve] == sorted({point.blocks for point in result.curve})
    assert result.curve[-1].validation_loss < result.curve[0].validation_loss - 0.3
    assert result.curve[0].loss is None
    assert (result.steps, result.best_step, result.stopped_early) == (12, 12, False)
    assert result.before["estimate"] > result.after["estimate"] * 1.3
    assert result.change["high"] < 1
    assert result.change["estimate"] == pytest.approx(result.after["estimate"] / result.before["estimate"])
    assert told[-1][0] == told[-1][1] > 0
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert list(logs.iterdir())
    generator = make_generator("causal_lm", load_policy("injury"), {"model": str(tmp_path / "g"), "device": "cpu"})
    assert all(generator.complete(["The baker walked to the hall. The dog rested. They went."], 2, seed=1)[0])


def test_it_is_told_what_split_each_story_is_in_and_trains_on_no_other(stories: Path, undisturbed: Path) -> None:
    kept = json.loads((undisturbed / "stories.json").read_text())
    for split, hashes in kept.items():
        wanted = {story_hash(story(n)) for n in range(24) if split_of(story_hash(story(n))) == split}
        assert set(hashes) == wanted
    assert trained_on(undisturbed) == set(kept["train"])
    result = _result(undisturbed)
    assert (result["stories"], result["measured_stories"]) == (len(kept["train"]), len(kept["test"]))


def test_perplexity_is_that_of_the_model_on_each_story_by_itself(undisturbed: Path) -> None:
    """Against transformers' own loss, a story at a time: stories fit into one block here."""
    model = AutoModelForCausalLM.from_pretrained(undisturbed, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(undisturbed)
    texts = [story(n)[:60] for n in range(5)]
    found = fitting.story_losses(model, blocks_of(texts, tokenizer, 60), RECIPE, lambda: None)
    for text, nats, tokens in zip(texts, found.nats, found.tokens, strict=True):
        ids = torch.tensor([[0, *tokenizer(text, add_special_tokens=False)["input_ids"], 0]])
        assert tokens == ids.shape[1] - 1
        with torch.no_grad():
            assert nats / tokens == pytest.approx(float(model(input_ids=ids, labels=ids).loss), rel=1e-5)


def test_blocks_hold_one_story_each_and_predict_every_token_once(undisturbed: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(undisturbed)
    texts = [story(1), "Short.", story(2)]
    blocks = blocks_of(texts, tokenizer, 7)
    for number, text in enumerate(texts):
        rows = np.flatnonzero(blocks.story == number)
        batch = blocks.batch(rows)
        predicted = batch.targets[batch.targets != IGNORED].tolist()
        assert predicted == [*tokenizer(text, add_special_tokens=False)["input_ids"], 0]
        assert batch.ids[0, 0] == 0
        assert batch.mask.sum() == len(predicted)
        assert blocks.lengths[rows].max() <= 7
    assert len(blocks_of([], tokenizer, 7).starts) == 0


@pytest.mark.parametrize("at", [1, 13, 30, 47])
def test_broken_off_anywhere_it_goes_on_to_the_same_weights(
    stories: Path, undisturbed: Path, tmp_path: Path, at: int
) -> None:
    kept = tmp_path / "checkpoints"
    with pytest.raises(Broken):
        tune(stories, RECIPE, out_dir=tmp_path / "g", checkpoints=kept, progress=breaking_at(at))
    assert not (tmp_path / "g").exists()
    seen = [point["step"] for point in _result(undisturbed)["curve"] if 0 < point["blocks"] < at]
    assert [path.name for path in kept.glob("step-*")] == [f"step-{step:08d}" for step in seen[-1:]]
    result = tune(stories, RECIPE, out_dir=tmp_path / "g", checkpoints=kept)
    assert same(tmp_path / "g", undisturbed)
    once = _result(undisturbed)
    assert result.as_dict()["curve"] == once["curve"]
    assert result.after == once["after"]
    assert [path.name for path in kept.iterdir()] == [".lock"]


@pytest.mark.slow
def test_killed_by_the_system_it_goes_on_to_the_same_weights(stories: Path, undisturbed: Path, tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from engine.generation.tuning import TuningRecipe, tune\n"
        "tune(Path(sys.argv[1]), TuningRecipe.model_validate_json(sys.argv[2]), out_dir=Path(sys.argv[3]),"
        " checkpoints=Path(sys.argv[4]), progress=lambda done, total: time.sleep(0.2 if done else 0))"
    )
    kept = tmp_path / "checkpoints"
    arguments = [str(stories), RECIPE.model_dump_json(), str(tmp_path / "g"), str(kept)]
    process = subprocess.Popen([sys.executable, "-c", code, *arguments])
    deadline = time.monotonic() + 120
    while not list(kept.glob("step-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "g").exists()
    assert list(kept.glob("step-*")), "else nothing is resumed"
    tune(stories, RECIPE, out_dir=tmp_path / "g", checkpoints=kept)
    assert same(tmp_path / "g", undisturbed)


def test_two_at_once_do_the_work_once(
    stories: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = []
    step = fitting._one_step

    def counted(*args: object) -> None:
        trained.append(1)
        step(*args)

    monkeypatch.setattr(fitting, "_one_step", counted)
    results = []

    def work() -> None:
        results.append(tune(stories, RECIPE, out_dir=tmp_path / "g", checkpoints=tmp_path / "c"))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(trained) == 12
    assert [one.path for one in results] == [tmp_path / "g"] * 2
    assert same(tmp_path / "g", undisturbed)


def test_the_same_again_is_not_done_again_and_another_is_refused(stories: Path, undisturbed: Path) -> None:
    before = (undisturbed / "result.json").stat().st_mtime_ns
    result = tune(stories, RECIPE, out_dir=undisturbed)
    assert result.as_dict() == _result(undisturbed)
    other = RECIPE.model_copy(update={"seed": 4})
    with pytest.raises(BadInput, match="another recipe"):
        tune(stories, other, out_dir=undisturbed)
    assert (undisturbed / "result.json").stat().st_mtime_ns == before


def test_checkpoints_of_another_tuning_or_damaged_ones_are_refused(stories: Path, tmp_path: Path) -> None:
    kept = tmp_path / "c"
    with pytest.raises(Broken):
        tune(stories, RECIPE, out_dir=tmp_path / "g", checkpoints=kept, progress=breaking_at(30))
    other = RECIPE.model_copy(update={"learning_rate": 1e-3})
    with pytest.raises(BadInput, match="checkpoints of another recipe"):
        tune(stories, other, out_dir=tmp_path / "g", checkpoints=kept)
    (next(kept.glob("step-*")) / "optimizer.safetensors").write_bytes(b"nonsense")
    with pytest.raises(BadInput, match="is damaged"):
        tune(stories, RECIPE, out_dir=tmp_path / "g", checkpoints=kept)
    assert not (tmp_path / "g").exists()


def test_accumulated_steps_are_those_of_a_larger_batch(undisturbed: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(undisturbed)
    blocks = blocks_of([story(n)[: 20 + 9 * n] for n in range(8)], tokenizer, 60)
    rows = np.arange(8)
    assert len(set(blocks.lengths)) > 4, "else means of means would do"
    states = []
    for batches in ([rows], [rows[:2], rows[2:3], rows[3:]]):
        model = AutoModelForCausalLM.from_pretrained(undisturbed, dtype=torch.float32)
        recipe = RECIPE.model_copy(update={"learning_rate": 1e-3})
        state = State("", [])
        fitting._one_step(
            model, torch.optim.SGD(model.parameters(), 1.0), blocks, batches, recipe, state, lambda n: None
        )
        states.append((model.state_dict(), state.loss_sum, state.blocks))
    (one, loss, count), (other, same_loss, same_count) = states
    assert (count, same_count) == (8, 8)
    assert loss == pytest.approx(same_loss, rel=1e-5)
    assert all(torch.allclose(one[name], other[name], atol=1e-6) for name in one)


def test_it_stops_early_and_keeps_the_best_weights(stories: Path, tmp_path: Path) -> None:
    # The rate climbs to the end: what is learnt at first is lost again.
    climbing = {"learning_rate": 2.0, "warmup": 1.0, "steps": 60, "evaluations": 30, "patience": 2}
    wild = RECIPE.model_copy(update=climbing)
    result = tune(stories, wild, out_dir=tmp_path / "g")
    losses = [point.validation_loss for point in result.curve]
    best = int(np.argmin(losses))
    assert result.stopped_early
    assert 0 < result.best_step < result.steps
    assert (result.best_step, len(losses)) == (result.curve[best].step, best + 3)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "g", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "g")
    validation = [story(n) for n in range(24) if split_of(story_hash(story(n))) == "validation"]
    found = fitting.story_losses(model, blocks_of(validation, tokenizer, 24), wild, lambda: None)
    assert found.nats.sum() / found.tokens.sum() == pytest.approx(losses[best], rel=1e-5)


def test_a_pretrained_model_goes_on_and_keeps_its_tokenizer(stories: Path, tmp_path: Path) -> None:
    base = write_language_model(tmp_path / "base", "causal")
    recipe = TuningRecipe(base=str(base), block_tokens=32, batch_size=4, steps=8, evaluations=2, learning_rate=1e-2)
    result = tune(stories, recipe, out_dir=tmp_path / "g")
    assert result.after["estimate"] < result.before["estimate"]
    assert TuningRecipe(base=str(base)).learning_rate == 5e-6
    before, after = (AutoTokenizer.from_pretrained(folder) for folder in (base, tmp_path / "g"))
    assert before.get_vocab() == after.get_vocab()


def test_a_step_that_does_no_good_leaves_the_base_as_it_was(stories: Path, undisturbed: Path, tmp_path: Path) -> None:
    base = {"base": str(undisturbed), "block_tokens": 24, "batch_size": 4, "steps": 4, "evaluations": 2}
    result = tune(stories, TuningRecipe(**base, learning_rate=1.0), out_dir=tmp_path / "g")
    assert (result.best_step, result.change["estimate"]) == (0, 1.0)
    assert same(tmp_path / "g", undisturbed)


def test_stories_that_are_too_few_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such folder"):
        tune(tmp_path / "nowhere", RECIPE, out_dir=tmp_path / "g")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match=r"no \.txt file"):
        tune(tmp_path / "empty", RECIPE, out_dir=tmp_path / "g")
    by_split = {split: [n for n in range(40) if split_of(story_hash(story(n))) == split] for split in ("train", "test")}
    for split, message in (("train", "none is left to measure on"), ("test", "falls to training")):
        folder = tmp_path / split
        folder.mkdir()
        for number in by_split[split][:3]:
            (folder / f"{number}.txt").write_text(story(number))
        with pytest.raises(BadInput, match=message):
            tune(folder, RECIPE, out_dir=tmp_path / "g")
        with pytest.raises(BadInput, match=message):
            check_stories_divide(folder, RECIPE)
    (tmp_path / "train" / "more.txt").write_text(story(by_split["test"][0]))
    check_stories_divide(tmp_path / "train", RECIPE)
    assert not (tmp_path / "g").exists()


def test_without_validation_stories_those_of_test_serve_for_both(tmp_path: Path) -> None:
    for number in range(40):
        if split_of(story_hash(story(number))) != "validation":
            (tmp_path / f"{number}.txt").write_text(story(number))
    (tmp_path / "copy of one.txt").write_text(story(0))
    result = tune(tmp_path, RECIPE.model_copy(update={"steps": 1}), out_dir=tmp_path / "g")
    kept = json.loads((tmp_path / "g" / "stories.json").read_text())
    assert (result.measured_on, kept["validation"]) == ("test", [])
    assert result.measured_stories == len(set(kept["test"])) > 1
    assert len(set(kept["train"])) == len(kept["train"]) == result.stories


def test_a_budget_of_characters_takes_stories_at_random(stories: Path, tmp_path: Path) -> None:
    small = RECIPE.model_copy(update={"steps": 1, "max_chars": 900, "held_out_chars": 300})
    one = tune(stories, small, out_dir=tmp_path / "one")
    other = tune(stories, small.model_copy(update={"seed": 4}), out_dir=tmp_path / "other")
    assert one.stories == other.stories == 3
    assert trained_on(tmp_path / "one") != trained_on(tmp_path / "other")
    everything = sum(split_of(story_hash(story(n))) == "test" for n in range(24))
    assert one.measured_stories == _result(tmp_path / "other")["measured_stories"] == everything > 1
    whole = tune(stories, small.model_copy(update={"held_out_chars": 100_000}), out_dir=tmp_path / "whole")
    assert one.measured_tokens < whole.measured_tokens / 5


@pytest.mark.parametrize("what", ["pickled", "slow tokenizer", "no model", "too long", "tokenizer of another"])
def test_a_base_that_will_not_do_is_refused(stories: Path, tmp_path: Path, what: str) -> None:
    base = write_language_model(tmp_path / "base", "causal")
    blocks, error, message = 32, MissingModel, "safetensors"
    if what == "pickled":
        (base / "model.safetensors").unlink()
        torch.save({}, base / "pytorch_model.bin")
    elif what == "slow tokenizer":
        (base / "tokenizer.json").unlink()
        (base / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "ByT5Tokenizer"}))
        error, message = BadInput, "has no fast tokenizer"
    elif what == "no model":
        base, message = tmp_path / "nothing", "could not be loaded"
    elif what == "too long":
        blocks, error, message = 65, BadInput, "block_tokens: 65 is more than the 64"
    else:
        tokenizer = AutoTokenizer.from_pretrained(base)
        tokenizer.add_tokens(["strange"])
        tokenizer.save_pretrained(base)
        error, message = BadInput, "its tokenizer has"
    with pytest.raises(error, match=message):
        tune(stories, TuningRecipe(base=str(base), block_tokens=blocks, steps=1), out_dir=tmp_path / "g")
    assert not (tmp_path / "g").exists()


def test_a_loss_that_is_no_number_ends_it_and_leaves_nothing(
    stories: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fitting._token_losses
    monkeypatch.setattr(
        fitting, "_token_losses", lambda model, batch, recipe: whole(model, batch, recipe) * math.nan**model.training
    )
    with pytest.raises(BadInput, match=r"training diverged at 0\.01; use less"):
        tune(stories, RECIPE, out_dir=tmp_path / "g", checkpoints=tmp_path / "c")
    assert not (tmp_path / "g").exists()
    assert not list((tmp_path / "c").glob("*-*"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"base": "gpt2", "fresh": FRESH}, "not both"),
        ({"fresh": {"width": 30, "heads": 4}}, "multiple of twice the heads"),
        ({"fresh": FRESH, "block_tokens": 65}, "block_tokens: 65 is more than the 64"),
        ({"surprise": 1}, "surprise"),
        ({"learning_rate": math.nan}, "learning_rate"),
        ({"base": ""}, "base"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(given: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TuningRecipe(**given)


def test_a_recipe_says_all_of_itself() -> None:
    assert TuningRecipe.model_validate_json(RECIPE.model_dump_json()) == RECIPE
    assert TuningRecipe().fresh is not None
    assert TuningRecipe().learning_rate == 2e-3
