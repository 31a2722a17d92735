"""Acquisition functions: how much each snippet is worth a label. One a file; a new one is one line in ACQUISITION."""

from __future__ import annotations

from engine.acquisition.base import Acquisition, Opinions
from engine.acquisition.disagreement import disagreement
from engine.acquisition.entropy import entropy
from engine.acquisition.expected_change import expected_change
from engine.acquisition.margin import margin
from engine.acquisition.near_threshold import near_threshold
from engine.acquisition.random_order import random_order
from engine.errors import UnknownName

__all__ = ["ACQUISITION", "Acquisition", "Opinions", "acquisition"]

ACQUISITION: dict[str, Acquisition] = {
    "disagreement": disagreement,
    "entropy": entropy,
    "expected_change": expected_change,
    "margin": margin,
    "near_threshold": near_threshold,
    "random": random_order,
}


def acquisition(name: str) -> Acquisition:
    """The acquisition function of that name. Raises UnknownName listing those there are."""
    if name not in ACQUISITION:
        raise UnknownName("acquisition function", name, ACQUISITION)
    return ACQUISITION[name]
