"""Labelled texts besides a round's held-out sets that its classifiers are compared on."""

from __future__ import annotations

import uuid

from django.db.models import QuerySet

from webapi.models import AttackCandidate, AttackRole, Consensus, Round, SplitName

MOST_VALIDATION = 2000
"""Labelled validation texts that are scored, at most."""


def scored_besides(round_: Round) -> list[uuid.UUID]:
    """Ids of what the matrices of robustness need scored by every classifier, each once, in a fixed order."""
    found = finds(round_).values_list("snippet_id", flat=True)
    return list(dict.fromkeys([*found, *validation(round_).values_list("snippet_id", flat=True)]))


def finds(round_: Round) -> QuerySet[AttackCandidate]:
    """What the measured attacks found and people judged a failure or harmless, in the order of the texts' hashes."""
    rules = round_.policy.rules
    found = AttackCandidate.objects.filter(attack__round=round_, attack__role=AttackRole.MEASURING)
    clear = found.filter(snippet__consensus__choice__in=[rules.failure, rules.harmless])
    return clear.order_by("snippet__content_hash", "pk")


def validation(round_: Round) -> QuerySet[Consensus]:
    """The policy's validation texts that were judged a failure or harmless, in the order of their hashes: at random."""
    rules = round_.policy.rules
    found = Consensus.objects.filter(snippet__policy=round_.policy, snippet__split=SplitName.VALIDATION)
    clear = found.filter(choice__in=[rules.failure, rules.harmless]).order_by("snippet__content_hash", "pk")
    return clear[:MOST_VALIDATION]
