from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.classifiers import Recipe, check_encoder, train
from engine.errors import BadInput, MissingModel
from tests.engine.tiny_encoders import VOCABULARY, examples, write_encoder


def recipe(encoder: Path, **changes: object) -> Recipe:
    return Recipe.model_validate({"encoder": str(encoder), "max_tokens": 64, "export_int8": False, **changes})


def other_tokenizer(folder: Path) -> Path:
    """The encoder with a tokenizer of a larger vocabulary than its embeddings."""
    write_encoder(folder)
    said = json.loads((folder / "tokenizer.json").read_text())
    said["model"]["vocab"] |= {f"word{i}": len(VOCABULARY) + i for i in range(5)}
    (folder / "tokenizer.json").write_text(json.dumps(said))
    return folder


@pytest.mark.parametrize("kind", ["bert", "roberta", "deberta", "distilbert", "modernbert"])
def test_an_encoder_that_suits_passes(kind: str, tmp_path: Path) -> None:
    check_encoder(recipe(write_encoder(tmp_path / "encoder", kind), trainable_layers=3))


def test_the_bundled_encoder_with_the_defaults_passes() -> None:
    check_encoder(Recipe())


def test_a_tokenizer_of_another_model_is_refused_early_and_by_training(tmp_path: Path) -> None:
    encoder = other_tokenizer(tmp_path / "encoder")
    last = len(VOCABULARY) + 4
    said = f"encoder: its tokenizer counts tokens up to {last}, its embeddings end at {len(VOCABULARY) - 1}"
    with pytest.raises(BadInput, match=said):
        check_encoder(recipe(encoder))
    with pytest.raises(BadInput, match=said):
        train(examples(8), recipe(encoder), out_dir=tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"max_tokens": 65}, "max_tokens: 65 is more than the 64"),
        ({"trainable_layers": 4}, "trainable_layers: 4 is more than the encoder's 3 layers"),
    ],
)
def test_what_the_encoder_cannot_take_is_named(changes: dict[str, int], said: str, tmp_path: Path) -> None:
    encoder = write_encoder(tmp_path / "encoder")
    with pytest.raises(BadInput, match=said):
        check_encoder(recipe(encoder, **changes))


def test_weights_that_are_missing_pickled_or_cut_off_are_told_before_they_are_wanted(tmp_path: Path) -> None:
    encoder = write_encoder(tmp_path / "encoder")
    file = encoder / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    with pytest.raises(MissingModel, match=r"could not be loaded: model\.safetensors: .*not fully covered"):
        check_encoder(recipe(encoder))
    file.rename(encoder / "pytorch_model.bin")
    with pytest.raises(MissingModel, match=r"could not be loaded: it has no model\.safetensors"):
        check_encoder(recipe(encoder))
