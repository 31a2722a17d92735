"""Sources of paraphrases. Heavy imports wait until one is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from engine.attacks.paraphrasers.base import Paraphraser
from engine.attacks.paraphrasers.embedded import EmbeddedParaphraser, EmbeddedSettings
from engine.config import checked
from engine.endpoints.ledger import Ledger
from engine.endpoints.settings import Account, EndpointSettings
from engine.errors import UnknownName
from engine.policies import Policy


def _embedded(policy: Policy, config: Mapping[str, Any], account: Account) -> Paraphraser:
    return EmbeddedParaphraser(checked(EmbeddedSettings, config, where="paraphraser embedded"))


def _openai(policy: Policy, config: Mapping[str, Any], account: Account) -> Paraphraser:
    from engine.attacks.paraphrasers.openai_endpoint import make_openai

    return make_openai(policy, config, account)


class _StoryWorldSettings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    keeps: float = Field(0.6, ge=0, le=1)
    """Share of the re-tellings of an injury that still tell of one."""


def _story_world(policy: Policy, config: Mapping[str, Any], account: Account) -> Paraphraser:
    from engine.simulation import StoryWorldParaphraser

    return StoryWorldParaphraser(keeps=checked(_StoryWorldSettings, config, where="paraphraser story_world").keeps)


PARAPHRASERS: dict[str, Callable[[Policy, Mapping[str, Any], Account], Paraphraser]] = {
    "embedded": _embedded,
    "openai": _openai,
    "story_world": _story_world,
}
"""Name -> factory; each checks its config and raises BadInput naming the field."""


def _endpoint_settings() -> type[BaseModel]:
    from engine.attacks.paraphrasers.openai_endpoint import ParaphraseEndpointSettings

    return ParaphraseEndpointSettings


SETTINGS: dict[str, Callable[[], type[BaseModel]]] = {
    "embedded": lambda: EmbeddedSettings,
    "openai": _endpoint_settings,
    "story_world": lambda: _StoryWorldSettings,
}
"""Name -> what its config is checked against."""


def check_paraphraser(name: str, config: Mapping[str, Any], *, money: float | None = None) -> None:
    """Raises UnknownName, or BadInput naming each wrong field of `config`. Loads no model and looks for no key.

    With `money`, a budget in USD, also BadInput where it cannot be kept, because a price is not known.
    """
    if name not in PARAPHRASERS:
        raise UnknownName("paraphraser", name, PARAPHRASERS)
    settings = checked(SETTINGS[name](), config, where=f"paraphraser {name}")
    if isinstance(settings, EndpointSettings):
        Ledger(money=money).admit(settings.model, settings.known_price)


def make_paraphraser(
    name: str,
    policy: Policy,
    config: Mapping[str, Any],
    ledger: Ledger | None = None,
    *,
    cache_dir: Path | None = None,
) -> Paraphraser:
    """The paraphraser of that name. `ledger` and `cache_dir` are for one that asks an endpoint: see `Endpoint`.

    Raises UnknownName, BadInput, MissingModel or GeneratorError.
    """
    if name not in PARAPHRASERS:
        raise UnknownName("paraphraser", name, PARAPHRASERS)
    return PARAPHRASERS[name](policy, config, Account(ledger, cache_dir))
