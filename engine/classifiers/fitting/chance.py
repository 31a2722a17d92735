"""Torch's chance: seeded for a training, put back afterwards, and kept in checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from engine.classifiers.threads import threads


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """Torch's chance seeded and its threads set for a while; both are put back as they were."""
    before = torch.get_num_threads()
    cards = [torch.cuda.current_device()] if torch.cuda.is_available() else []  # others are other processes' own
    with torch.random.fork_rng(cards):
        torch.manual_seed(seed)
        torch.set_num_threads(threads())
        try:
            yield
        finally:
            torch.set_num_threads(before)


def chance_now() -> dict[str, Tensor]:
    """The state of torch's generators, which dropout and SiFT draw from."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def restore_chance(states: Mapping[str, Tensor]) -> None:
    """Puts them back."""
    torch.set_rng_state(states["cpu"])
    if torch.cuda.is_available() and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"])
