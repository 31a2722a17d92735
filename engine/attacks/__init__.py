"""Attacks on a classifier. What an attack asks of models loads when it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from engine.attacks.base import Attack, Budget, Candidate, Edit, Outcome, SeedOutcome, Target
from engine.attacks.paraphrase import ParaphraseAttack, ParaphraseSettings
from engine.attacks.paraphrasers import check_paraphraser, make_paraphraser
from engine.attacks.rewrite.recipes import rewrite_settings
from engine.attacks.substitution import check_candidate_source, make_candidate_source
from engine.config import checked
from engine.endpoints.settings import Account
from engine.errors import UnknownName
from engine.policies import Policy

__all__ = [
    "ATTACKS",
    "Attack",
    "AttackSpec",
    "Budget",
    "Candidate",
    "Edit",
    "Outcome",
    "SeedOutcome",
    "Target",
    "check_attack",
    "make_attack",
]


class AttackSpec(NamedTuple):
    """An attack as it stands in the registry."""

    source: Literal["paraphrase", "rewrite"]
    """What its finds are, as snippets."""
    check: Callable[[Mapping[str, Any], Budget], None]
    """Raises UnknownName, or BadInput naming each wrong field. Loads no model and looks for no key."""
    make: Callable[[Policy, Mapping[str, Any], Account], Attack]


def _check_paraphrase(config: Mapping[str, Any], budget: Budget) -> None:
    settings = checked(ParaphraseSettings, config, where="attack paraphrase")
    check_paraphraser(settings.paraphraser.name, settings.paraphraser.config, money=budget.money)


def _paraphrase(policy: Policy, config: Mapping[str, Any], account: Account) -> Attack:
    settings = checked(ParaphraseSettings, config, where="attack paraphrase")
    chosen, (ledger, folder) = settings.paraphraser, account
    return ParaphraseAttack(make_paraphraser(chosen.name, policy, chosen.config, ledger, cache_dir=folder), settings)


def _rewrite(name: str, recipe: str) -> AttackSpec:
    """A rewrite search by the recipe of that name, unless its settings name another."""
    where = f"attack {name}"

    def check(config: Mapping[str, Any], budget: Budget) -> None:
        settings = rewrite_settings(config, recipe=recipe, where=where)
        check_candidate_source(settings.words.name, settings.words.config, money=budget.money)

    def make(policy: Policy, config: Mapping[str, Any], account: Account) -> Attack:
        from engine.attacks.rewrite.search import RewriteAttack  # torch loads with it

        settings = rewrite_settings(config, recipe=recipe, where=where)
        words, (ledger, folder) = settings.words, account
        return RewriteAttack(settings, make_candidate_source(words.name, words.config, ledger, cache_dir=folder))

    return AttackSpec("rewrite", check, make)


ATTACKS: dict[str, AttackSpec] = {
    "filler": _rewrite("filler", "filler"),
    "paraphrase": AttackSpec("paraphrase", _check_paraphrase, _paraphrase),
    "rewrite": _rewrite("rewrite", "beam"),
    "substitution": _rewrite("substitution", "substitution"),
}
"""Name -> attack."""


def check_attack(name: str, config: Mapping[str, Any], budget: Budget | None = None) -> None:
    """Raises UnknownName, or BadInput naming each wrong field of `config`, or a budget that cannot be kept because a
    price is not known. Loads no model and looks for no key.
    """
    if name not in ATTACKS:
        raise UnknownName("attack", name, ATTACKS)
    ATTACKS[name].check(config, budget or Budget())


def make_attack(name: str, policy: Policy, config: Mapping[str, Any], account: Account | None = None) -> Attack:
    """The attack of that name. `account`: the ledger that keeps its budget of tokens and money, and the folder of
    finished requests, for one that asks an endpoint. Raises UnknownName, BadInput, MissingModel or GeneratorError.
    """
    if name not in ATTACKS:
        raise UnknownName("attack", name, ATTACKS)
    return ATTACKS[name].make(policy, config, account or Account())
