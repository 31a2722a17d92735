from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from engine.classifiers import Example, Recipe, TrainingResult, load, train
from engine.classifiers.fitting.gradients import Gradients
from engine.classifiers.fitting.plan import plan
from engine.classifiers.hardware import out_of_memory
from engine.classifiers.network import Network
from engine.classifiers.processes import Alone
from engine.errors import BadInput, OutOfMemory
from engine.snippets import Snippet
from tests.engine.tiny_encoders import examples, write_encoder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_encoder(tmp_path_factory.mktemp("encoder")))


def recipe(encoder: str, **changes: object) -> Recipe:
    quick = {"encoder": encoder, "epochs": 2, "learning_rate": 5e-3, "max_tokens": 64, "export_int8": False}
    return Recipe.model_validate({**quick, **changes})


def weights(result: TrainingResult) -> bytes:
    return (result.path / "model.safetensors").read_bytes()


# The plan


def test_the_plan_takes_every_row_once_an_epoch_and_its_rate_climbs_and_falls() -> None:
    lengths = np.random.default_rng(0).integers(5, 40, 70)
    steps = plan(lengths, np.arange(70), Recipe(epochs=3, batch_size=8, accumulate=2, warmup=0.2))
    assert len(steps) == 3 * 5  # nine batches, two a step
    for epoch in range(3):
        rows = [row for step in steps if step.epoch == epoch for batch in step.batches for row in batch]
        assert sorted(rows) == list(range(70))
    assert {len(step.batches) for step in steps} == {1, 2}
    assert [step.rate for step in steps[:4]] == pytest.approx([1 / 3, 2 / 3, 1, 1])
    assert steps[-1].rate == pytest.approx(1 / 12)
    assert [number for number, step in enumerate(steps, 1) if step.evaluated] == [5, 10, 15]
    assert all(step.point for step in steps)  # an epoch of fewer than ten steps has a point at each


def test_an_early_stop_says_when_to_look_and_the_last_step_is_always_looked_at() -> None:
    steps = plan(np.full(70, 5), np.arange(70), Recipe(batch_size=8, early_stop={"every": 4}))
    assert [number for number, step in enumerate(steps, 1) if step.evaluated] == [4, 8, 12, 16, 18]


def test_a_long_epoch_has_ten_points() -> None:
    steps = plan(np.full(1000, 5), np.arange(1000), Recipe(batch_size=8))
    assert sum(step.point for step in steps) == 20


# Gradients


def small_problem(n: int = 24) -> tuple[nn.Linear, dict[str, object]]:
    torch.manual_seed(0)
    features, layer = torch.randn(n, 8), nn.Linear(8, 2)
    rng = np.random.default_rng(0)
    return layer, {
        "forward": lambda rows: layer(features[torch.from_numpy(rows)]),
        "labels": rng.integers(0, 2, n),
        "lengths": np.sort(rng.integers(4, 30, n)),
        "parameters": list(layer.parameters()),
        "processes": Alone(),
        "perturbation": None,
    }


def expected_gradient(layer: nn.Linear, problem: dict[str, object], rows: np.ndarray) -> tuple[float, Tensor]:
    logits = problem["forward"](rows)
    loss = nn.functional.cross_entropy(logits, torch.from_numpy(problem["labels"][rows]))
    (gradient,) = torch.autograd.grad(loss, layer.weight)
    return loss.item(), gradient


def test_batches_of_a_step_have_the_gradient_of_one_batch() -> None:
    layer, problem = small_problem()
    loss, gradient = expected_gradient(layer, problem, np.arange(24))
    together = Gradients(**problem, recipe=Recipe(precision="fp32"))
    layer.weight.grad = torch.full_like(layer.weight, 9.0)  # what is left from a step before counts for nothing
    assert together([np.arange(10), np.arange(10, 13), np.arange(13, 24)]) == pytest.approx(loss, rel=1e-6)
    assert layer.weight.grad.numpy() == pytest.approx(gradient.numpy(), abs=1e-7)


def test_a_batch_that_does_not_fit_is_halved_to_the_same_gradient() -> None:
    layer, problem = small_problem()
    loss, gradient = expected_gradient(layer, problem, np.arange(24))
    inner, seen = problem["forward"], []

    def short_of_memory(rows: np.ndarray) -> Tensor:
        seen.append(len(rows))
        if len(rows) * problem["lengths"][rows].max() > 150:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return inner(rows)

    gradients = Gradients(**{**problem, "forward": short_of_memory}, recipe=Recipe(precision="fp32"))
    assert gradients([np.arange(4), np.arange(4, 24)]) == pytest.approx(loss, rel=1e-6)
    assert layer.weight.grad.numpy() == pytest.approx(gradient.numpy(), abs=1e-7)
    assert gradients.halved == 1  # the first batch fitted
    seen.clear()
    gradients([np.arange(4, 24)])
    assert max(seen) < 20  # and what is known to be too large is not tried again
    assert gradients.halved == 2


def test_one_example_that_does_not_fit_is_said() -> None:
    _, problem = small_problem()

    def never(rows: np.ndarray) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    gradients = Gradients(**{**problem, "forward": never}, recipe=Recipe())
    with pytest.raises(OutOfMemory, match="too small to train on one example of 4 tokens") as caught:
        gradients([np.arange(8)])
    assert caught.value.permanent


def test_other_errors_are_no_lack_of_memory() -> None:
    _, problem = small_problem()

    def broken(rows: np.ndarray) -> Tensor:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        Gradients(**{**problem, "forward": broken}, recipe=Recipe())([np.arange(8)])
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 55)
    assert out_of_memory(caught.value)  # as torch says it on CPUs
    assert not out_of_memory(ValueError("can't allocate memory"))
    with pytest.raises(RuntimeError) as wrapped:
        raise RuntimeError("Error calling serialize_model_into") from MemoryError()
    assert out_of_memory(wrapped.value)  # as it is told of the export of a graph
    assert not out_of_memory(RuntimeError("Error calling serialize_model_into"))


# Through `train`


def test_accumulated_batches_train_as_one_of_their_size(encoder: str, tmp_path: Path) -> None:
    """Without dropout and with texts of one length, four batches of 4 are one of 16."""
    same = [example for example in examples(60) if example.snippet.prompt.count(".") == 1]
    still = {"dropout": 0, "hidden_dropout": 0, "precision": "fp32", "trainable_layers": None, "learning_rate": 1e-3}
    whole = train(same, recipe(encoder, **still), out_dir=tmp_path / "whole")
    parts = train(same, recipe(encoder, **still, batch_size=4, accumulate=4), out_dir=tmp_path / "parts")
    assert parts.steps == whole.steps
    assert parts.loss < 0.69


def test_memory_too_small_for_a_batch_is_said_and_training_goes_on(
    encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = Network.forward

    def small(self: Network, ids: Tensor, mask: Tensor, types: Tensor) -> Tensor:
        if torch.is_grad_enabled() and len(ids) > 6:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return forward(self, ids, mask, types)

    still = {"dropout": 0, "hidden_dropout": 0, "precision": "fp32", "trainable_layers": None, "learning_rate": 1e-3}
    whole = train(examples(24), recipe(encoder, **still), out_dir=tmp_path / "whole")
    monkeypatch.setattr(Network, "forward", small)
    parts = train(examples(24), recipe(encoder, **still), out_dir=tmp_path / "parts")
    assert (whole.halved, whole.notes) == (0, ())
    assert parts.halved >= 4
    assert parts.notes == (f"memory was too small for {parts.halved} batches, which went in parts",)
    a, b = (load_file(result.path / "model.safetensors") for result in (whole, parts))
    assert all(b[name].numpy() == pytest.approx(a[name].numpy(), abs=1e-3) for name in a)


def test_memory_that_runs_out_elsewhere_is_said_as_well(
    encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **named: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr("engine.classifiers.training._write", full)
    with pytest.raises(OutOfMemory, match="memory ran out"):
        train(examples(24), recipe(encoder), out_dir=tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_leaves_no_half_classifier(encoder: str, tmp_path: Path) -> None:
    """With a real limit on the size of files, below that of the weights."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(OSError, match="the weights could not be written"):
            train(examples(24), recipe(encoder), out_dir=tmp_path / "model")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_the_curve_has_what_happened(encoder: str, tmp_path: Path) -> None:
    result = train(examples(64), recipe(encoder), out_dir=tmp_path / "model", validation=examples(10))
    steps = [point.step for point in result.curve]
    assert steps == list(range(1, 13))  # two epochs of six steps, fewer than ten points each
    assert [point.examples for point in result.curve] == [16 * step for step in steps]
    assert [point.step for point in result.curve if point.validation_loss is not None] == [6, 12]
    assert np.mean([point.training_loss for point in result.curve[6:]]) == pytest.approx(result.loss)
    scores = load(result.path, precision="fp32").logits([example.snippet for example in examples(10)])
    signs = np.array([1 if example.positive else -1 for example in examples(10)])
    assert result.curve[-1].validation_loss == pytest.approx(np.logaddexp(0, -signs * scores).mean(), rel=0.02)
    again = train(examples(64), recipe(encoder), out_dir=tmp_path / "model", validation=examples(10))
    assert again == result  # read back from its file


def test_looking_at_validation_examples_changes_no_weight(encoder: str, tmp_path: Path) -> None:
    for layers in (None, 1):
        plain = train(examples(24), recipe(encoder, trainable_layers=layers), out_dir=tmp_path / f"plain{layers}")
        seen = train(
            examples(24),
            recipe(encoder, trainable_layers=layers),
            out_dir=tmp_path / f"seen{layers}",
            validation=examples(8),
        )
        assert weights(plain) == weights(seen)
        assert plain.fingerprint != seen.fingerprint


def test_an_early_stop_takes_the_weights_from_where_validation_was_best(encoder: str, tmp_path: Path) -> None:
    """The validation labels say the opposite, so that what is learnt soon makes it worse."""
    wrong = [example._replace(positive=not example.positive) for example in examples(16)]
    stopping = recipe(encoder, epochs=20, early_stop={"every": 4, "patience": 2})
    result = train(examples(64), stopping, out_dir=tmp_path / "model", validation=wrong)
    looked = [point for point in result.curve if point.validation_loss is not None]
    best = min(looked, key=lambda point: point.validation_loss)
    assert looked[-3] == best
    assert (result.best_step, result.steps) == (best.step, best.step + 8)
    assert [point.step for point in looked] == list(range(4, best.step + 9, 4))
    assert result.notes[-1] == f"stopped after {result.steps} of 120 steps; the weights are those of step {best.step}"
    scores = load(result.path, precision="fp32").logits([example.snippet for example in wrong])
    signs = np.array([1 if example.positive else -1 for example in wrong])
    loss = np.logaddexp(0, -signs * scores).mean()
    assert loss == pytest.approx(best.validation_loss, rel=1e-2)
    assert loss < 0.95 * looked[-1].validation_loss


def test_an_early_stop_that_never_comes_still_gives_the_best(encoder: str, tmp_path: Path) -> None:
    result = train(
        examples(64), recipe(encoder, early_stop={"patience": 50}), out_dir=tmp_path / "m", validation=examples(16)
    )
    assert result.steps == 12
    looked = {point.step: point.validation_loss for point in result.curve if point.validation_loss is not None}
    assert result.best_step == min(looked, key=looked.__getitem__)
    assert len(result.notes) == 1
    assert result.notes[0].startswith("validation texts trained on as well: 16 (")


def test_an_early_stop_without_validation_examples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="early_stop: an early stop needs validation examples"):
        train(examples(8), recipe("nowhere", early_stop={}), out_dir=tmp_path / "model")


def test_tensorboard_reads_the_curve_and_the_artifact_has_none_of_it(encoder: str, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = train(
        examples(24), recipe(encoder), out_dir=tmp_path / "model", validation=examples(8), logs=tmp_path / "logs"
    )
    plain = train(examples(24), recipe(encoder), out_dir=tmp_path / "plain", validation=examples(8))
    read = EventAccumulator(str(tmp_path / "logs"))
    read.Reload()
    assert sorted(read.Tags()["scalars"]) == ["learning_rate", "loss/training", "loss/validation"]
    shown = [(event.step, event.value) for event in read.Scalars("loss/training")]
    assert [step for step, _ in shown] == [point.step for point in result.curve]
    assert [value for _, value in shown] == pytest.approx([point.training_loss for point in result.curve])
    assert {path.name for path in result.path.iterdir()} == {path.name for path in plain.path.iterdir()}
    assert weights(result) == weights(plain)


def test_folders_inside_the_classifiers_own_are_refused(tmp_path: Path) -> None:
    for name in ("logs", "checkpoints"):
        with pytest.raises(BadInput, match="lies inside the classifier's own folder"):
            train(examples(8), recipe("nowhere"), out_dir=tmp_path / "model", **{name: tmp_path / "model" / "x"})


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("focal", {"gamma": 1.0}), ("mse", {}), ("threshold_centred", {"threshold": 0.05})],
)
def test_every_loss_learns(name: str, parameters: dict[str, float], encoder: str, tmp_path: Path) -> None:
    chosen = recipe(encoder, epochs=12, trainable_layers=None, loss=name, loss_parameters=parameters)
    result = train(examples(64), chosen, out_dir=tmp_path / "model")
    logits = load(result.path, precision="fp32").logits([example.snippet for example in examples(64)])
    positive = np.array([example.positive for example in examples(64)])
    assert logits[positive].min() > logits[~positive].max()


def test_a_text_with_both_labels_is_counted_and_named(encoder: str, tmp_path: Path) -> None:
    twice = [*examples(24), examples(24)[5]._replace(positive=True), examples(24)[5]]
    result = train(twice, recipe(encoder, epochs=1), out_dir=tmp_path / "model")
    assert result.notes == (f"texts with both labels: 1 ({twice[5].snippet.content_hash[:12]})",)
    many = [Example(Snippet("", f"The dog rested by {i}."), positive) for i in range(5) for positive in (True, False)]
    result = train(many, recipe(encoder, epochs=1), out_dir=tmp_path / "many")
    assert result.notes[0].startswith("texts with both labels: 5 (")
    assert result.notes[0].count(",") == 3  # three hashes and "..."


def test_recipes_from_before_these_fields_keep_their_fingerprint() -> None:
    assert "sift" not in Recipe().identity()
    assert "accumulate" not in Recipe(loss="mse").identity()
    assert '"loss":"mse"' in Recipe(loss="mse").identity()
    assert Recipe(sift={}).identity() != Recipe().identity()
