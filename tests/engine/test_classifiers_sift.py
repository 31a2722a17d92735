"""SiFT against the facts of microsoft/DeBERTa's sift.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from engine.classifiers import Recipe, train
from engine.classifiers.encoders import load_encoder, load_tokenizer
from engine.classifiers.fitting import sift
from engine.classifiers.fitting.sift import ascended, divergence, perturbable, smoothness, start
from engine.classifiers.network import Network
from engine.classifiers.recipe import Sift
from engine.classifiers.tokens import PairTokenizer
from engine.errors import BadInput
from tests.engine.tiny_encoders import CONFIGS, examples, write_encoder


def network_and_batch(folder: Path, kind: str = "deberta") -> tuple[Network, list[Tensor]]:
    net = Network(load_encoder(str(write_encoder(folder, kind))), dropout=0.3, seed=0).eval()
    tokenizer = PairTokenizer(load_tokenizer(str(folder)).backend_tokenizer, max_tokens=64, pad_id=0)
    batch = tokenizer.encode([example.snippet for example in examples(6)]).batch(np.arange(6), 0)
    return net, [torch.from_numpy(part) for part in batch]


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_hook_does_not_change_clean_logits_and_leaves_no_trace(kind: str, tmp_path: Path) -> None:
    net, batch = network_and_batch(tmp_path, kind)
    before = [(name, type(module), len(module._forward_pre_hooks)) for name, module in net.named_modules()]
    with torch.no_grad():
        clean = net(*batch)
        with perturbable(net) as perturbation:
            assert torch.equal(net(*batch), clean)
            perturbation.delta = torch.zeros(perturbation.shape)
            assert (net(*batch) - clean).abs().max() < 1e-4
            perturbation.delta = torch.full(perturbation.shape, 0.5) * torch.arange(32).cos()
            assert (net(*batch) - clean).abs().max() > 1e-3  # it does reach the logits
        assert torch.equal(net(*batch), clean)
    after = [(name, type(module), len(module._forward_pre_hooks)) for name, module in net.named_modules()]
    assert after == before


def test_the_first_move_is_noise_cut_off_at_two_deviations() -> None:
    torch.manual_seed(0)
    delta = start(torch.Size((50, 40, 32)), torch.device("cpu"), Sift())
    assert delta.dtype == torch.float32
    assert delta.abs().max() == pytest.approx(2e-2, rel=1e-6)
    assert (delta.abs() > 2e-2 - 1e-6).float().mean().item() == pytest.approx(0.0455, abs=0.003)  # beyond 2 deviations
    assert delta.std().item() == pytest.approx(0.0096, abs=2e-4)  # of a normal clamped there: 0.9594 deviations


def test_a_step_is_exactly_its_size_in_each_tokens_greatest_coordinate() -> None:
    torch.manual_seed(0)
    gradient = torch.randn(3, 5, 32, dtype=torch.float64)
    step = ascended(torch.zeros_like(gradient), gradient, Sift())
    at = gradient.abs().argmax(-1, keepdim=True)
    assert step.gather(-1, at).abs().numpy() == pytest.approx(np.full((3, 5, 1), 1e-4), rel=2e-6)
    assert torch.equal(step.sign(), gradient.sign())
    assert torch.equal(step.abs().argmax(-1, keepdim=True), at)
    euclidean = ascended(torch.zeros_like(gradient), gradient, Sift(norm="l2", step_size=0.5))
    assert euclidean.norm(dim=-1).numpy() == pytest.approx(np.full((3, 5), 0.5), rel=1e-5)


def test_one_ascent_step_in_the_network_is_theirs(tmp_path: Path) -> None:
    """delta + 1e-4 g / (1e-6 + max |g|) for each token, g the gradient of the summed divergence at the noise."""
    net, batch = network_and_batch(tmp_path)
    with torch.no_grad():
        net.head.weight.mul_(30)  # answers that move: a gradient well above 1e-6
    moved: list[Tensor] = []
    with perturbable(net) as perturbation:
        clean = net(*batch).detach()

        def answer() -> Tensor:
            moved.append(perturbation.delta)
            return net(*batch)

        torch.manual_seed(5)
        smoothness(answer, clean, perturbation, Sift())
        first = moved[0].detach().clone().requires_grad_(True)
        perturbation.delta = first
        p, q = clean.softmax(-1), net(*batch)
        inner = -(p * q.log_softmax(-1)).sum() - (q.detach().softmax(-1) * clean.log_softmax(-1)).sum()
        (g,) = torch.autograd.grad(inner, first)
    torch.manual_seed(5)
    assert torch.equal(moved[0].detach(), (torch.randn(first.shape) * 1e-2).clamp(-2e-2, 2e-2))
    assert len(moved) == 2
    expected = moved[0].detach() + 1e-4 * g / (1e-6 + g.abs().amax(-1, keepdim=True))
    assert moved[1].numpy() == pytest.approx(expected.numpy(), abs=1e-7)
    greatest = g.abs().amax(-1)
    felt = greatest > 1e-4  # where the 1e-6 that saves padding from 0 / 0 takes less than a hundredth off
    assert felt.sum() > batch[1].sum() / 3
    assert torch.equal(moved[1][batch[1] == 0], moved[0].detach()[batch[1] == 0])
    step = (moved[1] - moved[0].detach()).abs().amax(-1)[felt]
    assert step.numpy() == pytest.approx(np.full(len(step), 1e-4), rel=0.011)


def test_at_no_perturbation_there_is_no_gradient(tmp_path: Path) -> None:
    net, batch = network_and_batch(tmp_path)
    with perturbable(net) as perturbation:
        clean = net(*batch).detach()
        perturbation.delta = torch.zeros(perturbation.shape, requires_grad=True)
        (gradient,) = torch.autograd.grad(divergence(net(*batch), clean).sum(), perturbation.delta)
    assert gradient.abs().max() < 1e-6


def test_the_inner_step_leaves_gradients_of_parameters_alone(tmp_path: Path) -> None:
    net, batch = network_and_batch(tmp_path)
    for parameter in net.parameters():
        parameter.grad = torch.full_like(parameter, 0.25)
    with perturbable(net) as perturbation:
        value = smoothness(lambda: net(*batch), net(*batch), perturbation, Sift(steps=3))
    assert value is not None
    assert all(bool((parameter.grad == 0.25).all()) for parameter in net.parameters())
    assert all(parameter.requires_grad for parameter in net.parameters())
    value.sum().backward()
    assert any(bool((parameter.grad != 0.25).any()) for parameter in net.parameters())


def test_the_divergence_by_hand() -> None:
    first = torch.tensor([[0.0, 2.0], [1.0, 1.0]], dtype=torch.float64, requires_grad=True)
    second = torch.tensor([[0.5, 1.0], [1.0, 1.0]], dtype=torch.float64, requires_grad=True)
    p, q = first.detach().softmax(1).numpy(), second.detach().softmax(1).numpy()
    expected = -(q * np.log(p)).sum(1) - (p * np.log(q)).sum(1)
    value = divergence(first, second)
    assert value.detach().numpy() == pytest.approx(expected)
    assert value[1].item() == pytest.approx(2 * np.log(2))  # equal answers: twice their entropy
    value.sum().backward()  # and the gradient flows into both
    assert first.grad.numpy() == pytest.approx(p - q)
    assert second.grad.numpy() == pytest.approx(q - p)


def test_a_gradient_that_is_no_number_skips_the_batch(tmp_path: Path) -> None:
    net, batch = network_and_batch(tmp_path)
    with perturbable(net) as perturbation:
        clean = net(*batch)
        assert smoothness(lambda: net(*batch) * float("nan"), clean, perturbation, Sift()) is None
        assert perturbation.delta is None


def test_an_encoder_without_such_a_norm_is_refused(tmp_path: Path) -> None:
    net, _ = network_and_batch(tmp_path, "bert")
    net.encoder.embeddings.LayerNorm = nn.Identity()
    with pytest.raises(BadInput, match="sift: this encoder has no layer norm of its embeddings"), perturbable(net):
        pass


@pytest.mark.parametrize("layers", [None, 1])
def test_training_with_it_changes_what_learns_and_only_that(layers: int | None, tmp_path: Path) -> None:
    encoder = str(write_encoder(tmp_path / "encoder"))
    plain = {"encoder": encoder, "epochs": 1, "max_tokens": 64, "export_int8": False, "trainable_layers": layers}
    totals: set[int] = set()
    weights = []
    for name, extra in (("without", {}), ("with", {"sift": {}}), ("again", {"sift": {}})):
        result = train(
            examples(24),
            Recipe.model_validate({**plain, **extra}),
            out_dir=tmp_path / name,
            progress=lambda done, total, name=name: totals.add(total) if name == "with" else None,
        )
        weights.append(load_file(result.path / "model.safetensors"))
    before = load_file(Path(encoder) / "model.safetensors")
    without, with_, again = weights
    assert all(torch.equal(with_[name], again[name]) for name in with_)
    assert not torch.equal(without["head.weight"], with_["head.weight"])
    assert totals == {36}  # frozen layers are not kept: the embeddings below them move
    frozen = [name for name in before if not name.startswith(("encoder.layer.2.", "pooler"))]
    assert all(torch.equal(before[name], with_[f"encoder.{name}"]) for name in frozen) == (layers == 1)


def test_it_makes_answers_smoother(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained with it, a classifier answers more alike under the same noise."""
    encoder = str(write_encoder(tmp_path / "encoder"))
    noise = Sift(init=0.3, steps=0)

    def spread(extra: dict[str, object]) -> float:
        recipe = Recipe.model_validate(
            {
                "encoder": encoder, "epochs": 6, "max_tokens": 64, "export_int8": False, "trainable_layers": None,
                "learning_rate": 2e-3, "dropout": 0, "hidden_dropout": 0, **extra,
            }
        )  # fmt: skip
        folder = tmp_path / f"model{len(extra)}"
        train(examples(48), recipe, out_dir=folder)
        from engine.classifiers.torch_scoring import read_network

        net = read_network(folder, recipe)
        _, batch = network_and_batch(tmp_path / "tokens", "bert")
        torch.manual_seed(1)
        with torch.no_grad(), perturbable(net) as perturbation:
            clean = net(*batch)
            perturbation.delta = sift.start(perturbation.shape, torch.device("cpu"), noise)
            return float((divergence(net(*batch), clean) - divergence(clean, clean)).mean())

    assert spread({"sift": {"init": 0.3, "weight": 300}}) < 0.7 * spread({})
