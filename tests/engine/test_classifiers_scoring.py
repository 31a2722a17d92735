from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoTokenizer

from engine.classifiers import Recipe, TrainingResult, base, load, score_stream, scoring, train
from engine.classifiers.loading import PRECISIONS
from engine.errors import BadInput, UnknownName
from engine.snippets import Snippet
from tests.engine.tiny_encoders import examples, write_encoder

SNIPPETS = [example.snippet for example in examples(40)] + [Snippet("", "The dog rested."), Snippet("They went.", "")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    encoder = write_encoder(tmp_path_factory.mktemp("encoder"))
    recipe = Recipe(encoder=str(encoder), epochs=10, learning_rate=5e-3, max_tokens=64, trainable_layers=None)
    return train(examples(64), recipe, out_dir=tmp_path_factory.mktemp("trained") / "model")


@pytest.fixture
def folder(trained: TrainingResult, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained.path, tmp_path / "model"))


def test_fp32_scores_are_those_of_the_weights_on_the_disk(trained: TrainingResult) -> None:
    weights = load_file(trained.path / "model.safetensors")
    encoder = AutoModel.from_config(AutoConfig.from_pretrained(trained.path)).eval()
    encoder.pooler = None
    encoder.load_state_dict({k.removeprefix("encoder."): v for k, v in weights.items() if k.startswith("encoder.")})
    tokenizer = AutoTokenizer.from_pretrained(trained.path)
    expected = []
    for snippet in SNIPPETS[:8]:
        batch = tokenizer(snippet.prompt, snippet.completion, return_tensors="pt", return_token_type_ids=True)
        with torch.no_grad():
            mean = encoder(**batch).last_hidden_state[0].mean(0)
        z = mean @ weights["head.weight"].T + weights["head.bias"]
        expected.append(float(z[1] - z[0]))
    assert load(trained.path, precision="fp32").logits(SNIPPETS[:8]) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_keeps_order_and_says_how_far_it_is(trained: TrainingResult, precision: str) -> None:
    classifier = load(trained.path, precision=precision)
    seen: list[tuple[int, int]] = []
    logits = classifier.logits(SNIPPETS, progress=lambda done, total: seen.append((done, total)))
    assert logits.dtype == np.float32
    assert logits.shape == (42,)
    order = np.random.default_rng(0).permutation(42)
    assert classifier.logits([SNIPPETS[i] for i in order]) == pytest.approx(logits[order], abs=0.05)
    assert seen[-1] == (42, 42)
    assert classifier.logits([]).shape == (0,)
    assert classifier.count_tokens(Snippet("They went.", "The dog rested.")) == 10
    exact = load(trained.path, precision="fp32").logits(SNIPPETS)
    assert np.mean((logits < 0) == (exact < 0)) == 1


def test_an_int8_score_does_not_depend_on_its_company(trained: TrainingResult) -> None:
    classifier = load(trained.path)
    alone = [classifier.logits([snippet])[0] for snippet in SNIPPETS]
    assert classifier.logits(SNIPPETS) == pytest.approx(alone, abs=1e-4)


def test_the_result_says_how_int8_compares(trained: TrainingResult) -> None:
    exact, int8 = (load(trained.path, precision=p).logits([e.snippet for e in examples(64)]) for p in ("fp32", "int8"))
    assert trained.int8_checked == 64
    assert trained.int8_max_difference == pytest.approx(np.abs(exact - int8).max(), abs=1e-4)
    negatives = exact[[not example.positive for example in examples(64)]]
    assert trained.int8_threshold == pytest.approx(np.quantile(negatives, 0.7), abs=1e-4)
    assert trained.int8_equal_decisions == np.mean((exact < trained.int8_threshold) == (int8 < trained.int8_threshold))


@pytest.mark.skipif(scoring.saturates(), reason="signed products overflow on this processor")
def test_processors_that_could_overflow_get_unsigned_weights_and_the_same_scores(
    trained: TrainingResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "saturates", lambda: False)
    signed = load(trained.path).logits(SNIPPETS)
    monkeypatch.setattr(scoring, "saturates", lambda: True)
    # The integers are the same; their products with the scales may be rounded otherwise, and a code turn out one off.
    assert load(trained.path).logits(SNIPPETS) == pytest.approx(signed, abs=0.02)


def test_chunks_and_streams_give_the_same_scores(trained: TrainingResult, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = load(trained.path)
    expected = classifier.logits(SNIPPETS)
    taken = 0

    def source() -> Iterator[Snippet]:
        nonlocal taken
        for snippet in SNIPPETS:
            taken += 1
            yield snippet

    stream = score_stream(classifier, source(), chunk=10)
    first = next(stream)
    assert taken == 10
    assert np.concatenate([first, *stream]) == pytest.approx(expected, abs=1e-4)
    monkeypatch.setattr(scoring, "CHUNK", 16)
    assert classifier.logits(SNIPPETS) == pytest.approx(expected, abs=1e-4)
    assert base.CHUNK == 8192


def test_threads_score_apart_and_stop_together(trained: TrainingResult, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = load(trained.path).logits(SNIPPETS)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    classifier = load(trained.path)
    monkeypatch.setattr(type(classifier), "budget", 40)
    assert classifier.logits(SNIPPETS) == pytest.approx(expected, abs=1e-4)

    def stop(done: int, total: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        classifier.logits(SNIPPETS, progress=stop)


@pytest.mark.parametrize("value", ["0", "two", "-1"])
def test_a_wrong_number_of_threads_is_named(
    trained: TrainingResult, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    with pytest.raises(BadInput, match=f"OMP_NUM_THREADS: '{value}' is not a number of threads"):
        load(trained.path)


def test_an_unknown_precision_lists_the_known_ones(trained: TrainingResult) -> None:
    with pytest.raises(UnknownName, match="unknown precision 'int4'; known: bf16, fp32, int8"):
        load(trained.path, precision="int4")


@pytest.mark.parametrize("name", ["recipe.json", "config.json", "tokenizer.json", "model.safetensors", "model.onnx"])
def test_a_missing_or_damaged_file_is_named(folder: Path, name: str) -> None:
    precision = "fp32" if name == "model.safetensors" else "int8"
    (folder / name).write_bytes((folder / name).read_bytes()[:100])
    with pytest.raises(BadInput, match=name):
        load(folder, precision=precision)
    (folder / name).unlink()
    with pytest.raises(BadInput, match=f"{name} is missing"):
        load(folder, precision=precision)


def test_a_recipe_with_a_wrong_value_is_named_by_its_field(folder: Path) -> None:
    values = json.loads((folder / "recipe.json").read_text())
    (folder / "recipe.json").write_text(json.dumps(values | {"max_tokens": 0}))
    with pytest.raises(BadInput, match=r"recipe\.json: max_tokens"):
        load(folder)


def test_weights_of_another_shape_are_refused(folder: Path) -> None:
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | {"num_hidden_layers": 2}))
    with pytest.raises(BadInput, match=r"model\.safetensors: does not hold this network's weights"):
        load(folder, precision="fp32")


def test_pickles_are_never_read(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(BadInput, match=r"model\.safetensors is missing; pytorch_model\.bin can run code"):
        load(folder, precision="fp32")
    with pytest.raises(BadInput, match="no such folder"):
        load(tmp_path / "nowhere")


def test_int8_scoring_needs_no_torch(trained: TrainingResult) -> None:
    script = (
        "import sys, pathlib, engine.classifiers, engine.snippets\n"
        "engine.classifiers.load(pathlib.Path(sys.argv[1])).logits([engine.snippets.Snippet('', 'The dog rested.')])\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, str(trained.path)], check=True)
