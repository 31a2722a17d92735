"""Prompts to completions: three sources behind one protocol, and rejection sampling through a classifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from engine.errors import UnknownName
from engine.generation.base import Generator
from engine.generation.rejection import Sampled, logit_cutoff, rejection_sample
from engine.policies import Policy

__all__ = ["GENERATORS", "Generator", "Sampled", "logit_cutoff", "make_generator", "rejection_sample"]


def _nearest_continuations(policy: Policy, config: Mapping[str, Any]) -> Generator:
    from engine.generation.nearest import make_nearest

    return make_nearest(config)


GENERATORS: dict[str, Callable[[Policy, Mapping[str, Any]], Generator]] = {
    "nearest_continuations": _nearest_continuations,
}
"""Name -> factory; each checks its config and raises BadInput naming the field. Heavy imports wait for the call."""


def make_generator(name: str, policy: Policy, config: Mapping[str, Any]) -> Generator:
    """The generator of that name. Raises UnknownName, BadInput, MissingModel or GeneratorError."""
    if name not in GENERATORS:
        raise UnknownName("generator", name, GENERATORS)
    return GENERATORS[name](policy, config)
