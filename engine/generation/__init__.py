"""Prompts to completions: three sources behind one protocol, and rejection sampling through a classifier."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from engine.config import checked
from engine.endpoints.ledger import Ledger
from engine.endpoints.settings import Account, EndpointSettings
from engine.errors import UnknownName
from engine.generation.base import Generator
from engine.generation.rejection import (
    Filter,
    Sampled,
    accepts,
    logit_cutoff,
    rejection_sample,
    rejection_stream,
    shared_sample,
)
from engine.generation.settings import CausalLMSettings, NearestConfig
from engine.policies import Policy
from engine.snippets import Snippet

__all__ = [
    "GENERATORS",
    "Filter",
    "Generator",
    "Sampled",
    "accepts",
    "check_generator",
    "logit_cutoff",
    "make_generator",
    "rejection_sample",
    "rejection_stream",
    "shared_sample",
]


def _nearest_continuations(
    policy: Policy, config: Mapping[str, Any], corpus: Iterable[Snippet], account: Account
) -> Generator:
    from engine.generation.nearest import make_nearest

    return make_nearest(policy.snippet_rules, config, corpus)


def _causal_lm(policy: Policy, config: Mapping[str, Any], corpus: Iterable[Snippet], account: Account) -> Generator:
    from engine.generation.causal_lm import make_causal_lm

    return make_causal_lm(policy.snippet_rules, config)


def _openai(policy: Policy, config: Mapping[str, Any], corpus: Iterable[Snippet], account: Account) -> Generator:
    from engine.generation.openai_endpoint import make_openai

    return make_openai(policy.snippet_rules, config, account)


GENERATORS: dict[str, Callable[[Policy, Mapping[str, Any], Iterable[Snippet], Account], Generator]] = {
    "nearest_continuations": _nearest_continuations,
    "causal_lm": _causal_lm,
    "openai": _openai,
}
"""Name -> factory; each checks its config and raises BadInput naming the field. Heavy imports wait for the call."""


SETTINGS: dict[str, Callable[[], type[BaseModel]]] = {
    "nearest_continuations": lambda: NearestConfig,
    "causal_lm": lambda: CausalLMSettings,
    "openai": lambda: EndpointSettings,
}
"""Name -> what its config is checked against."""


def check_generator(name: str, config: Mapping[str, Any]) -> None:
    """Raises UnknownName, or BadInput naming each wrong field of `config`. Loads no model and looks for no key."""
    if name not in GENERATORS:
        raise UnknownName("generator", name, GENERATORS)
    checked(SETTINGS[name](), config, where=f"generator {name}")


def make_generator(
    name: str,
    policy: Policy,
    config: Mapping[str, Any],
    *,
    corpus: Iterable[Snippet] = (),
    ledger: Ledger | None = None,
    cache_dir: Path | None = None,
) -> Generator:
    """The generator of that name. `corpus` is what those that learn from text may learn from.

    `ledger` and `cache_dir` are for one that asks an endpoint: see `Endpoint`. Raises UnknownName, BadInput,
    MissingModel or GeneratorError.
    """
    if name not in GENERATORS:
        raise UnknownName("generator", name, GENERATORS)
    return GENERATORS[name](policy, config, corpus, Account(ledger, cache_dir))
