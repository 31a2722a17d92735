"""Artifacts are what their rows say: a flipped byte is noticed, and nothing is hashed twice for nothing."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from engine.classifiers import Recipe, train
from engine.environment import environment
from engine.errors import Damaged, MissingModel
from tests.engine.tiny_encoders import examples, write_encoder
from tests.webapi.attack_rows import classifier_of
from webapi.models import Classifier, Policy
from workers import artifacts, hashing
from workers.artifacts import register, verified, writing
from workers.scoring import load_classifier
from workers.store import NotStored

pytestmark = pytest.mark.django_db


@pytest.fixture
def row(policy: Policy, gauntlet_home: Path, tmp_path: Path) -> Classifier:
    """A classifier with weights of its own."""
    encoder = write_encoder(tmp_path / "encoder")
    folder = gauntlet_home / "classifiers/tiny"
    train(examples(24), Recipe(encoder=str(encoder), epochs=1, export_int8=False, max_tokens=32), out_dir=folder)
    return classifier_of(policy, artifact=register(folder, "classifier"), precision="fp32")


def flip(file: Path) -> None:
    """One bit, in the middle."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


def test_a_classifier_is_loaded_as_it_was_written(row: Classifier) -> None:
    texts = [example.snippet for example in examples(4)]
    logits = load_classifier(row).logits(texts)
    assert logits.shape == (4,)
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("name", ["model.safetensors", "recipe.json", "tokenizer.json"])
def test_a_flipped_byte_is_refused_and_named(row: Classifier, name: str) -> None:
    assert row.artifact is not None
    load_classifier(row)  # so that a hash is remembered from before
    flip(row.artifact.file / name)
    with pytest.raises(Damaged) as refused:
        load_classifier(row)
    wanted = {one["name"]: one["sha256"] for one in row.artifact.files}[name]
    assert (refused.value.name, refused.value.wanted) == (f"{row.artifact.path}/{name}", wanted)
    assert len(refused.value.found) == 64
    assert refused.value.found != wanted
    for part in (name, wanted, refused.value.found):
        assert part in str(refused.value)


def test_a_file_too_many_or_too_few_is_refused(row: Classifier) -> None:
    assert row.artifact is not None
    stranger = row.artifact.file / "pytorch_model.bin"
    stranger.write_bytes(b"\x80\x04")
    with pytest.raises(Damaged, match=r"pytorch_model.bin: its SHA-256 should be nothing"):
        load_classifier(row)
    stranger.unlink()
    load_classifier(row)
    (row.artifact.file / "result.json").unlink()
    with pytest.raises(Damaged, match=r"result.json.* is missing"):
        load_classifier(row)


def test_a_row_from_before_files_were_known_is_still_verified(row: Classifier) -> None:
    assert row.artifact is not None
    row.artifact.files = []
    row.artifact.save()
    load_classifier(row)
    flip(row.artifact.file / "model.safetensors")
    with pytest.raises(Damaged) as refused:
        load_classifier(row)
    assert (refused.value.name, refused.value.wanted) == (row.artifact.path, row.artifact.sha256)


def test_weights_that_are_gone_are_missed(row: Classifier) -> None:
    row.artifact = None
    with pytest.raises(MissingModel):
        load_classifier(row)


def test_what_did_not_change_is_not_read_again(gauntlet_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = gauntlet_home / "a/b.txt"
    with writing(path) as temporary:
        temporary.write_text("hello")
    row, read = register(path, "text"), []
    monkeypatch.setattr(artifacts, "digest_of", lambda at: read.append(at) or hashing.digest_of(at))
    assert [verified(row) for _ in range(3)] == [path] * 3
    assert read == []
    os.utime(path)
    assert verified(row) == path
    assert read == [path]
    verified(row)
    assert read == [path]


def test_a_write_that_keeps_size_and_time_is_noticed(gauntlet_home: Path) -> None:
    path = gauntlet_home / "b.txt"
    path.write_text("hello")
    row, at = register(path, "text"), path.stat()
    path.write_text("hallo")
    os.utime(path, ns=(at.st_atime_ns, at.st_mtime_ns))
    with pytest.raises(Damaged):
        verified(row)


def test_what_was_never_there(gauntlet_home: Path) -> None:
    path = gauntlet_home / "c.txt"
    path.write_text("x")
    row = register(path, "text")
    path.unlink()
    with pytest.raises(NotStored):
        verified(row)


def test_the_environment_says_with_what() -> None:
    found = environment()
    assert found["packages"]["numpy"] == np.__version__
    assert found["threads"] >= 1
    assert found["processor"]
    assert found["code"] is None or len(found["code"].removesuffix("+changes")) == 40
