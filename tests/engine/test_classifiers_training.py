from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.classifiers import Example, Recipe, TrainingResult, artifact, load, train
from engine.errors import BadInput, MissingModel
from engine.snippets import Snippet
from tests.engine.tiny_encoders import examples, write_encoder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_encoder(tmp_path_factory.mktemp("encoder")))


def recipe(encoder: str, **changes: object) -> Recipe:
    quick = {"encoder": encoder, "epochs": 12, "learning_rate": 5e-3, "max_tokens": 64, "export_int8": False}
    return Recipe.model_validate({**quick, **changes})


def weights(result: TrainingResult) -> bytes:
    return (result.path / "model.safetensors").read_bytes()


@pytest.mark.parametrize("layers", [None, 2])
def test_it_learns_what_the_examples_show(encoder: str, layers: int | None, tmp_path: Path) -> None:
    result = train(examples(64), recipe(encoder, trainable_layers=layers), out_dir=tmp_path / "model")
    assert result.path == tmp_path / "model"
    assert (result.examples, result.positives, result.upsampled) == (64, 16, 96)  # u = 48 / 16 = 3
    assert result.steps == 12 * 6
    assert result.loss < 0.1
    logits = load(result.path, precision="fp32").logits([example.snippet for example in examples(64)])
    assert [bool(logit > 0) for logit in logits] == [example.positive for example in examples(64)]


def test_the_seed_decides_every_weight_and_nothing_outside_changes(encoder: str, tmp_path: Path) -> None:
    torch.manual_seed(7)
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    same = [train(examples(24), recipe(encoder, epochs=1), out_dir=tmp_path / name) for name in "ab"]
    other = train(examples(24), recipe(encoder, epochs=1, seed=1), out_dir=tmp_path / "c")
    assert weights(same[0]) == weights(same[1]) != weights(other)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_frozen_layers_stay_as_they_were(encoder: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    result = train(examples(24), recipe(encoder, epochs=1, trainable_layers=1), out_dir=tmp_path / "model")
    before, after = load_file(Path(encoder) / "model.safetensors"), load_file(result.path / "model.safetensors")
    changed = {name for name, value in before.items() if not torch.equal(value, after.get(f"encoder.{name}", value))}
    assert changed
    assert all(name.startswith("encoder.layer.2.") for name in changed)


def test_a_second_run_returns_the_first_ones_result(encoder: str, tmp_path: Path) -> None:
    first = train(examples(24), recipe(encoder, epochs=1), out_dir=tmp_path / "model")
    written = {path: path.stat().st_mtime_ns for path in first.path.iterdir()}
    assert train(examples(24), recipe(encoder, epochs=1), out_dir=tmp_path / "model") == first
    assert {path: path.stat().st_mtime_ns for path in first.path.iterdir()} == written


def test_a_folder_that_holds_anything_else_is_refused_and_left_alone(encoder: str, tmp_path: Path) -> None:
    first = train(examples(24), recipe(encoder, epochs=1), out_dir=tmp_path / "model")
    before = weights(first)
    with pytest.raises(BadInput, match="another recipe or other examples"):
        train(examples(24), recipe(encoder, epochs=1, seed=1), out_dir=first.path)
    with pytest.raises(BadInput, match="another recipe or other examples"):
        train(examples(23), recipe(encoder, epochs=1), out_dir=first.path)
    assert weights(first) == before
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "keep.txt").write_text("mine")
    with pytest.raises(BadInput, match="no finished training"):
        train(examples(24), recipe(encoder, epochs=1), out_dir=tmp_path / "notes")
    assert [path.name for path in (tmp_path / "notes").iterdir()] == ["keep.txt"]


@pytest.mark.parametrize("stop_at", [1, 24, 60])
def test_a_stopped_training_leaves_nothing_and_can_start_again(encoder: str, stop_at: int, tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done >= stop_at:
            raise Stopped

    with pytest.raises(Stopped):
        train(examples(24), recipe(encoder, epochs=1), out_dir=tmp_path / "model", progress=stop)
    assert list(tmp_path.iterdir()) == []
    assert train(examples(24), recipe(encoder, epochs=1), out_dir=tmp_path / "model").examples == 24


def test_a_failing_write_leaves_nothing(encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("engine.classifiers.training.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        train(examples(24), recipe(encoder, epochs=1), out_dir=tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_swept_when_it_is_old(tmp_path: Path) -> None:
    import os

    old, new = tmp_path / ".model.partial-old", tmp_path / ".model.partial-new"
    old.mkdir()
    new.mkdir()
    os.utime(old, (0, 0))
    with pytest.raises(RuntimeError):
        artifact.publish(tmp_path / "model", lambda folder: (_ for _ in ()).throw(RuntimeError))
    assert [path.name for path in tmp_path.iterdir()] == [".model.partial-new"]


def test_of_two_that_finish_the_same_training_the_first_stands(encoder: str, tmp_path: Path) -> None:
    first = train(examples(24), recipe(encoder, epochs=1), out_dir=tmp_path / "model")
    late = first._replace(loss=9.0)
    assert artifact.publish(first.path, lambda folder: late) == first
    assert json.loads((first.path / "result.json").read_text())["loss"] == first.loss
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_progress_climbs_to_its_total(encoder: str, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    train(
        examples(24),
        recipe(encoder, epochs=2, trainable_layers=1),
        out_dir=tmp_path / "model",
        progress=lambda done, total: seen.append((done, total)),
    )
    assert {total for _, total in seen} == {24 + 2 * 36}  # each example once into the cache, then two epochs
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (96, 96)


def test_what_cannot_be_trained_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    calm = [Example(Snippet("", "The dog rested."), False)] * 3
    missing = Recipe(encoder=str(tmp_path / "nothing"))
    with pytest.raises(BadInput, match="no examples to train on"):
        train([], missing, out_dir=tmp_path / "model")
    with pytest.raises(BadInput, match="all 3 examples are of one class"):
        train(calm, missing, out_dir=tmp_path / "model")
    with pytest.raises(MissingModel, match=r"nothing' could not be loaded.*model\.safetensors"):
        train(examples(8), missing, out_dir=tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_values_the_encoder_cannot_take_are_named(encoder: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="max_tokens: 65 is more than the 64"):
        train(examples(8), recipe(encoder, max_tokens=65), out_dir=tmp_path / "model")
    with pytest.raises(BadInput, match="trainable_layers: 4 is more"):
        train(examples(8), recipe(encoder, trainable_layers=4), out_dir=tmp_path / "model")


def test_a_diverging_loss_is_said(encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.nn.functional.cross_entropy", lambda logits, labels, reduction: logits[:, 0] * np.nan)
    said = r"learning_rate: training diverged: the loss is nan at step 1 of 2, where the rate is 0\.005; use less than"
    with pytest.raises(BadInput, match=said):
        train(examples(8), recipe(encoder, epochs=2), out_dir=tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_pickled_weights_are_never_read(encoder: str, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(encoder, tmp_path / "pickled")
    (tmp_path / "pickled" / "model.safetensors").rename(tmp_path / "pickled" / "pytorch_model.bin")
    with pytest.raises(MissingModel, match=r"model\.safetensors"):
        train(examples(8), recipe(str(tmp_path / "pickled")), out_dir=tmp_path / "model")
