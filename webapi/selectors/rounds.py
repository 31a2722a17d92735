"""Reads of rounds: lists, what failed, what was spent."""

from __future__ import annotations

import uuid
from functools import reduce
from typing import Any

from django.db.models import QuerySet

from engine.endpoints.ledger import Spending
from webapi.models import Pool, Round


def rounds_listed() -> QuerySet[Round]:
    """Rounds with what a list shows of them."""
    return Round.objects.select_related("policy", "corpus")


def known_failures(round_: Round, *pools: Pool) -> list[uuid.UUID]:
    """Ids of the snippets in these pools whose consensus is the failure, in the order of their hashes: at random."""
    members = round_.members.filter(pool__in=pools, snippet__consensus__choice=round_.policy.rules.failure)
    return list(members.order_by("snippet__content_hash").values_list("snippet_id", flat=True))


def round_spending(round_: Round) -> dict[str, dict[str, Any]] | None:
    """What the round's finished stages paid to endpoints, by model, as `engine.endpoints.ledger` counts it; None where
    none was asked. One query.
    """
    paid = round_.stages.filter(result__has_key="spending").values_list("result", flat=True)
    found = [Spending.from_dict(result["spending"]) for result in paid]
    return reduce(Spending.plus, found).as_dict() if found else None
