from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from engine.classifiers import Recipe
from engine.classifiers.losses import LOSSES, loss
from engine.errors import BadInput, UnknownName

MARGINS = [-9.0, -6.2, -2.0, -0.3, 0.0, 0.7, 3.0, 8.0]


def batch(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """Every margin with either label; the logits themselves lie anywhere."""
    margins = torch.tensor(MARGINS * 2, dtype=dtype)
    low = torch.linspace(-1, 2, len(margins), dtype=dtype)
    return torch.stack([low, low + margins], dim=1), torch.tensor([0] * len(MARGINS) + [1] * len(MARGINS))


@pytest.mark.parametrize("name", LOSSES)
def test_it_is_one_value_an_example_of_its_own_row_and_finite_at_extremes(name: str) -> None:
    logits, labels = batch(torch.float32)
    values = loss(name, {})(logits, labels)
    assert values.shape == labels.shape
    assert (values >= 0).all()
    alone = [float(loss(name, {})(logits[i : i + 1], labels[i : i + 1])) for i in range(len(labels))]
    assert values.numpy() == pytest.approx(alone)
    for margin in (0, 1e3, -1e3, 1e4, -1e4):
        for label in (0, 1):
            extreme = torch.tensor([[0.0, margin]], requires_grad=True)
            value = loss(name, {})(extreme, torch.tensor([label])).sum()
            value.backward()
            assert torch.isfinite(value)
            assert torch.isfinite(extreme.grad).all()


@pytest.mark.parametrize("name", LOSSES)
def test_its_gradient_is_its_slope(name: str) -> None:
    logits, labels = batch()
    assert torch.autograd.gradcheck(lambda z: loss(name, {})(z, labels), (logits.requires_grad_(True),))


@pytest.mark.parametrize("name", LOSSES)
def test_right_answers_cost_less_the_surer_they_are(name: str) -> None:
    for label, sign in ((0, -1), (1, 1)):
        margins = sign * torch.linspace(-9, 9, 19, dtype=torch.float64)
        values = loss(name, {})(torch.stack([torch.zeros(19), margins], 1), torch.full((19,), label))
        assert (values.diff() < 0).all()


def test_cross_entropy_is_torchs() -> None:
    logits, labels = batch()
    assert torch.equal(
        loss("cross_entropy", {})(logits, labels), nn.functional.cross_entropy(logits, labels, reduction="none")
    )


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_is_the_papers_formula(gamma: float) -> None:
    logits, labels = batch()
    p = logits.softmax(1)[torch.arange(len(labels)), labels]
    expected = (1 - p) ** gamma * -p.log()
    assert loss("focal", {"gamma": gamma})(logits, labels).numpy() == pytest.approx(expected.numpy(), rel=1e-9)


def test_focals_slope_is_finite_where_the_power_has_none() -> None:
    sure = torch.tensor([[0.0, 60.0]], requires_grad=True)
    loss("focal", {"gamma": 0.5})(sure, torch.tensor([1])).sum().backward()
    assert torch.isfinite(sure.grad).all()


def test_mse_is_the_brier_score() -> None:
    logits, labels = batch()
    score = logits.softmax(1)[:, 1]
    assert loss("mse", {})(logits, labels).numpy() == pytest.approx(((score - labels) ** 2).numpy(), rel=1e-9)


def test_threshold_centred_by_hand() -> None:
    logits = torch.tensor([[0.0, -6.0], [0.0, -6.0], [1.0, 3.0]], dtype=torch.float64)
    c = math.log(0.002 / 0.998)
    expected = [
        math.log1p(math.exp(c + 6)) / 0.004,
        math.log1p(math.exp(-6 - c)) / 1.996,
        math.log1p(math.exp(c - 2)) / 0.004,
    ]
    values = loss("threshold_centred", {"threshold": 0.002})(logits, torch.tensor([1, 0, 1]))
    assert values.numpy() == pytest.approx(expected, rel=1e-12)


def test_threshold_centred_at_one_half_is_cross_entropy_and_begins_like_it_everywhere() -> None:
    logits, labels = batch()
    half = loss("threshold_centred", {"threshold": 0.5})(logits, labels)
    assert half.numpy() == pytest.approx(loss("cross_entropy", {})(logits, labels).numpy(), rel=1e-9)
    for label, slope in ((1, -0.5), (0, 0.5)):
        start = torch.zeros((1, 2), dtype=torch.float64, requires_grad=True)
        loss("threshold_centred", {"threshold": 0.002})(start, torch.tensor([label])).sum().backward()
        assert start.grad[0, 1].item() == pytest.approx(slope, rel=1e-12)


@pytest.mark.parametrize("q", [0.0005, 0.002, 0.03, 0.5, 0.9])
def test_proper_losses_are_least_at_the_true_probability(q: float) -> None:
    margins = torch.linspace(-9, 9, 36_001, dtype=torch.float64)
    logits = torch.stack([torch.zeros_like(margins), margins], 1)
    for name in ("cross_entropy", "mse", "threshold_centred"):
        one, zero = (loss(name, {})(logits, torch.full((len(margins),), label)) for label in (1, 0))
        best = margins[(q * one + (1 - q) * zero).argmin()]
        assert best.item() == pytest.approx(math.log(q / (1 - q)), abs=1e-3), name


def test_a_threshold_centred_error_counts_below_the_threshold_and_fades_above_it() -> None:
    """The curvature at the optimum is the weight that the docstring gives."""

    def curvature(q: float, t: float) -> float:
        m = torch.tensor([math.log(q / (1 - q))], dtype=torch.float64, requires_grad=True)
        logits = torch.stack([torch.zeros_like(m), m], 1)
        one, zero = (loss("threshold_centred", {"threshold": t})(logits, torch.tensor([label])) for label in (1, 0))
        (slope,) = torch.autograd.grad((q * one + (1 - q) * zero).sum(), m, create_graph=True)
        return float(torch.autograd.grad(slope.sum(), m)[0])

    t = 0.002
    weights = [curvature(q, t) / (q * (1 - q)) for q in (1e-5, 0.002, 0.1, 0.9)]
    expected = [1 / (t * (1 - q) + q * (1 - t)) for q in (1e-5, 0.002, 0.1, 0.9)]
    assert np.array(weights) / weights[0] == pytest.approx(np.array(expected) / expected[0], rel=1e-6)


def test_names_and_parameters_are_checked() -> None:
    with pytest.raises(UnknownName, match="unknown loss 'hinge'; known: cross_entropy, focal"):
        loss("hinge", {})
    with pytest.raises(BadInput, match=r"loss focal: gamma: must be at least 0"):
        loss("focal", {"gamma": -1})
    with pytest.raises(BadInput, match=r"loss mse: gamma: there is no such field"):
        loss("mse", {"gamma": 1})


def test_recipes_name_a_loss_and_check_its_parameters() -> None:
    assert Recipe(loss="focal", loss_parameters={"gamma": 1}).loss_parameters == {"gamma": 1}
    for wrong, field in (
        ({"loss": "hinge"}, "loss"),
        ({"loss": "focal", "loss_parameters": {"beta": 1}}, "loss_parameters"),
        ({"loss_parameters": {"gamma": 1}}, "loss_parameters"),
        ({"loss": "threshold_centred", "loss_parameters": {"threshold": 0.9}}, "loss_parameters"),
    ):
        with pytest.raises(ValidationError) as caught:
            Recipe.model_validate(wrong)
        assert [error["loc"] for error in caught.value.errors()] == [(field,)]


def test_recipes_and_losses_are_read_without_torch() -> None:
    code = "import sys, engine.classifiers.losses, engine.classifiers.recipe; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
