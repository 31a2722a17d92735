"""The substitution engine: which words matter to a classifier, and which others would lower its score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from engine.attacks.substitution.base import CandidateSource
from engine.config import checked
from engine.endpoints.ledger import Ledger
from engine.endpoints.settings import Account, EndpointSettings
from engine.errors import UnknownName


def _nearest_words(config: Mapping[str, Any], account: Account) -> CandidateSource:
    from engine.attacks.substitution.nearest_words import NearestWords, NearestWordsSettings

    return NearestWords(checked(NearestWordsSettings, config, where="candidates nearest_words"))


def _masked_lm(config: Mapping[str, Any], account: Account) -> CandidateSource:
    from engine.attacks.substitution.masked_lm import MaskedLM, MaskedLMSettings

    return MaskedLM(checked(MaskedLMSettings, config, where="candidates masked_lm"))


def _openai(config: Mapping[str, Any], account: Account) -> CandidateSource:
    from engine.attacks.substitution.openai_endpoint import EndpointWords, SubstitutionEndpointSettings
    from engine.endpoints.client import Endpoint

    settings = checked(SubstitutionEndpointSettings, config, where="candidates openai")
    return EndpointWords(Endpoint(settings, *account))


def _nearest_words_settings() -> type[BaseModel]:
    from engine.attacks.substitution.nearest_words import NearestWordsSettings

    return NearestWordsSettings


def _masked_lm_settings() -> type[BaseModel]:
    from engine.attacks.substitution.masked_lm import MaskedLMSettings

    return MaskedLMSettings


def _endpoint_settings() -> type[BaseModel]:
    from engine.attacks.substitution.openai_endpoint import SubstitutionEndpointSettings

    return SubstitutionEndpointSettings


CANDIDATE_SOURCES: dict[str, Callable[[Mapping[str, Any], Account], CandidateSource]] = {
    "masked_lm": _masked_lm,
    "nearest_words": _nearest_words,
    "openai": _openai,
}
"""Name -> factory; each checks its config and raises BadInput naming the field. Heavy imports wait for it."""


SETTINGS: dict[str, Callable[[], type[BaseModel]]] = {
    "masked_lm": _masked_lm_settings,
    "nearest_words": _nearest_words_settings,
    "openai": _endpoint_settings,
}
"""Name -> what its config is checked against."""


def check_candidate_source(name: str, config: Mapping[str, Any], *, money: float | None = None) -> None:
    """Raises UnknownName, or BadInput naming each wrong field of `config`. Loads no model and looks for no key.

    With `money`, a budget in USD, also BadInput where it cannot be kept, because a price is not known.
    """
    if name not in CANDIDATE_SOURCES:
        raise UnknownName("candidate source", name, CANDIDATE_SOURCES)
    settings = checked(SETTINGS[name](), config, where=f"candidates {name}")
    if isinstance(settings, EndpointSettings):
        Ledger(money=money).admit(settings.model, settings.known_price)


def make_candidate_source(
    name: str, config: Mapping[str, Any], ledger: Ledger | None = None, *, cache_dir: Path | None = None
) -> CandidateSource:
    """The source of that name. `ledger` and `cache_dir` are for one that asks an endpoint: see `Endpoint`.

    Raises UnknownName, BadInput, MissingModel or GeneratorError.
    """
    if name not in CANDIDATE_SOURCES:
        raise UnknownName("candidate source", name, CANDIDATE_SOURCES)
    return CANDIDATE_SOURCES[name](config, Account(ledger, cache_dir))
