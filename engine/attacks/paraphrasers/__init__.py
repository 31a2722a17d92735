"""Sources of paraphrases. Heavy imports wait until one is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from engine.attacks.base import Paraphraser
from engine.attacks.paraphrasers.embedded import EmbeddedParaphraser, EmbeddedSettings
from engine.config import checked
from engine.errors import UnknownName
from engine.policies import Policy


def _embedded(policy: Policy, config: Mapping[str, Any]) -> Paraphraser:
    return EmbeddedParaphraser(checked(EmbeddedSettings, config, where="paraphraser embedded"))


PARAPHRASERS: dict[str, Callable[[Policy, Mapping[str, Any]], Paraphraser]] = {
    "embedded": _embedded,
}
"""Name -> factory; each checks its config and raises BadInput naming the field."""


def make_paraphraser(name: str, policy: Policy, config: Mapping[str, Any]) -> Paraphraser:
    """The paraphraser of that name. Raises UnknownName, BadInput, MissingModel or GeneratorError."""
    if name not in PARAPHRASERS:
        raise UnknownName("paraphraser", name, PARAPHRASERS)
    return PARAPHRASERS[name](policy, config)
