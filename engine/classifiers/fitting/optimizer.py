"""AdamW on what learns, and its state as tensors that a checkpoint can hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from engine.classifiers.network import Network
from engine.classifiers.recipe import Recipe


def adamw(network: Network, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW at the full learning rates; weight decay on matrices only."""
    head_rate = recipe.head_learning_rate or recipe.learning_rate
    groups = []
    for module, rate in ((network.encoder, recipe.learning_rate), (network.head, head_rate)):
        learning = [p for p in module.parameters() if p.requires_grad]
        matrices = [p for p in learning if p.ndim > 1]
        vectors = [p for p in learning if p.ndim <= 1]
        groups.append({"params": matrices, "lr": rate, "full_rate": rate, "weight_decay": recipe.weight_decay})
        groups.append({"params": vectors, "lr": rate, "full_rate": rate, "weight_decay": 0.0})
    return torch.optim.AdamW([group for group in groups if group["params"]], fused=True)


def set_rate(optimizer: torch.optim.Optimizer, share: float) -> None:
    """This share of the full learning rates."""
    for group in optimizer.param_groups:
        group["lr"] = group["full_rate"] * share


def moments(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's memory of each parameter, by the parameter's number and the memory's name."""
    state = optimizer.state_dict()["state"]
    return {f"{number}.{name}": value for number, memory in state.items() for name, value in memory.items()}


def restore_moments(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The opposite of `moments`."""
    state: dict[int, dict[str, Any]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
