from __future__ import annotations

import hashlib
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from engine.classifiers import Recipe, TrainingResult, train
from engine.classifiers.fitting import checkpoints
from engine.classifiers.fitting.checkpoints import Checkpoints, Saved, read
from engine.classifiers.request import Request, write_request
from tests.engine.tiny_encoders import examples, write_encoder

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_encoder(tmp_path_factory.mktemp("encoder")))


@pytest.fixture
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint after each step."""
    monkeypatch.setattr(checkpoints, "SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "SHARE", 1e9)


def recipe(encoder: str, **changes: object) -> Recipe:
    quick = {
        "encoder": encoder, "epochs": 3, "learning_rate": 5e-3, "max_tokens": 64, "export_int8": False,
        "trainable_layers": None,
    }  # fmt: skip
    return Recipe.model_validate({**quick, **changes})


def digest(result: TrainingResult) -> str:
    return hashlib.sha256((result.path / "model.safetensors").read_bytes()).hexdigest()


def notes_on_checkpoints(result: TrainingResult) -> list[str]:
    return [note for note in result.notes if not note.startswith("validation texts")]


class Killed(Exception):
    pass


def killed_after(encoder: str, tmp_path: Path, done_at: int, **changes: object) -> None:
    """A training that ends in its middle, and leaves its checkpoints."""

    def stop(done: int, total: int) -> None:
        if done >= done_at:
            raise Killed

    with pytest.raises(Killed):
        train(
            examples(64),
            recipe(encoder, **changes),
            out_dir=tmp_path / "model",
            validation=examples(9)[1:],
            checkpoints=tmp_path / "checkpoints",
            progress=stop,
        )


def resumed(encoder: str, tmp_path: Path, **changes: object) -> TrainingResult:
    return train(
        examples(64),
        recipe(encoder, **changes),
        out_dir=tmp_path / "model",
        validation=examples(9)[1:],
        checkpoints=tmp_path / "checkpoints",
    )


def uninterrupted(encoder: str, tmp_path: Path, **changes: object) -> TrainingResult:
    return train(examples(64), recipe(encoder, **changes), out_dir=tmp_path / "whole", validation=examples(9)[1:])


@pytest.mark.usefixtures("_often")
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"trainable_layers": 1},
        {"sift": {}, "accumulate": 2},
        {"early_stop": {"every": 2, "patience": 9}},
        {"loss": "focal", "head_learning_rate": 1e-2},
    ],
    ids=["all layers", "kept layers", "sift", "early stop", "focal"],
)
def test_it_goes_on_from_the_middle_of_an_epoch_to_the_same_weights(
    changes: dict[str, object], encoder: str, tmp_path: Path
) -> None:
    whole = uninterrupted(encoder, tmp_path, **changes)
    killed_after(encoder, tmp_path, 180, **changes)
    assert not (tmp_path / "model").exists()
    assert list((tmp_path / "checkpoints").glob("step-*.safetensors"))
    result = resumed(encoder, tmp_path, **changes)
    assert digest(result) == digest(whole)
    assert (result.curve, result.loss, result.best_step) == (whole.curve, whole.loss, whole.best_step)
    assert [note for note in result.notes if note.startswith("went on from checkpoint step-")]
    assert not (tmp_path / "checkpoints").exists()  # finished: no more use
    Checkpoints(tmp_path / "checkpoints", result.fingerprint).save(Saved(1, {}, {}))
    assert resumed(encoder, tmp_path, **changes) == result
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.usefixtures("_often")
@pytest.mark.parametrize("fault", ["flipped", "truncated", "garbage", "empty", "other"])
def test_a_checkpoint_that_is_not_what_was_written_is_set_aside_for_the_one_before(
    fault: str, encoder: str, tmp_path: Path
) -> None:
    whole = uninterrupted(encoder, tmp_path)
    killed_after(encoder, tmp_path, 180)
    newest = max((tmp_path / "checkpoints").glob("step-*"))
    content = newest.read_bytes()
    if fault == "other":
        held = read(newest, whole.fingerprint)
        checkpoints._write(newest, held, "another training")
    else:
        newest.write_bytes(
            {
                "flipped": content[:-100] + bytes([content[-100] ^ 1]) + content[-99:],
                "truncated": content[:-1],
                "garbage": b"\x80\x04pickled",
                "empty": b"",
            }[fault]
        )
    result = resumed(encoder, tmp_path)
    assert digest(result) == digest(whole)
    reason = "is of another recipe or other examples" if fault == "other" else "is damaged"
    first, second = notes_on_checkpoints(result)
    assert first.startswith(f"checkpoint {newest.name} {reason}")
    assert first.endswith("it was set aside")
    assert second.startswith("went on from checkpoint step-")
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [f"{newest.stem}.set-aside"]


@pytest.mark.usefixtures("_often")
def test_with_no_good_checkpoint_it_starts_again_and_says_so(encoder: str, tmp_path: Path) -> None:
    whole = uninterrupted(encoder, tmp_path)
    killed_after(encoder, tmp_path, 180)
    for file in (tmp_path / "checkpoints").iterdir():
        file.write_bytes(b"nothing")
    result = resumed(encoder, tmp_path)
    assert digest(result) == digest(whole)
    assert len(notes_on_checkpoints(result)) == 3
    assert notes_on_checkpoints(result)[2] == "training started again from the beginning"


@pytest.mark.usefixtures("_often")
def test_two_are_kept_and_written_whole(encoder: str, tmp_path: Path) -> None:
    killed_after(encoder, tmp_path, 180)
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert len(names) == 2
    assert all(name.startswith("step-") and name.endswith(".safetensors") for name in names)


def test_none_is_written_before_its_time(tmp_path: Path) -> None:
    assert not Checkpoints(tmp_path, "a").due()
    assert not Checkpoints(None, "a").due()


def test_a_disk_that_is_full_is_noted_and_leaves_no_half(tmp_path: Path) -> None:
    """With a real limit on the size of files, as the system enforces it."""
    kept = Checkpoints(tmp_path / "checkpoints", "a")
    kept.save(Saved(1, {"x": torch.zeros(100)}, {}))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        kept.save(Saved(2, {"x": torch.zeros(1_000_000)}, {}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(kept.notes) == 1
    assert kept.notes[0].startswith("the checkpoint of step 2 could not be written")
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000000001.safetensors"]
    assert read(tmp_path / "checkpoints" / "step-000000001.safetensors", "a").step == 1


def test_tensors_and_values_come_back_to_the_bit(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 5), "b": torch.get_rng_state(), "c": torch.tensor(7.0), "d": torch.zeros(0)}
    kept = Checkpoints(tmp_path, "mine")
    kept.save(Saved(12, tensors, {"loss": 0.1 + 0.2, "none": None}))
    back = read(tmp_path / "step-000000012.safetensors", "mine")
    assert back.step == 12
    assert dict(back.values) == {"loss": 0.1 + 0.2, "none": None}
    assert all(torch.equal(back.tensors[name], tensor) for name, tensor in tensors.items())
    with pytest.raises(ValueError, match="of another recipe"):
        read(tmp_path / "step-000000012.safetensors", "yours")


SCRIPT = """
import sys, time
from pathlib import Path
from engine.classifiers import train
from engine.classifiers.fitting import checkpoints
from engine.classifiers.request import read_examples, read_request
checkpoints.SECONDS, checkpoints.SHARE = 0.0, 1e9
folder = Path(sys.argv[1])
asked = read_request(folder)
def slowly(done, total):
    print(done, flush=True)
    time.sleep(0.05)
train(read_examples(folder / "examples.jsonl"), asked.recipe, out_dir=asked.out_dir,
      validation=read_examples(folder / "validation.jsonl"), checkpoints=asked.checkpoints, progress=slowly)
"""


@pytest.mark.slow
def test_a_kill_without_warning_and_a_new_process_give_the_same_weights(encoder: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SCRIPT]

    def start(folder: Path) -> subprocess.Popen[str]:
        folder.mkdir(exist_ok=True)
        asked = Request(recipe=recipe(encoder), out_dir=folder / "model", checkpoints=folder / "checkpoints")
        write_request(folder, asked, examples(64), examples(9)[1:])
        return subprocess.Popen([*command, str(folder)], stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment)

    killed = start(tmp_path / "killed")
    for line in killed.stdout:
        if int(line) >= 150:  # of 288
            killed.send_signal(signal.SIGKILL)
            break
    assert killed.wait() == -signal.SIGKILL
    killed.stdout.close()
    assert not (tmp_path / "killed" / "model").exists()
    left = {path.name for path in (tmp_path / "killed" / "checkpoints").iterdir()}
    assert any(name.endswith(".safetensors") for name in left)
    again = start(tmp_path / "killed")
    first = int(again.stdout.readline())
    again.stdout.read()
    assert again.wait() == 0
    assert first >= 100  # it did not begin at the beginning
    uninterrupted(encoder, tmp_path)
    one, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "killed/model"))
    assert hashlib.sha256(one).hexdigest() == hashlib.sha256(other).hexdigest()
