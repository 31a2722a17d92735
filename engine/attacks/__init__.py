"""Attacks on a classifier. Each file is one attack."""

from __future__ import annotations

from collections.abc import Callable

from engine.attacks.base import Paraphraser
from engine.attacks.paraphrase import Candidate, ParaphraseOutcome, ParaphraseSettings, SeedOutcome, paraphrase
from engine.attacks.paraphrasers import PARAPHRASERS, check_paraphraser, make_paraphraser

__all__ = [
    "ATTACKS",
    "PARAPHRASERS",
    "Candidate",
    "ParaphraseOutcome",
    "ParaphraseSettings",
    "Paraphraser",
    "SeedOutcome",
    "check_paraphraser",
    "make_paraphraser",
    "paraphrase",
]

ATTACKS: dict[str, Callable[..., ParaphraseOutcome]] = {"paraphrase": paraphrase}
"""Name -> attack."""
